"""New components for patches that no component stands for: the rule of the start for coverage, in an update.

Next file to read: `updating.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdpmm import trees
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.leaving_out import ImageGroups
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.distances import nearest_centres
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.coverage import cover_more
from jaxdpmm.inference.update import from_stats
from jaxdpmm.model import Mixture, Stats, stats_of

ROUNDING = 1e-3  # of a distance in float32, by which a patch like the farthest training patch is no farther


def with_births(state: DetectorState, groups: ImageGroups) -> tuple[Stats, DetectorState]:
    """Statistics so far, and the state with a component for each kind of new patches that none stands for yet.

    The new components start from the patches that are nearer to them than to all others; in the statistics so far they
    are empty.

    Args:
        state: whose posterior is prior + statistics.
        groups: images with new patches.
    """
    old = stats_of(state.prior, state.posterior)
    radius = radius_of(state, groups.config)
    if radius is None:
        return old, state
    x = jnp.asarray(np.concatenate(list(groups)))
    number = state.mixture.num_components
    centres = _centres(state)
    most = max(1, round(groups.config.share * len(x)))
    rows = cover_more(x, centres, (1 + ROUNDING) * radius, most)
    if not len(rows):
        return old, state
    born = Mixture(state.mixture.family, len(rows), state.mixture.sticks)
    seeds = np.concatenate([centres, np.asarray(x[rows])])
    labels = nearest_centres(x, jnp.asarray(seeds)) - number
    weight = (labels >= 0).astype(x.dtype)
    stats = label_statistics(born, jnp.maximum(labels, 0), x, weight, state.prior.offset)
    mixture = Mixture(state.mixture.family, number + len(rows), state.mixture.sticks)
    zeros = trees.zeros_like(stats)
    seeded, old = (
        old._replace(
            counts=jnp.concatenate([old.counts, new.counts]),
            components=jax.tree.map(_joined, old.components, new.components),
        )
        for new in (stats, zeros)
    )
    return old, state._replace(mixture=mixture, posterior=from_stats(mixture, state.prior, seeded))


def radius_of(state: DetectorState, config: DetectorConfig) -> float | None:
    """Distance to the nearest component from which on a patch gets one of its own; None where none is born.

    It is the largest that any training patch had to its component.

    Args:
        state: with examples, which tell it.
        config: of the start.
    """
    is_covering = config.start == "coverage" and state.examples is not None
    return state.examples.radius if is_covering and state.examples else None


def _centres(state: DetectorState) -> Float[np.ndarray, "K D"]:
    """Where components lie, in the features that the mixture is of."""
    params = jax.vmap(state.mixture.family.point_params)(state.posterior.components)
    offset = state.prior.offset
    return np.asarray(params.mean if offset is None else params.mean + offset[None])


def _joined(one: Any, other: Any) -> Any:
    return jnp.concatenate([one, other.astype(one.dtype)])
