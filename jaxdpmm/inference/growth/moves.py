"""Births, merges and deletions: two posteriors run side by side, and after each sweep the better one stays.

Sweeps only move components that exist. `with_moves` gives a backend a rival: the posterior that a proposal
(`proposals.py`) would have, taken through the same sweep. Where the rival's exact bound of the whole data is higher, it
takes over. Nothing is estimated in that decision, so the bound never falls, whatever the family, the sticks and
the local step. A sweep costs twice as much; `adaptive.py` is the loop that gives births room.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdpmm.inference.base import Algorithm, Layout, Objective, StartFn, State, StepFn
from jaxdpmm.inference.growth.proposals import Propose, birth, delete, merge
from jaxdpmm.model import Batch, Mixture, Posterior, Prior
from jaxdpmm.programs import fixed

MOVES: dict[str, Propose] = {"birth": birth, "merge": merge, "delete": delete}


class Changes(NamedTuple):
    """Components born, merged and deleted by the move that a sweep accepted; zeros for none."""

    births: Int[Array, ""]
    merges: Int[Array, ""]
    deletions: Int[Array, ""]


class MovesInfo(NamedTuple):
    """Diagnostics: the bound of what stays, and what the move that led to it changed."""

    objective: Float[Array, ""]
    births: Int[Array, ""]
    merges: Int[Array, ""]
    deletions: Int[Array, ""]


class MovesState(NamedTuple):
    """Two states of the backend side by side.

    Attributes:
        prior: hyper-parameters.
        current: state of the backend under the posterior that stays.
        rival: state of the backend under the posterior that was proposed.
        changes: what the proposal changed.
        number: sweeps so far; moves take turns by it.
        slots: one entry per batch, for the number of batches.
    """

    prior: Prior
    current: State
    rival: State
    changes: Changes
    number: Int[Array, ""]
    slots: Bool[Array, " S"]


def with_moves(
    algorithm: Algorithm, moves: Sequence[str] = ("birth", "merge", "delete")
) -> Algorithm:
    """A backend that also proposes births, merges and deletions, one kind per sweep in turn.

    Births need empty components; without any left they do nothing (`fit_adaptive` makes room).

    Args:
        algorithm: with the exact bound of all data as objective at the end of a sweep: `cavi` or `memoized`.
        moves: which, of "birth", "merge" and "delete".

    Returns:
        An `Algorithm` whose objective never falls from sweep to sweep, and whose diagnostics count the components that
        accepted moves added and removed.

    Raises:
        TypeError: the objective of the backend is not an exact bound.
        ValueError: no moves, or unknown ones.
    """
    unknown = sorted(set(moves) - set(MOVES))
    if unknown or not moves:
        raise ValueError(
            f"moves must be some of {', '.join(MOVES)}, got {', '.join(unknown) or 'none'}; leave with_moves out for "
            "a fit without."
        )
    inner = algorithm.identity
    if inner.objective is not Objective.BOUND:
        raise TypeError(
            f"algorithm must have the exact ELBO as its objective, got {inner.name}, whose objective is the "
            f"{inner.objective.value}; use cavi or memoized."
        )
    identity = dataclasses.replace(
        inner,
        name=f"with_moves({inner.name})",
        options=(*inner.options, ("moves", tuple(moves))),
    )
    wrapped = _Inner(inner.mixture, algorithm.start, algorithm.step, algorithm.posterior)
    return Algorithm(
        fixed(_start, wrapped),
        fixed(_step, wrapped, tuple(moves)),
        fixed(_posterior, wrapped),
        algorithm.prior,
        identity,
    )


class _Inner(NamedTuple):
    """The functions of the backend that is wrapped."""

    mixture: Mixture
    start: StartFn
    step: StepFn
    posterior: Callable[[State], Posterior]


def _start(inner: _Inner, prior: Prior, posterior: Posterior, layout: Layout) -> MovesState:
    current, rival = (inner.start(prior, posterior, layout) for _ in range(2))
    zero = jnp.zeros((), jnp.int32)
    slots = jnp.zeros(layout.num_batches, bool)
    return MovesState(prior, current, rival, Changes(zero, zero, zero), zero, slots)


def _step(
    inner: _Inner, moves: tuple[str, ...], key: PRNGKeyArray, state: MovesState, batch: Batch
) -> tuple[MovesState, MovesInfo]:
    key_step, key_propose = jax.random.split(key)
    current, info = inner.step(key_step, state.current, batch)
    rival, rival_info = inner.step(key_step, state.rival, batch)
    nothing = jax.tree.map(jnp.zeros_like, state.changes)
    proposals = [partial(_propose, inner.mixture, name) for name in moves]

    def end_sweep(_: Any) -> Any:
        is_better = rival_info.objective > info.objective
        kept, bound, done = jax.tree.map(
            partial(jnp.where, is_better),
            (rival, rival_info.objective, state.changes),
            (current, info.objective, nothing),
        )
        arguments = key_propose, state.prior, inner.posterior(kept), batch
        posterior, changes = jax.lax.switch(state.number % len(moves), proposals, *arguments)
        layout = Layout(state.slots.shape[0], batch.x.shape[0], batch.total)
        new_rival = inner.start(state.prior, posterior, layout)
        new = MovesState(state.prior, kept, new_rival, changes, state.number + 1, state.slots)
        return new, MovesInfo(bound, *done)

    def go_on(_: Any) -> Any:
        return state._replace(current=current, rival=rival), MovesInfo(info.objective, *nothing)

    return jax.lax.cond(batch.is_last, end_sweep, go_on, None)


def _posterior(inner: _Inner, state: MovesState) -> Posterior:
    return inner.posterior(state.current)


def _propose(
    mixture: Mixture, name: str, key: Any, prior: Prior, posterior: Posterior, batch: Batch
) -> tuple[Posterior, Changes]:
    proposal = MOVES[name](key, mixture, prior, posterior, batch)
    size, zero = proposal.size.astype(jnp.int32), jnp.zeros((), jnp.int32)
    return proposal.posterior, Changes(*(size if name == other else zero for other in MOVES))
