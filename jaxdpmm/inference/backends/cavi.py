"""Coordinate-ascent variational inference, streamed: statistics of a whole sweep, then one global update.

Batches of a sweep are summed (compensated), so the result does not depend on how the data are cut. The ELBO rises
with every sweep. Next file to read: `memoized.py`, or `../fit.py` for the loop.

References:
    Blei and Jordan (2006), Variational inference for Dirichlet process mixtures.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.bound import elbo_after_update
from jaxdpmm.inference.base import (
    Algorithm,
    Identity,
    Info,
    Layout,
    LocalStep,
    Memory,
    Objective,
    posterior_of,
)
from jaxdpmm.inference.local_steps.dense import dense, visit
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    empty_stats,
    expected_readout,
    global_update,
)
from jaxdpmm.programs import fixed


class CaviState(NamedTuple):
    """Where a sweep stands.

    Attributes:
        prior: hyper-parameters.
        posterior: after the last sweep.
        readout: of that posterior; kept, since the ELBO needs the same factors.
        stats: statistics of this sweep's batches so far.
        rounding: what rounding took from their sum, to be added back.
        memory: the E-step's, of all batches.
    """

    prior: Prior
    posterior: Posterior
    readout: Readout
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
    identity = Identity("cavi", mixture, Objective.BOUND, local_step)
    settings = mixture, local_step
    return Algorithm(
        fixed(_start, *settings), fixed(_step, *settings), posterior_of, prior, identity
    )


def _start(
    mixture: Mixture, local_step: LocalStep, prior: Prior, posterior: Posterior, layout: Layout
) -> CaviState:
    return _begin_sweep(mixture, prior, posterior, local_step.init(mixture, layout))


def _step(
    mixture: Mixture, local_step: LocalStep, key: PRNGKeyArray, state: CaviState, batch: Batch
) -> tuple[CaviState, Info]:
    del key
    new, _, memory = visit(local_step, mixture, state.readout, batch, state.memory)
    stats, rounding = trees.add_compensated(state.stats, state.rounding, new)

    def end_sweep(_: Any) -> Any:
        posterior = global_update(mixture, state.prior, stats, state.posterior)
        bound = elbo_after_update(mixture, state.prior, posterior, stats)
        return _begin_sweep(mixture, state.prior, posterior, memory), bound

    def go_on(_: Any) -> Any:
        nan = jnp.full_like(stats.entropy, jnp.nan)
        return state._replace(stats=stats, rounding=rounding, memory=memory), nan

    state, objective = jax.lax.cond(batch.is_last, end_sweep, go_on, None)
    return state, Info(objective)


def _begin_sweep(mixture: Mixture, prior: Prior, posterior: Posterior, memory: Memory) -> CaviState:
    zeros = empty_stats(posterior)
    readout = expected_readout(mixture, posterior)
    return CaviState(prior, posterior, readout, zeros, zeros, memory)
