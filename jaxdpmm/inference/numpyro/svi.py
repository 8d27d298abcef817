"""The mixture as a NumPyro model with labels summed out, for SVI with any guide and for NUTS.

    model = numpyro_model(mixture, prior)
    guide = structured_guide(mixture, prior, start)     # or AutoNormal(model), AutoLaplaceApproximation(model)
    svi = SVI(model, guide, optax.adam(0.01), TraceMeanField_ELBO())
    result = svi.run(jax.random.key(0), 2000, x)
    posterior = to_posterior(mixture, prior, result.params, x)    # scores, saving, other backends: as ever

The model's sites are alpha, sticks and those of the family (`families.py`). The guide has the same sites in
conjugate form, Gamma, Beta and the family's own distribution at a natural parameter of each component: model and
guide are one function at two natural parameters. Draws of other guides and of NUTS become `Readout`s
(`draw_readouts`). Importing this file loads NumPyro. For speed: `../backends/cavi.py`, nearly the same optimum in
closed form. Next file to read: `../../summaries.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Num, PRNGKeyArray
from numpyro.distributions import constraints

from jaxdpmm.inference.local_steps.dense import sum_over_tiles
from jaxdpmm.inference.numpyro.families import component_readout, component_variational
from jaxdpmm.model import (
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    expected_readout,
    global_update,
    log_joint,
    summarize,
)
from jaxdpmm.points import check_points
from jaxdpmm.precision import full_precision
from jaxdpmm.programs import jitted
from jaxdpmm.sticks import DirichletProcess, Gamma, Sticks
from jaxdpmm.sticks.base import break_sticks


def numpyro_model(mixture: Mixture, prior: Prior) -> Callable[..., Readout]:
    """The model p(x, alpha, v, theta) with labels summed out.

    Args:
        mixture: static description; its sticks must be a `DirichletProcess`.
        prior: hyper-parameters.

    Returns:
        A NumPyro model `model(x, batch_size=None)`: points (N, ...), of which a plate takes `batch_size` at a time
        (`batch_size=None` for all; NUTS needs all). It returns the drawn `Readout`.

    Raises:
        TypeError: the sticks are of another kind. When the model runs: the family has no NumPyro sites.
        ValueError: when the model runs: points of the wrong shape.
    """
    _check_sticks(mixture)

    def model(x: Num[Array | np.ndarray, "N ..."], batch_size: int | None = None) -> Readout:
        x = _check_points(mixture, x)
        readout = _prior_readout(mixture, prior)
        with numpyro.plate("points", x.shape[0], subsample_size=batch_size):
            chosen = numpyro.subsample(x, event_dim=x.ndim - 1)
            numpyro.factor(
                "likelihood", jax.nn.logsumexp(log_joint(mixture, readout, chosen), axis=1)
            )
        return readout

    return model


def draw_readouts(
    mixture: Mixture, prior: Prior, samples: dict[str, Array], key: PRNGKeyArray | None = None
) -> Readout:
    """Weights and parameters of draws of the model's sites.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        samples: sites of S draws, from `MCMC.get_samples()`, or
            `guide.sample_posterior(key, params, sample_shape=(S,))`.
        key: for sites that `samples` lacks, which are drawn from the prior.

    Returns:
        A `Readout` whose leaves lead with S, for `scoring.uncertainty`.

    Raises:
        ValueError: `samples` has other sites.
    """
    _check_sticks(mixture)
    if "sticks" not in samples:
        raise ValueError(
            f"samples must hold the sites of numpyro_model, got {sorted(samples)}; pass MCMC.get_samples() of NUTS or "
            "sample_posterior of a guide, with sample_shape=(S,)."
        )
    keys = jax.random.split(jax.random.key(0) if key is None else key, len(samples["sticks"]))
    return jitted(_readouts, mixture)(prior, keys, samples)


def structured_guide(mixture: Mixture, prior: Prior, start: Posterior) -> Callable[..., None]:
    """A guide of conjugate form: q(alpha) Gamma, q(v) Beta, q(theta_k) of the family, as CAVI's.

    With `TraceMeanField_ELBO` all terms but the likelihood are exact.

    Args:
        mixture: static description; its sticks must be a `DirichletProcess`.
        prior: hyper-parameters, those of the model.
        start: where it starts, from `initialize` (k-means) or any backend.

    Raises:
        TypeError: the sticks are of another kind. When the guide runs: the family has no structured guide.
        ValueError: `start` has another number of components.
    """
    _check_sticks(mixture)
    if len(start.counts) != mixture.num_components:
        raise ValueError(
            f"start must have {mixture.num_components} components as the mixture has, got {len(start.counts)}; "
            "pass initialize(mixture, prior, x, key=key)."
        )

    def guide(x: Any, batch_size: int | None = None) -> None:
        del x, batch_size
        sticks, components = _variational(mixture, prior, start)
        _sites(mixture, components, sticks.concentration, lambda _: dist.Beta(sticks.a, sticks.b))

    return guide


def initial_values(
    mixture: Mixture, prior: Prior, start: Posterior, key: PRNGKeyArray
) -> dict[str, Array]:
    """A draw of the model's sites from `start`, for `init_to_value(values=...)` of AutoNormal or NUTS."""
    guide = numpyro.handlers.seed(structured_guide(mixture, prior, start), key)
    trace = numpyro.handlers.trace(guide).get_trace(None)
    return {name: site["value"] for name, site in trace.items() if site["type"] == "sample"}


