"""Empirical Bayes: hyper-parameters of the components' prior, raised to where the ELBO is highest.

With responsibilities held, the best q of the components is prior + statistics, and the ELBO depends on the prior by

    sum_k A(prior + statistics_k) - K A(prior),

the log evidence of the data of each component. `jax.grad` goes through A, so this works for every family; components
without data cancel. A `Parametrization` says which hyper-parameters are free and keeps them where the prior is proper.
They are few and the objective is smooth and exact, so L-BFGS climbs it in some dozens of steps.

    found = empirical_bayes(mixture, prior, result.posterior, gaussian_scales(family, prior.component))
    result = fit(cavi(mixture, found.prior), x, found.posterior)

Repeat both lines until nothing moves. Not here: the concentration, which has a prior of its own.
Next file to read: `../scoring/scorer.py`.

References:
    Robbins (1956), An empirical Bayes approach to statistics; Bishop (2006), section 3.5.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxdpmm import trees
from jaxdpmm.bound import log_evidence
from jaxdpmm.checks import check_at_least_one
from jaxdpmm.families import NormalWishart, NormalWishartGaussian
from jaxdpmm.model import Mixture, Posterior, Prior, global_update, stats_of
from jaxdpmm.programs import jitted


class Parametrization(NamedTuple):
    """Free hyper-parameters without constraints.

    Attributes:
        start: a tree of numbers that gives the prior to start from.
        component: such a tree -> natural parameter of the prior of one component. Arrays that it needs besides belong
            into a `jax.tree_util.Partial` of a function of module level, so that later calls find the compiled program.
    """

    start: Any
    component: Callable[[Any], Any]


class EmpiricalBayes(NamedTuple):
    """What was found.

    Attributes:
        prior: the better prior.
        posterior: the same statistics under it, to go on from.
        objective: the ELBO's part above at every step, in nats, (num_steps + 1,).
    """

    prior: Prior
    posterior: Posterior
    objective: Float[Array, " S"]


def positive(component: Any) -> Parametrization:
    """Every number of a prior whose natural parameters are positive: Gamma, Beta and Dirichlet priors.

    Args:
        component: natural parameter to start from.
    """
    return Parametrization(jax.tree.map(jnp.log, component), _exponential)


def gaussian_scales(family: NormalWishartGaussian, component: Any) -> Parametrization:
    """Three numbers of a Normal-Wishart prior: weight of the mean, weight of the covariance, size of the covariance.

    Mean and shape of the covariance stay as they are.

    Args:
        family: a Gaussian family.
        component: natural parameter to start from.

    Raises:
        TypeError: the family's prior is of another kind.
    """
    if not isinstance(component, NormalWishart):
        raise TypeError(
            f"component must be a NormalWishart, got the {type(component).__name__} of {type(family).__name__}; "
            "write a Parametrization of your own."
        )
    count, dof = component.mean_count, component.dof
    least, square = family.least_dof, family.outer(component.first / count)
    covariance = (component.second - count * square) / dof
    zero = jnp.zeros_like(count)
    return Parametrization(
        {"mean_count": zero, "dof": zero, "covariance": zero},
        Partial(_scaled, component, square, covariance, least),
    )


def empirical_bayes(
    mixture: Mixture,
    prior: Prior,
    posterior: Posterior,
    parametrization: Parametrization,
    *,
    num_steps: int = 50,
    optimizer: Any = None,
) -> EmpiricalBayes:
    """Fit the prior of the components to the statistics of a posterior.

    Args:
        mixture: static description.
        prior: the prior that the posterior was made from.
        posterior: of any backend.
        parametrization: what is free, for example `gaussian_scales(family, prior.component)`.
        num_steps: gradient steps.
        optimizer: of optax, by default L-BFGS with its line search.

    Returns:
        The best prior of all steps, so that the ELBO never falls.

    Raises:
        ValueError: `num_steps` is below 1.
        FloatingPointError: the objective is not finite where it starts.
    """
    check_at_least_one("num_steps", num_steps, "the default is 50")
    stats = stats_of(prior, posterior)
    component = parametrization.component
    component = component if isinstance(component, Partial) else Partial(component)
    ascend = jitted(_ascend, mixture, optimizer or _lbfgs(), num_steps)
    best, objective = ascend(component, prior, stats.components, parametrization.start)
    if not jnp.isfinite(objective[0]):
        raise FloatingPointError(
            f"the objective is {float(objective[0])} at the prior to start from, expected a finite number; start from "
            "a proper prior such as default_prior gives."
        )
    better = prior._replace(component=parametrization.component(best))
    return EmpiricalBayes(better, global_update(mixture, better, stats, posterior), objective)


def _exponential(free: Any) -> Any:
    return jax.tree.map(jnp.exp, free)


def _scaled(
    component: NormalWishart, square: Array, covariance: Array, least: Any, free: dict[str, Array]
) -> NormalWishart:
    """The prior whose weights, and whose covariance, are those of `component` times exp of the free numbers."""
    count, dof = component.mean_count, component.dof
    new_count = count * jnp.exp(free["mean_count"])
    new_dof = least + (dof - least) * jnp.exp(free["dof"])
    scale = new_dof * jnp.exp(free["covariance"]) * covariance
    return NormalWishart(
        component.first / count * new_count, scale + new_count * square, new_count, new_dof
    )


@lru_cache
def _lbfgs() -> Any:
    import optax  # takes half a second to load, which `import jaxdpmm` is spared

    return optax.lbfgs()


def _ascend(
    mixture: Mixture,
    optimizer: Any,
    num_steps: int,
    component: Any,
    prior: Prior,
    statistics: Any,
    start: Any,
) -> tuple[Any, Float[Array, " S"]]:
    """Gradient steps on the free parameters; the best of them and the objective at each."""
    import optax

    optimizer = optax.with_extra_args_support(optimizer)

    def loss(free: Any) -> Array:
        return -jnp.sum(
            log_evidence(mixture, prior._replace(component=component(free)), statistics)
        )

    def step(carry: tuple, _: Any) -> tuple[tuple, tuple]:
        free, state = carry
        value, gradient = jax.value_and_grad(loss)(free)
        # optax mixes types and ranks; a line search asks for the value, other optimisers ignore it
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, new_state = optimizer.update(
                gradient, state, free, value=value, grad=gradient, value_fn=loss
            )
        return (optax.apply_updates(free, updates), new_state), (free, -value)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        carry = (start, optimizer.init(start))
    _, (path, objective) = jax.lax.scan(step, carry, None, length=num_steps + 1)
    best = jnp.nanargmax(objective)
    return trees.take(path, best), objective
