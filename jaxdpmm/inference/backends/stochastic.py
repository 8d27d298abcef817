"""Stochastic variational inference: natural-gradient steps on batches, each scaled up to the whole data.

stats <- (1 - rho) stats + rho (N / B) statistics of the batch. Memory does not grow with N, one pass often is
enough; the bound is an estimate. Next file to read: `online_em.py`.

References:
    Hoffman, Blei, Wang and Paisley (2013), Stochastic variational inference, algorithm in figure 4.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.bound import elbo
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
    Stats,
    expected_readout,
    global_update,
    stats_of,
)
from jaxdpmm.programs import fixed


class StochasticState(NamedTuple):
    """Where a fit stands.

    Attributes:
        prior: hyper-parameters.
        posterior: after the last batch.
        stats: the running estimate of the whole data's statistics.
        num_steps: batches since the start.
        bound_sum: estimates of the bound from this sweep's batches, each times the batch's weight.
        bound_weight: sum of these weights.
        memory: the E-step's, of all batches.
    """

    prior: Prior
    posterior: Posterior
    stats: Stats
    num_steps: Int[Array, ""]
    bound_sum: Float[Array, ""]
    bound_weight: Float[Array, ""]
    memory: Memory


def robbins_monro(delay: float = 1.0, forgetting: float = 0.7) -> Schedule:
    """Step sizes (t + delay)^-forgetting, t = 1, 2, ..., the schedule of Hoffman et al. (2013), eq. 26.

    Args:
        delay: damps the first steps, at least 0.
        forgetting: in (0.5, 1] for convergence.

    Raises:
        ValueError: outside these.
    """
    if delay < 0 or not 0.5 < forgetting <= 1:
        raise ValueError(
            f"delay must be at least 0 and forgetting in (0.5, 1], got {delay} and {forgetting}; "
            "steps of (t + 1)^-0.7 are the default."
        )
    return fixed(_robbins_monro, delay, forgetting)


def _robbins_monro(delay: float, forgetting: float, step: Any) -> Any:
    return (step + 1.0 + delay) ** -forgetting


def stochastic(
    mixture: Mixture,
    prior: Prior,
    step_size: Schedule | None = None,
    local_step: LocalStep = dense,
) -> Algorithm:
    """Stochastic variational inference.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        step_size: an optax schedule of rho in (0, 1], by default `robbins_monro()`.
        local_step: the E-step, `dense` by default.

    Returns:
        An `Algorithm` whose objective, at the end of each sweep, is the mean over its batches of the
        ELBO estimated from one batch.
    """
    schedule = robbins_monro() if step_size is None else step_size
    options = (("step_size", step_sizes(schedule)),)
    identity = Identity("stochastic", mixture, Objective.ESTIMATE, local_step, options)
    settings = mixture, schedule, local_step
    return Algorithm(
        fixed(_start, *settings), fixed(_step, *settings), posterior_of, prior, identity
    )


def _start(
    mixture: Mixture,
    schedule: Schedule,
    local_step: LocalStep,
    prior: Prior,
    posterior: Posterior,
    layout: Layout,
) -> StochasticState:
    stats = stats_of(prior, posterior, layout.total_weight)
    zero = jnp.zeros_like(stats.entropy)
    num_steps, memory = jnp.zeros((), jnp.int32), local_step.init(mixture, layout)
    return StochasticState(prior, posterior, stats, num_steps, zero, zero, memory)


def _step(
    mixture: Mixture,
    schedule: Schedule,
    local_step: LocalStep,
    key: PRNGKeyArray,
    state: StochasticState,
    batch: Batch,
) -> tuple[StochasticState, Info]:
    del key
    readout = expected_readout(mixture, state.posterior)
    new, _, memory = visit(local_step, mixture, readout, batch, state.memory)
    weight = jnp.sum(batch.weight)
    scaled = trees.scale(new, batch.total / weight)
    rho = schedule(state.num_steps.astype(weight.dtype))
    stats = trees.blend(state.stats, scaled, rho)
    posterior = global_update(mixture, state.prior, stats, state.posterior)
    bound = elbo(mixture, state.prior, posterior, scaled)
    bound_sum, bound_weight = state.bound_sum + weight * bound, state.bound_weight + weight
    objective = jnp.where(batch.is_last, bound_sum / bound_weight, jnp.nan)
    keep = 1 - batch.is_last.astype(weight.dtype)
    new_state = StochasticState(
        state.prior,
        posterior,
        stats,
        state.num_steps + 1,
        keep * bound_sum,
        keep * bound_weight,
        memory,
    )
    return new_state, Info(objective)