def to_posterior(
    mixture: Mixture, prior: Prior, params: dict[str, Array], x: Num[Array | np.ndarray, "N ..."]
) -> Posterior:
    """The posterior that a structured guide has learned.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        params: of the guide: `SVIRunResult.params`, or `svi.get_params(state)`.
        x: the points, for the expected number of points of each component.

    Raises:
        ValueError: the parameters are those of another guide, or of one for another number of components.
    """
    num_components = len(params.get("q_sticks_a", range(mixture.num_components - 1))) + 1
    if num_components != mixture.num_components:
        raise ValueError(
            f"params must be of a guide with {mixture.num_components} components as the mixture has, got "
            f"{num_components}; pass the mixture that structured_guide was given."
        )
    like = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (mixture.num_components, *leaf.shape)), prior.component
    )
    zeros = jnp.zeros_like(params.get("q_sticks_a", jnp.zeros(mixture.num_components - 1)))
    nobody = jnp.zeros_like(jnp.append(zeros, 0))
    empty = Posterior(Sticks(zeros, zeros, prior.concentration), like, nobody, prior.offset)
    learned = numpyro.handlers.substitute(_variational, data=params)
    trace = numpyro.handlers.trace(numpyro.handlers.seed(learned, 0))
    recorded = trace.get_trace(mixture, prior, empty)
    sticks, components = learned(mixture, prior, empty)
    names = {name for name, site in recorded.items() if site["type"] == "param"}
    if names - set(params):
        raise ValueError(
            f"params must be those of structured_guide, {sorted(names)}, got {sorted(params)}; for other guides "
            "turn draws into a Readout with draw_readouts and pass it to posterior_of_readout."
        )
    posterior = Posterior(sticks, components, empty.counts, prior.offset)
    stats = soft_stats(mixture, expected_readout(mixture, posterior), x)
    return Posterior(sticks, components, stats.counts, prior.offset)


def posterior_of_readout(
    mixture: Mixture, prior: Prior, readout: Readout, x: Num[Array | np.ndarray, "N ..."]
) -> Posterior:
    """Prior + statistics of the points under the responsibilities of one read-out.

    For guides that are not of conjugate form: `draw_readouts` of the guide's median, one draw of it, is such a
    read-out. The posterior is what CAVI would make of it in its next step.
    """
    stats = soft_stats(mixture, readout, x)
    return global_update(mixture, prior, stats, global_update(mixture, prior, stats))


