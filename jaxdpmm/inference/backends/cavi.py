"""Coordinate-ascent variational inference, streamed: statistics of a whole sweep, then one global update.

Batches of a sweep are summed (compensated), so the result does not depend on how the data are cut. The ELBO rises
with every sweep. Next file to read: `memoized.py`, or `../fit.py` for the loop.

References:
    Blei and Jordan (2006), Variational inference for Dirichlet process mixtures.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.inference.base import ONE_BATCH, Algorithm, Info, Layout, LocalStep, Memory
from jaxdpmm.inference.local_steps.dense import dense, visit
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    elbo_after_update,
    empty_stats,
    expected_readout,
    global_update,
)


class CaviState(NamedTuple):
    """The posterior and its read-out, the statistics of this sweep's batches so far, the E-step's memory."""

    posterior: Posterior
    readout: Readout  # kept, since the ELBO needs the same factors
    stats: Stats
    rounding: Stats
    memory: Memory


def cavi(mixture: Mixture, prior: Prior, local_step: LocalStep = dense) -> Algorithm:
    """Coordinate-ascent variational inference.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        local_step: the E-step, `dense` by default.

    Returns:
        An `Algorithm` whose objective is the ELBO of the whole data, after the last batch of each sweep.
    """

    def start(posterior: Posterior, memory: Memory) -> CaviState:
        zeros = empty_stats(posterior)
        return CaviState(posterior, expected_readout(mixture, posterior), zeros, zeros, memory)

    def init(posterior: Posterior, layout: Layout = ONE_BATCH) -> CaviState:
        return start(posterior, local_step.init(mixture, layout))

    def step(key: PRNGKeyArray, state: CaviState, batch: Batch) -> tuple[CaviState, Info]:
        del key
        new, _, memory = visit(local_step, mixture, state.readout, batch, state.memory)
        stats, rounding = trees.add_compensated(state.stats, state.rounding, new)

        def end_sweep(_):
            posterior = global_update(mixture, prior, stats, state.posterior)
            return start(posterior, memory), elbo_after_update(mixture, prior, posterior, stats)

        def go_on(_):
            nan = jnp.full_like(stats.entropy, jnp.nan)
            return state._replace(stats=stats, rounding=rounding, memory=memory), nan

        state, objective = jax.lax.cond(batch.is_last, end_sweep, go_on, None)
        return state, Info(objective)

    return Algorithm(init, step, lambda state: state.posterior, mixture)
