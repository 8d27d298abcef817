"""Components of a start for coverage joined in pairs, where the exact bound rises and all points stay covered.

Farthest-first seeds lie at the edges of what they stand for, so that a kind of points can have several. Two components
are joined where their points have more evidence together than apart, and where none of these lies farther from the
mean of both than the farthest of all points lay from its mean before. A rare kind of points has nothing within that
distance, and keeps its component however few they are.
Next file to read: `covering.py`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.inference.coverage import flat
from jaxdpmm.inference.data.arrays import DataSource
from jaxdpmm.inference.growth.proposals import gains_of_joining
from jaxdpmm.inference.labelled import Labels, labelled_bound, labelled_statistics
from jaxdpmm.inference.local_steps.dense import over_tiles
from jaxdpmm.model import Batch, Mixture, Prior, Stats, global_update

MOST_ROUNDS = 20
ROUNDING = 1e-4  # of a distance, by which the farthest point is no farther


class _Parts(NamedTuple):
    """Components as sums over their points.

    Attributes:
        stats: of the mixture.
        sums: of points in the units of distances.
    """

    stats: Stats
    sums: Float[Array, "K D"]

    def means(self) -> Float[Array, "K D"]:
        return self.sums / jnp.maximum(self.stats.counts, 1e-30)[:, None]

    def joined(self, into: Int[Array, " K"]) -> "_Parts":
        def add(leaf: Array) -> Array:
            return jnp.zeros_like(leaf).at[into].add(leaf)

        stats = self.stats._replace(
            counts=add(self.stats.counts), components=jax.tree.map(add, self.stats.components)
        )
        return _Parts(stats, add(self.sums))


def join_components(
    mixture: Mixture,
    prior: Prior,
    source: DataSource,
    labels: Labels,
    units: Float[Array, " D"] | None,
) -> Labels:
    """Labels after components were joined; of two that are joined, one keeps its number and the other one is empty.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        source: all points.
        labels: component of each.
        units: what features are divided by before distances are taken; None for nothing.
    """
    parts = _Parts(
        labelled_statistics(mixture, prior, source, labels),
        sums_of_labels(source, labels, units, mixture.num_components)[0],
    )
    radius = (1 + ROUNDING) * jnp.max(_farthest(source, labels, units, parts.means()))
    bound = labelled_bound(mixture, prior, parts.stats)
    is_settled = np.zeros(mixture.num_components, bool)  # cannot join: too far from its partner
    for _ in range(MOST_ROUNDS):
        partner, gain = jax.tree.map(np.asarray, _gains(mixture, prior, parts.stats))
        wanted = jnp.asarray(_pairs(partner, np.where(is_settled, -np.inf, gain)))
        reached = _farthest(source, _mapped(labels, wanted), units, parts.joined(wanted).means())
        into = jnp.where(reached[wanted] > radius, jnp.arange(len(wanted)), wanted)
        is_settled |= np.asarray(into != wanted)
        if not np.any(into != np.arange(len(into))):
            break
        joined = parts.joined(into)
        new_bound = labelled_bound(mixture, prior, joined.stats)
        if new_bound <= bound:
            break
        parts, bound, labels = joined, new_bound, _mapped(labels, into)
    return labels


def sums_of_labels(
    source: DataSource, labels: Labels, units: Float[Array, " D"] | None, number: int
) -> tuple[Float[Array, "K D"], Float[Array, " K"]]:
    """Weighted sum of the points of each label, and the sum of their weights.

    Args:
        source: all points.
        labels: of each.
        units: what features are divided by; None for nothing.
        number: of labels.
    """
    total: Any = None
    for batch, own in zip(source.sweep(), labels, strict=True):
        more = _sums_of_labels(batch, own, units, number)
        total = more if total is None else jax.tree.map(jnp.add, total, more)
    return total


def _pairs(partner: Int[np.ndarray, " K"], gain: Float[np.ndarray, " K"]) -> Int[np.ndarray, " K"]:
    """Which component each goes to, itself where it stays: best first, each in one pair at most."""
    into = np.arange(len(gain))
    is_free = np.ones(len(gain), bool)
    for k in np.argsort(-gain):
        if not gain[k] > 0:
            break
        if is_free[k] and is_free[partner[k]]:
            into[k] = partner[k]
            is_free[[k, partner[k]]] = False
    return into


def _mapped(labels: Labels, into: Int[Array, " K"]) -> Labels:
    return [into[own].astype(own.dtype) for own in labels]


def _farthest(
    source: DataSource,
    labels: Labels,
    units: Float[Array, " D"] | None,
    means: Float[Array, "K D"],
) -> Float[Array, " K"]:
    """The largest distance of a point of each component to its mean; 0 for those without points."""
    found: Any = 0.0
    for batch, own in zip(source.sweep(), labels, strict=True):
        found = jnp.maximum(found, _farthest_of_batch(batch, own, units, means))
    return found


@jax.jit
def _farthest_of_batch(
    batch: Batch, labels: Int[Array, " B"], units: Array | None, means: Float[Array, "K D"]
) -> Float[Array, " K"]:
    def of_tile(x: Array, own: Array) -> Array:
        return jnp.linalg.norm(flat(x, units) - means[own], axis=1)

    distances = jnp.where(batch.weight > 0, over_tiles(of_tile, batch.x, labels), 0)
    return jnp.maximum(jax.ops.segment_max(distances, labels, len(means)), 0)


@partial(jax.jit, static_argnums=3)
def _sums_of_labels(
    batch: Batch, labels: Int[Array, " B"], units: Array | None, number: int
) -> tuple[Float[Array, "K D"], Float[Array, " K"]]:
    weighted = flat(batch.x, units) * batch.weight[:, None]
    sums = jax.ops.segment_sum(weighted, labels, number)
    return sums, jax.ops.segment_sum(batch.weight, labels, number)


@partial(jax.jit, static_argnums=0)
def _gains(
    mixture: Mixture, prior: Prior, stats: Stats
) -> tuple[Int[Array, " K"], Float[Array, " K"]]:
    return gains_of_joining(mixture, prior, global_update(mixture, prior, stats), stats)
