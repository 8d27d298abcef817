"""Births, merges and deletions: two posteriors run side by side, and after each sweep the better one stays.

Sweeps only move components that exist. `with_moves` gives a backend a rival: the posterior that a proposal
(`proposals.py`) would have, taken through the same sweep. Where the rival's exact bound of the whole data is higher, it
takes over. Nothing is estimated in that decision, so the bound never falls, whatever the family, the sticks and
the local step. A sweep costs twice as much; `adaptive.py` is the loop that gives births room.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdpmm.inference.base import ONE_BATCH, Algorithm, Layout, State
from jaxdpmm.inference.growth.proposals import Propose, birth, delete, merge
from jaxdpmm.model import Batch, Posterior, Prior

MOVES: dict[str, Propose] = {"birth": birth, "merge": merge, "delete": delete}


class Changes(NamedTuple):
    """Components born, merged and deleted by the move that a sweep accepted; zeros for none."""

    births: Int[Array, ""]
    merges: Int[Array, ""]
    deletions: Int[Array, ""]


class MovesInfo(NamedTuple):
    """Diagnostics: the bound of what stays, and which move led to it."""

    objective: Float[Array, ""]
    changes: Changes


class MovesState(NamedTuple):
    """The backend's own state, that of its rival, and what the rival changed.

    Attributes:
        number: sweeps so far; moves take turns by it.
        slots: one entry a batch, for the number of batches.
    """

    current: State
    rival: State
    changes: Changes
    number: Int[Array, ""]
    slots: Bool[Array, " S"]


def with_moves(
    algorithm: Algorithm, prior: Prior, moves: Sequence[str] = ("birth", "merge", "delete")
) -> Algorithm:
    """A backend that also proposes births, merges and deletions, one kind a sweep in turn.

    Births need empty components; without any left they do nothing (`fit_adaptive` makes room).

    Args:
        algorithm: with the exact bound of all data as objective at the end of a sweep: `cavi` or `memoized`.
        prior: the backend's prior.
        moves: which, of "birth", "merge" and "delete".

    Returns:
        An `Algorithm` whose objective never falls from sweep to sweep, and whose diagnostics name the accepted moves.

    Raises:
        ValueError: no moves, or unknown ones.
    """
    unknown = sorted(set(moves) - set(MOVES))
    if unknown or not moves:
        raise ValueError(
            f"moves must be some of {', '.join(MOVES)}, got {', '.join(unknown) or 'none'}; leave with_moves out for "
            "a fit without."
        )
    mixture = algorithm.mixture
    proposals = [partial(_propose, mixture, prior, name) for name in moves]

    def init(posterior: Posterior, layout: Layout = ONE_BATCH) -> MovesState:
        current, rival = algorithm.init(posterior, layout), algorithm.init(posterior, layout)
        zero = jnp.zeros((), jnp.int32)
        slots = jnp.zeros(layout.num_batches, bool)
        return MovesState(current, rival, Changes(zero, zero, zero), zero, slots)

    def step(key: PRNGKeyArray, state: MovesState, batch: Batch) -> tuple[MovesState, MovesInfo]:
        key_step, key_propose = jax.random.split(key)
        current, info = algorithm.step(key_step, state.current, batch)
        rival, rival_info = algorithm.step(key_step, state.rival, batch)
        nothing = jax.tree.map(jnp.zeros_like, state.changes)

        def end_sweep(_):
            is_better = rival_info.objective > info.objective
            kept, bound, done = jax.tree.map(
                partial(jnp.where, is_better),
                (rival, rival_info.objective, state.changes),
                (current, info.objective, nothing),
            )
            posterior, changes = jax.lax.switch(
                state.number % len(proposals),
                proposals,
                key_propose,
                algorithm.posterior(kept),
                batch,
            )
            layout = Layout(state.slots.shape[0], batch.x.shape[0], batch.total)
            new_rival = algorithm.init(posterior, layout)
            new = MovesState(kept, new_rival, changes, state.number + 1, state.slots)
            return new, MovesInfo(bound, done)

        def go_on(_):
            new = MovesState(current, rival, state.changes, state.number, state.slots)
            return new, MovesInfo(info.objective, nothing)

        return jax.lax.cond(batch.is_last, end_sweep, go_on, None)

    return Algorithm(init, step, lambda state: algorithm.posterior(state.current), mixture)


def _propose(mixture, prior, name: str, key, posterior, batch) -> tuple[Posterior, Changes]:
    proposal = MOVES[name](key, mixture, prior, posterior, batch)
    size, zero = proposal.size.astype(jnp.int32), jnp.zeros((), jnp.int32)
    return proposal.posterior, Changes(*(size if name == other else zero for other in MOVES))
