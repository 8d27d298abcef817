"""Online expectation maximisation: point estimates from exponentially averaged batch statistics.

stats <- (1 - gamma) stats + gamma statistics of the batch, so that the posterior is that of one batch and forgets
old data. This is maximum a posteriori estimation, not variational Bayes: no bound is optimised. The published
algorithm is a setting of it; next file to read: `../paper.py`.

References:
    Schulthess and Konukoglu (2025), arXiv 2509.19997, section 2.
    Cappe and Moulines (2009), On-line expectation-maximization for latent data models.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.families import Gaussian
from jaxdpmm.inference.base import (
    Algorithm,
    Identity,
    Info,
    Layout,
    LocalStep,
    Memory,
    Objective,
    Schedule,
    posterior_of,
    step_sizes,
)
from jaxdpmm.inference.local_steps.dense import dense, visit
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
from jaxdpmm.programs import fixed
from jaxdpmm.sticks import log_mode_weights

EMPTY = 1e-10  # points; of fewer, squares of the statistics underflow in float32
PAPER_STEP_SIZE = 0.2


class OnlineState(NamedTuple):
    """Where a fit stands.

    Attributes:
        prior: hyper-parameters.
        posterior: after the last batch.
        stats: batch statistics, exponentially averaged.
        num_steps: batches since the start.
        log_likelihood: of this sweep's batches so far.
        memory: the E-step's, of all batches.
    """

    prior: Prior
    posterior: Posterior
    stats: Stats
    num_steps: Int[Array, ""]
    log_likelihood: Float[Array, ""]
    memory: Memory


def online_em(
    mixture: Mixture,
    prior: Prior,
    step_size: float | Schedule = PAPER_STEP_SIZE,
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
    options = (("step_size", step_sizes(schedule)), ("ridge", ridge))
    identity = Identity("online_em", mixture, Objective.LIKELIHOOD, local_step, options)
    point_readout(mixture, ridge)  # raises
    settings = mixture, schedule, ridge, local_step
    return Algorithm(
        fixed(_start, *settings), fixed(_step, *settings), posterior_of, prior, identity
    )


def _start(
    mixture: Mixture,
    schedule: Schedule,
    ridge: float,
    local_step: LocalStep,
    prior: Prior,
    posterior: Posterior,
    layout: Layout,
) -> OnlineState:
    stats = stats_of(prior, posterior)
    if layout.batch_size and layout.total_weight is not None:
        batch_weight = layout.total_weight / layout.num_batches
        stats = stats_of(prior, posterior, batch_weight)
    num_steps, memory = jnp.zeros((), jnp.int32), local_step.init(mixture, layout)
    return OnlineState(prior, posterior, stats, num_steps, jnp.zeros_like(stats.entropy), memory)


def _step(
    mixture: Mixture,
    schedule: Schedule,
    ridge: float,
    local_step: LocalStep,
    key: PRNGKeyArray,
    state: OnlineState,
    batch: Batch,
) -> tuple[OnlineState, Info]:
    del key
    readout = point_readout(mixture, ridge)(state.posterior)
    new, evidence, memory = visit(local_step, mixture, readout, batch, state.memory)
    gamma = schedule(state.num_steps.astype(evidence.dtype))
    stats = trees.blend(state.stats, new, gamma)
    posterior = global_update(mixture, state.prior, stats, state.posterior)
    total = state.log_likelihood + evidence
    objective = jnp.where(batch.is_last, total, jnp.nan)
    carried = jnp.where(batch.is_last, 0, total)
    new_state = OnlineState(state.prior, posterior, stats, state.num_steps + 1, carried, memory)
    return new_state, Info(objective)


def point_readout(mixture: Mixture, ridge: float = 0.0) -> Callable[[Posterior], Readout]:
    """The read-out of `online_em`: point estimates, and the most probable weights.

    Components without data have no weight, and the largest stands in for their parameters.

    Args:
        mixture: static description.
        ridge: added to every variance.

    Raises:
        TypeError: a ridge for a family that is not Gaussian.
    """
    family = gaussian_of(mixture, "ridge") if ridge else None

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


def gaussian_of(mixture: Mixture, what: str) -> Gaussian:
    """The family of a mixture of Gaussians.

    Args:
        mixture: static description.
        what: the function that needs it, for the message.

    Raises:
        TypeError: the family is not Gaussian.
    """
    if not isinstance(mixture.family, Gaussian):
        raise TypeError(
            f"{what} needs a Gaussian family, got {type(mixture.family).__name__}; use online_em "
            "without a ridge and with a proper prior."
        )
    return mixture.family


def _schedule(step_size: float | Schedule) -> Schedule:
    if callable(step_size):
        return step_size
    if not 0 < step_size <= 1:
        raise ValueError(f"step_size must be in (0, 1], got {step_size}; the paper has 0.2.")
    return fixed(_constant, step_size)


def _constant(step_size: float, step: Array) -> Array:
    return jnp.full_like(step, step_size)