def soft_stats(mixture: Mixture, readout: Readout, x: Num[Array | np.ndarray, "N ..."]) -> Stats:
    """Statistics of all points under the responsibilities of a read-out; `bound.elbo` takes them."""
    return jitted(_soft_stats, mixture)(readout, _check_points(mixture, x))


def _soft_stats(mixture: Mixture, readout: Readout, x: Num[Array, "N ..."]) -> Stats:
    def of_tile(x: Array, weight: Array) -> Stats:
        responsibilities = jax.nn.softmax(log_joint(mixture, readout, x), axis=1)
        return summarize(mixture, responsibilities, x, weight, readout.offset, readout.params)

    return sum_over_tiles(of_tile, x, jnp.ones(x.shape[0], readout.log_weights.dtype))


def _readouts(mixture: Mixture, prior: Prior, keys: Array, samples: dict[str, Array]) -> Readout:
    """The model's return value at the sites of each draw."""

    def of_draw(key: PRNGKeyArray, sites: dict[str, Array]) -> Readout:
        seeded = numpyro.handlers.seed(_prior_readout, key)
        return numpyro.handlers.substitute(seeded, data=sites)(mixture, prior)

    return jax.vmap(of_draw)(keys, samples)


def _prior_readout(mixture: Mixture, prior: Prior) -> Readout:
    num_components = mixture.num_components
    natural = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (num_components, *leaf.shape)), prior.component
    )

    def sticks(alpha: Array) -> dist.Distribution:
        return dist.Beta(jnp.ones(num_components - 1, alpha.dtype), alpha)

    log_weights, params = _sites(mixture, natural, prior.concentration, sticks)
    return Readout(log_weights, params, prior.offset)


@full_precision()
def _sites(mixture: Mixture, natural: Any, concentration: Gamma, sticks: Callable) -> tuple:
    """All sites, of model and guide alike: log weights and parameters."""
    alpha = concentration.shape / concentration.rate
    if _check_sticks(mixture).infer_concentration:
        alpha = numpyro.sample("alpha", dist.Gamma(concentration.shape, concentration.rate))
    v = numpyro.sample("sticks", sticks(alpha).to_event(1))
    v = jnp.clip(v, jnp.finfo(v.dtype).tiny, 1 - jnp.finfo(v.dtype).epsneg)
    with numpyro.plate("components", mixture.num_components):
        params = component_readout(mixture.family, natural)
    return break_sticks(jnp.log(v), jnp.log1p(-v)), params


def _variational(mixture: Mixture, prior: Prior, start: Posterior) -> tuple[Sticks, Any]:
    """What a structured guide learns, from `numpyro.param`s."""
    positive = {"constraint": constraints.positive}
    a = numpyro.param("q_sticks_a", start.sticks.a, **positive)
    b = numpyro.param("q_sticks_b", start.sticks.b, **positive)
    concentration = prior.concentration
    if _check_sticks(mixture).infer_concentration:
        shape = numpyro.param("q_alpha_shape", start.sticks.concentration.shape, **positive)
        rate = numpyro.param("q_alpha_rate", start.sticks.concentration.rate, **positive)
        concentration = Gamma(shape, rate)
    components = component_variational(mixture.family, start.components)
    return Sticks(a, b, concentration), components


def _check_sticks(mixture: Mixture) -> DirichletProcess:
    if not isinstance(mixture.sticks, DirichletProcess):
        raise TypeError(
            f"sticks must be a DirichletProcess for a NumPyro model, got {type(mixture.sticks).__name__}; "
            "use gibbs or cavi, which take any."
        )
    return mixture.sticks


def _check_points(mixture: Mixture, x: Any) -> Array:
    return jnp.asarray(check_points(x, mixture.family))
