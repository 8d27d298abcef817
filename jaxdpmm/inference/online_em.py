"""Online expectation maximisation: point estimates from exponentially averaged batch statistics.

stats <- (1 - gamma) stats + gamma statistics of the batch, so that the posterior is that of one batch and forgets
old data. This is maximum a posteriori estimation, not variational Bayes: no bound is optimised. With `paper_preset`
it is the published algorithm: zero prior, gamma = 0.2, most probable sticks, alpha re-estimated at every step. What
differs from the release is only what is a defect there (first-image start, alpha lost on resume, outer products
of every point); see `paper_start` for where the paper is silent. Next file to read: `fit.py`.

References:
    Schulthess and Konukoglu (2025), arXiv 2509.19997, section 2.
    Cappe and Moulines (2009), On-line expectation-maximization for latent data models.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike

from jaxdpmm import trees
from jaxdpmm.families import Gaussian, GaussianFull
from jaxdpmm.inference.base import ONE_BATCH, Algorithm, Info, Layout, LocalStep, Memory
from jaxdpmm.inference.data import check_points
from jaxdpmm.inference.initialize import draw_sample
from jaxdpmm.inference.local import dense, visit
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    global_update,
    stats_of,
)
from jaxdpmm.sticks import Gamma, log_mode_weights

EMPTY = 1e-10  # points; of fewer, squares of the statistics underflow in float32
PAPER_STEP_SIZE = 0.2
PAPER_CONCENTRATION = 2.0  # alpha at the start
PAPER_RIDGE_FULL = 1e-3
PAPER_RIDGE = 1e-6
PAPER_SAMPLE = 100_000  # points for the variance at the start


class OnlineState(NamedTuple):
    """The posterior, the averaged batch statistics, and the sweep's log likelihood so far."""

    posterior: Posterior
    stats: Stats
    num_steps: Int[Array, ""]
    log_likelihood: Float[Array, ""]
    memory: Memory


def online_em(
    mixture: Mixture,
    prior: Prior,
    step_size: float | optax.Schedule = PAPER_STEP_SIZE,
    ridge: float = 0.0,
    local_step: LocalStep = dense,
) -> Algorithm:
    """Online EM with point estimates.

    Args:
        mixture: static description; its family needs `point_params`.
        prior: hyper-parameters, which weigh against one batch.
        step_size: gamma in (0, 1], a constant for exponential averages or an optax schedule.
        ridge: added to every variance of the point estimates; Gaussian families only.
        local_step: the E-step, `dense` by default.

    Returns:
        An `Algorithm` whose objective is the log likelihood of each batch before its step, summed over
        the sweep.

    Raises:
        ValueError: a constant step outside (0, 1].
        TypeError: a ridge for a family that is not Gaussian.
    """
    schedule = _schedule(step_size)
    read = point_readout(mixture, ridge)

    def init(posterior: Posterior, layout: Layout = ONE_BATCH) -> OnlineState:
        stats = stats_of(prior, posterior)
        if layout.batch_size and layout.total_weight is not None:
            batch_weight = layout.total_weight / layout.num_batches
            stats = stats_of(prior, posterior, batch_weight)
        zero = jnp.zeros_like(stats.entropy)
        memory = local_step.init(mixture, layout)
        return OnlineState(posterior, stats, jnp.zeros((), jnp.int32), zero, memory)

    def step(key: PRNGKeyArray, state: OnlineState, batch: Batch) -> tuple[OnlineState, Info]:
        del key
        new, evidence, memory = visit(
            local_step, mixture, read(state.posterior), batch, state.memory
        )
        gamma = schedule(state.num_steps.astype(evidence.dtype))
        stats = trees.blend(state.stats, new, gamma)
        posterior = global_update(mixture, prior, stats, state.posterior)
        total = state.log_likelihood + evidence
        objective = jnp.where(batch.is_last, total, jnp.nan)
        carried = jnp.where(batch.is_last, 0, total)
        return OnlineState(posterior, stats, state.num_steps + 1, carried, memory), Info(objective)

    return Algorithm(init, step, lambda state: state.posterior, mixture)


