"""NumPyro sites of each family: what `svi.py` asks of a component.

Two functions, chosen by the family's type: `component_readout` draws parameters (required), `component_variational`
holds what a structured guide learns (optional). Register both for a family of one's own; nothing here is conjugate by
necessity, so likelihoods that no other backend can take come in by this door. Importing this file loads NumPyro.
Next file to read: `svi.py`.
"""

from functools import singledispatch
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from jaxdpmm.families import (
    GaussianDiagonal,
    GaussianFull,
    GaussianParams,
    GaussianSpherical,
    Likelihood,
    NormalWishart,
    NormalWishartGaussian,
)
from jaxdpmm.families.factorize import cholesky_and_inverse, inverse_of_upper_transposed
from jaxdpmm.families.gaussian import LOG_TWO_PI
from jaxdpmm.inference.numpyro.distributions import NormalOfFactors, WishartOfFactors


@singledispatch
def component_readout(family: Likelihood, natural: Any) -> Any:
    """Draw the parameters of all components from NumPyro sites, inside a plate of size K.

    The one function to write for a family of one's own, non-conjugate ones included:

        @component_readout.register
        def _(family: PoissonGamma, natural):
            return numpyro.sample("log_rate", ...)

    Args:
        family: which family; the function is chosen by its type.
        natural: natural parameters, leaves lead with K: the prior's in the model, the variational ones in the guide.

    Returns:
        Parameters that `family.log_likelihood_matrix` takes, leaves lead with K.

    Raises:
        TypeError: nothing is registered for this family.
    """
    del natural
    raise TypeError(
        f"{type(family).__name__} has no NumPyro sites: expected a function registered with "
        "component_readout.register, got none; write it (see its docstring), or use cavi or gibbs, which need none."
    )


@component_readout.register
def _(family: GaussianDiagonal, natural: NormalWishart) -> GaussianParams:
    shape = jnp.broadcast_to(0.5 * natural.dof[:, None], natural.second.shape)
    precision = numpyro.sample("precision", dist.Gamma(shape, 0.5 * _scale(natural)).to_event(1))
    mean = _mean(natural, jnp.sqrt(precision))
    log_det = jnp.sum(jnp.log(precision), axis=1)
    return GaussianParams(mean, jnp.sqrt(precision), _log_constant(log_det, family.dim))


@component_readout.register
def _(family: GaussianSpherical, natural: NormalWishart) -> GaussianParams:
    site = dist.Gamma(0.5 * family.dim * natural.dof, 0.5 * _scale(natural))
    precision = numpyro.sample("precision", site)
    factor = jnp.sqrt(precision)
    mean = _mean(natural, jnp.broadcast_to(factor[:, None], natural.first.shape))
    return GaussianParams(mean, factor, _log_constant(family.dim * jnp.log(precision), family.dim))


@component_readout.register
def _(family: GaussianFull, natural: NormalWishart) -> GaussianParams:
    # NumPyro's Cholesky factors are lower triangular, ours upper: with J the reversal of the features,
    # Lambda = U U' and J Lambda J = (J U J) (J U J)'.
    lower, inverse = (_transposed(one) for one in jax.vmap(cholesky_and_inverse)(_scale(natural)))
    site = WishartOfFactors(natural.dof, inverse[:, ::-1, ::-1], lower[:, ::-1, ::-1])
    factor = numpyro.sample("precision_cholesky", site)[:, ::-1, ::-1]
    precision_factor = factor * jnp.sqrt(natural.mean_count)[:, None, None]
    location = natural.first / natural.mean_count[:, None]
    deviation = jax.vmap(inverse_of_upper_transposed)(precision_factor)
    normal = NormalOfFactors(location, deviation, _transposed(precision_factor))
    mean = numpyro.sample("mean", normal)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), axis=1)
    return GaussianParams(mean, factor, _log_constant(log_det, family.dim))


@singledispatch
def component_variational(family: Likelihood, start: Any) -> Any:
    """Natural parameters of all components from `numpyro.param`s; what a structured guide learns.

    Args:
        family: which family; the function is chosen by its type.
        start: natural parameters to start from, leaves lead with K.

    Raises:
        TypeError: nothing is registered for this family.
    """
    del start
    raise TypeError(
        f"{type(family).__name__} has no structured guide: expected a function registered with "
        "component_variational.register, got none; write it, or use AutoNormal(model)."
    )


@component_variational.register
def _(family: NormalWishartGaussian, start: NormalWishart) -> NormalWishart:
    lowest = family.least_dof
    location = start.first / start.mean_count[:, None]
    mean_count = numpyro.param("q_mean_count", start.mean_count, constraint=constraints.positive)
    dof = numpyro.param("q_dof", start.dof, constraint=constraints.greater_than(lowest))
    scale = _variational_scale(_scale(start))
    first = numpyro.param("q_mean", location) * mean_count[:, None]
    second = scale + _outer(first, mean_count, scale)
    return NormalWishart(first, second, mean_count, dof)


def _mean(natural: NormalWishart, factor: Float[Array, "K D"]) -> Float[Array, "K D"]:
    deviation = 1 / (factor * jnp.sqrt(natural.mean_count)[:, None])
    location = natural.first / natural.mean_count[:, None]
    return numpyro.sample("mean", dist.Normal(location, deviation).to_event(1))


def _variational_scale(start: Array) -> Array:
    """Psi from a `numpyro.param`: of full covariances the factor, since NumPyro would factorise Psi by LAPACK."""
    if start.ndim < 3:
        return numpyro.param("q_scale", start, constraint=constraints.positive)
    lower, _ = jax.vmap(cholesky_and_inverse)(start)
    factor = numpyro.param("q_scale_tril", lower, constraint=constraints.lower_cholesky)
    return factor @ _transposed(factor)


def _transposed(matrices: Float[Array, "K D D"]) -> Float[Array, "K D D"]:
    return jnp.swapaxes(matrices, -1, -2)


def _log_constant(log_det: Float[Array, " K"], dim: int) -> Float[Array, " K"]:
    return 0.5 * (log_det - dim * LOG_TWO_PI)


def _scale(natural: NormalWishart) -> Array:
    """Psi of all components, (K, D, D), (K, D) or (K,)."""
    return natural.second - _outer(natural.first, natural.mean_count, natural.second)


def _outer(first: Float[Array, "K D"], mean_count: Float[Array, " K"], like: Array) -> Array:
    """The product first first' / kappa within the structure of the covariance that `like` has."""
    location = first / mean_count[:, None]
    if like.ndim == 3:
        return first[:, :, None] * location[:, None, :]
    return first * location if like.ndim == 2 else jnp.sum(first * location, axis=1)
