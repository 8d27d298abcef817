"""Memoized variational inference: total - what this batch gave last time + what it gives now.

Whole-data statistics are known at every step, so the global update comes after every batch and the ELBO is exact,
entropy included. Faster than a full sweep where data are redundant; costs one set of statistics per batch (K D^2 for
full covariance: use few batches then). Next file to read: `stochastic.py`.

References:
    Hughes and Sudderth (2013), Memoized online variational inference for Dirichlet process mixture models.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

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
    expected_readout,
    global_update,
    stats_of,
)
from jaxdpmm.programs import fixed


class MemoizedState(NamedTuple):
    """Where a fit stands.

    Attributes:
        prior: hyper-parameters.
        posterior: after the last batch.
        readout: of that posterior; kept, since the ELBO needs the same factors.
        total: statistics of all data.
        rounding: what rounding took from them, to be added back.
        batches: the part of each batch in `total`; leaves lead with the number of batches.
        num_visited: batches visited since the start.
        memory: the E-step's, of all batches.
    """

    prior: Prior
    posterior: Posterior
    readout: Readout
    total: Stats
    rounding: Stats
    batches: Stats
    num_visited: Int[Array, ""]
    memory: Memory


def memoized(mixture: Mixture, prior: Prior, local_step: LocalStep = dense) -> Algorithm:
    """Memoized variational inference.

    Until every batch was visited once, the start's statistics stand for the rest: each slot begins with
    an equal share of them, scaled to the weight of the data.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        local_step: the E-step, `dense` by default.

    Returns:
        An `Algorithm` whose objective is the exact ELBO of the whole data, at every step from the end of
        the first sweep on, where it never falls; nan before.
    """
    identity = Identity("memoized", mixture, Objective.BOUND, local_step)
    settings = mixture, local_step
    return Algorithm(
        fixed(_start, *settings), fixed(_step, *settings), posterior_of, prior, identity
    )


def _start(
    mixture: Mixture, local_step: LocalStep, prior: Prior, posterior: Posterior, layout: Layout
) -> MemoizedState:
    total, shares = _shares(prior, posterior, layout.total_weight, layout.num_batches)
    visited = jnp.zeros((), jnp.int32)
    memory = local_step.init(mixture, layout)
    readout, rounding = expected_readout(mixture, posterior), trees.zeros_like(total)
    return MemoizedState(prior, posterior, readout, total, rounding, shares, visited, memory)


def _step(
    mixture: Mixture, local_step: LocalStep, key: PRNGKeyArray, state: MemoizedState, batch: Batch
) -> tuple[MemoizedState, Info]:
    del key
    new, _, memory = visit(local_step, mixture, state.readout, batch, state.memory)
    change = jax.tree.map(lambda n, leaf: n - leaf[batch.slot], new, state.batches)
    total, rounding = trees.add_compensated(state.total, state.rounding, change)
    batches = jax.tree.map(lambda leaf, n: leaf.at[batch.slot].set(n), state.batches, new)
    posterior = global_update(mixture, state.prior, total, state.posterior)
    bound = elbo_after_update(mixture, state.prior, posterior, total)
    visited = state.num_visited + 1
    objective = jnp.where(visited < num_batches(state.batches), jnp.nan, bound)
    new_state = MemoizedState(
        state.prior,
        posterior,
        expected_readout(mixture, posterior),
        total,
        rounding,
        batches,
        visited,
        memory,
    )
    return new_state, Info(objective)


@partial(jax.jit, static_argnums=3)
def _shares(
    prior: Prior,
    posterior: Posterior,
    total_weight: float | Float[Array, ""] | None,
    num_batches: int,
) -> tuple[Stats, Stats]:
    """The start's statistics at the weight of the data, and an equal share of them for each batch."""
    total = stats_of(prior, posterior, total_weight)
    share = trees.scale(total, 1 / num_batches)
    return total, jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[None], (num_batches, *leaf.shape)), share
    )


def num_batches(batches: Stats) -> int:
    """How many batches a memory of statistics holds."""
    return batches.entropy.shape[0]