def paper_preset(mixture: Mixture, local_step: LocalStep = dense) -> tuple[Algorithm, Prior]:
    """The algorithm of arXiv 2509.19997, step by step, as an `online_em` with nothing but zeros in its prior.

    Maximum-likelihood components (zero natural parameter) plus eps I (1e-6, 1e-3 for full covariance);
    v_k = s_k / (s_k + (alpha - 1)/n + R_k), the mode of Beta(1 + n s_k, alpha + n R_k); and
    alpha = (K-1) / sum_k [psi(n (s_k + R_k) + alpha + 1) - psi(n R_k + alpha)], the mean of q(alpha) under the
    improper prior Gamma(0, 0).

    Args:
        mixture: with a Gaussian family.
        local_step: the E-step, `dense` by default.

    Returns:
        The algorithm, and the prior that `paper_start` needs.

    Raises:
        TypeError: the family is not Gaussian.
    """
    family = _gaussian(mixture, "paper_preset")
    ridge = PAPER_RIDGE_FULL if isinstance(family, GaussianFull) else PAPER_RIDGE
    point = jax.ShapeDtypeStruct((family.dim,), jnp.result_type(float))
    zero = trees.zeros_like(jax.eval_shape(family.sufficient_statistics, point))
    none = jnp.zeros((), point.dtype)
    prior = Prior(zero, Gamma(none, none))
    return online_em(mixture, prior, PAPER_STEP_SIZE, ridge, local_step), prior


def paper_start(
    mixture: Mixture, prior: Prior, x: ArrayLike, *, key: PRNGKeyArray, batch_size: int
) -> Posterior:
    """The start of arXiv 2509.19997: K random patches as means, the data's variances, v_k ~ Beta(1, alpha).

    Two differences: the patches come from all data (the release takes them all from the first image), and
    the running averages, of which the paper gives no start, begin at those of the model itself:
    s_k = w_k, m_k = w_k mu_k, S_k = w_k (Sigma_k + mu_k mu_k').

    Args:
        mixture: with a Gaussian family.
        prior: from `paper_preset`.
        x: all points, (N, D).
        key: random key.
        batch_size: n, the weight of the averages; the paper has 12,288.

    Raises:
        ValueError: data of the wrong shape.
        TypeError: the family is not Gaussian.
    """
    family = _gaussian(mixture, "paper_start")
    key_means, key_sticks, key_variance = jax.random.split(key, 3)
    points = check_points(x, family)
    means = jnp.asarray(draw_sample(key_means, points, mixture.num_components))
    sample = jnp.asarray(draw_sample(key_variance, points, PAPER_SAMPLE))
    variance = jnp.var(sample, axis=0)
    fractions = jax.random.beta(
        key_sticks, 1.0, PAPER_CONCENTRATION, (mixture.num_components - 1,), means.dtype
    )
    rest = jnp.concatenate([jnp.ones(1, means.dtype), jnp.cumprod(1 - fractions)])
    weights = jnp.append(fractions, 1) * rest
    statistics = jax.vmap(family.sufficient_statistics)(means)
    wide = jax.vmap(lambda natural: family.widen(natural, variance))(statistics)
    counts = weights * batch_size
    components = jax.vmap(trees.scale)(wide, counts)
    alpha = Gamma(jnp.asarray(PAPER_CONCENTRATION, means.dtype), jnp.ones((), means.dtype))
    sticks = mixture.sticks.posterior(counts, alpha, None)._replace(concentration=alpha)
    return Posterior(sticks, components, counts, prior.offset)


def point_readout(mixture: Mixture, ridge: float = 0.0) -> Callable[[Posterior], Readout]:
    """The read-out of `online_em`: point estimates, and the most probable weights.

    Components without data have no weight, and the largest stands in for their parameters.

    Args:
        mixture: static description.
        ridge: added to every variance.

    Raises:
        TypeError: a ridge for a family that is not Gaussian.
    """
    family = _gaussian(mixture, "ridge") if ridge else None

    def read(posterior: Posterior) -> Readout:
        is_empty = posterior.counts < EMPTY
        own = jnp.arange(mixture.num_components)
        stand_in = jnp.where(is_empty, jnp.argmax(posterior.counts), own)
        filled = trees.take(posterior.components, stand_in)
        if family is not None:
            filled = jax.vmap(lambda natural: family.widen(natural, ridge))(filled)
        params = jax.vmap(mixture.family.point_params)(filled)
        log_weights = log_mode_weights(posterior.sticks)
        return Readout(jnp.where(is_empty, -jnp.inf, log_weights), params, posterior.offset)

    return read


def _gaussian(mixture: Mixture, what: str) -> Gaussian:
    if not isinstance(mixture.family, Gaussian):
        raise TypeError(
            f"{what} needs a Gaussian family, got {type(mixture.family).__name__}; use online_em "
            "without a ridge and with a proper prior."
        )
    return mixture.family


def _schedule(step_size: float | optax.Schedule) -> optax.Schedule:
    if callable(step_size):
        return step_size
    if not 0 < step_size <= 1:
        raise ValueError(f"step_size must be in (0, 1], got {step_size}; the paper has 0.2.")
    return optax.constant_schedule(step_size)
