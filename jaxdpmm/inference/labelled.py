"""Posteriors of data in which every point belongs to one component, and their exact bound.

Next file to read: `covering.py`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdpmm import trees
from jaxdpmm.bound import elbo_after_update
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.data.arrays import DataSource
from jaxdpmm.model import Batch, Mixture, Prior, Stats, global_update

Labels = Sequence[Int[Array, " B"]]
"""Component of each point, batch by batch."""


def labelled_statistics(
    mixture: Mixture, prior: Prior, source: DataSource, labels: Labels, params: Any = None
) -> Stats:
    """Statistics of all points, each of which belongs to one component.

    Args:
        mixture: static description.
        prior: whose offset points are taken from.
        source: all points.
        labels: component of each.
        params: of the read-out, for families with local variables; None where there is nothing to read.
    """
    total: Any = None
    for batch, own in zip(source.sweep(), labels, strict=True):
        stats = _label_statistics(mixture, batch, prior.offset, own, params)
        if total is None:
            total = rounding = trees.zeros_like(stats)
        total, rounding = trees.add_compensated(total, rounding, stats)
    return total


@partial(jax.jit, static_argnums=0)
def labelled_bound(mixture: Mixture, prior: Prior, stats: Stats) -> Float[Array, ""]:
    """The exact bound of the posterior that statistics make, its components sorted by size as sticks expect."""
    order = jnp.argsort(-stats.counts)
    stats = stats._replace(
        counts=stats.counts[order], components=trees.take(stats.components, order)
    )
    return elbo_after_update(mixture, prior, global_update(mixture, prior, stats), stats)


@partial(jax.jit, static_argnums=0)
def _label_statistics(
    mixture: Mixture, batch: Batch, offset: Array | None, labels: Int[Array, " B"], params: Any
) -> Stats:
    return label_statistics(mixture, labels, batch.x, batch.weight, offset, params)
