"""A fit whose number of components follows the data in both directions.

Compiled code has one K, so the fit goes in stages: room for births, some sweeps with moves, empty components dropped,
room again. It ends when no move has helped in two rounds of all kinds. Next file to read:
`moves.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.inference.backends.cavi import cavi
from jaxdpmm.inference.base import Algorithm
from jaxdpmm.inference.data.pieces import as_source
from jaxdpmm.inference.fit import FitResult, fit
from jaxdpmm.inference.growth.moves import MOVES, with_moves
from jaxdpmm.inference.history import Epoch
from jaxdpmm.model import Mixture, Posterior, Prior, Stats, compact, global_update, stats_of

SWEEPS_PER_STAGE = 12
ROUNDED_TO = 8  # so that stages of nearly the same size are of the same


def fit_adaptive(
    mixture: Mixture,
    prior: Prior,
    data: Any,
    posterior: Posterior,
    *,
    backend: Callable[[Mixture, Prior], Algorithm] = cavi,
    moves: Sequence[str] = tuple(MOVES),
    key: PRNGKeyArray | None = None,
    num_epochs: int = 100,
    checkpoint: str | Path | None = None,
    tolerance: float = 1e-3,
    sample_weight: Any = None,
    batch_size: int | None = None,
    **fit_arguments: Any,
) -> tuple[Mixture, FitResult]:
    """Fit with births, merges and deletions; the mixture's truncation is a start and no ceiling.

    Args:
        mixture: static description; `num_components` is that of the start.
        prior: hyper-parameters.
        data: as in `fit`.
        posterior: where to start; few components do, births add to them.
        backend: from mixture and prior to an `Algorithm` with an exact bound: `cavi` or `memoized`.
        moves: which, of "birth", "merge" and "delete".
        key: random key; the same key gives the same fit.
        num_epochs: most sweeps over the data, of all stages together.
        checkpoint: folder; each stage keeps a checkpoint in it, and the same call goes on from there.
        tolerance: as in `fit`; none of the moves may have helped by more either.
        sample_weight: as in `fit`.
        batch_size: as in `fit`.
        **fit_arguments: the others of `fit`: progress, callback, checkpoint_every.

    Returns:
        The mixture with the number of components found, and the result; its history counts the accepted births,
        merges and deletions of each sweep. Components are sorted by size and none is empty; the result's `state` is
        that of the last stage, before empty ones were dropped.

    Raises:
        ValueError: as `fit`; unknown moves.
    """
    check_at_least_one("num_epochs", num_epochs, "the default is 100")
    source = as_source(data, mixture.family, sample_weight, batch_size)
    key = jax.random.key(0) if key is None else key
    history: list[Epoch] = []
    converged, stage = False, 0
    while not converged and len(history) < num_epochs:
        if "birth" in moves:
            mixture, posterior = with_room(mixture, prior, posterior)
        result = fit(
            with_moves(backend(mixture, prior), moves),
            source,
            posterior,
            key=jax.random.fold_in(key, stage),
            num_epochs=min(SWEEPS_PER_STAGE, num_epochs - len(history)),
            tolerance=tolerance,
            patience=2 * len(moves),
            checkpoint=checkpoint and Path(checkpoint) / f"stage-{stage:03d}",
            **fit_arguments,
        )
        history += [epoch._replace(number=len(history) + epoch.number) for epoch in result.history]
        mixture, posterior = compact(mixture, prior, result.posterior)
        converged, stage = result.converged, stage + 1
    return mixture, result._replace(posterior=posterior, history=tuple(history))


def with_room(mixture: Mixture, prior: Prior, posterior: Posterior) -> tuple[Mixture, Posterior]:
    """Empty components added, half as many as hold data and at least eight, after dropping those that are empty."""
    mixture, posterior = compact(mixture, prior, posterior)
    wanted = mixture.num_components + max(ROUNDED_TO, mixture.num_components // 2)
    larger = Mixture(mixture.family, -(-wanted // ROUNDED_TO) * ROUNDED_TO, mixture.sticks)
    num_new = larger.num_components - mixture.num_components

    def pad(leaf: Any) -> Any:
        return jnp.concatenate([leaf, jnp.zeros((num_new, *leaf.shape[1:]), leaf.dtype)])

    stats = stats_of(prior, posterior)
    padded = Stats(
        pad(stats.counts), jax.tree.map(pad, stats.components), stats.entropy, stats.log_base
    )
    return larger, global_update(larger, prior, padded, posterior)
