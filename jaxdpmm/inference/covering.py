"""The start of a fit that covers all points: farthest-first seeds, some Lloyd steps, one assignment.

Seeds (`coverage.py`) lie at the edges of what they stand for, and a Lloyd step moves each to the mean of its points.
Data come in one batch, whose seeds are exact, or in many, which are read once for seeds and once for each step.
Next file to read: `initialize.py`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from jaxdpmm import trees
from jaxdpmm.distances import nearest_centres
from jaxdpmm.families.gaussian import Gaussian
from jaxdpmm.families.gaussian_spherical import GaussianSpherical
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.coverage import cover_batches, farthest_first, flat
from jaxdpmm.inference.data.arrays import DataSource
from jaxdpmm.inference.local_steps.dense import over_tiles
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Stats,
    centre,
    expected_readout,
    global_update,
)
from jaxdpmm.precision import full_precision

LOCAL_SWEEPS = 20  # with labels held, of families with local variables; cheap


def covering_posterior(
    mixture: Mixture, prior: Prior, source: DataSource, num_lloyd: int, one_unit: bool
) -> Posterior:
    """Posterior of all points under one assignment, to the nearest farthest-first seed after some Lloyd steps.

    Every point is compared with all centres once per assignment. Memory: its label, 4 bytes per point.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        source: all points.
        num_lloyd: steps.
        one_unit: distances are taken as they are, not in units of each feature's spread.
    """
    units = None if one_unit else _units(mixture, prior, source)
    if source.num_batches == 1:
        (batch,) = source.sweep()
        x = flat(batch.x, units)
        found = farthest_first(x, mixture.num_components, weight=batch.weight)
        centres, labels = x[found.rows], [found.labels]
    else:
        centres = jnp.asarray(cover_batches(source, mixture.num_components, units))
        labels = [_nearest(batch.x, centres, units) for batch in source.sweep()]
    for _ in range(num_lloyd):
        centres = _moved(source, centres, units, labels)
        labels = [_nearest(batch.x, centres, units) for batch in source.sweep()]

    def update(params: Any) -> Posterior:
        total: Any = None
        for batch, own in zip(source.sweep(), labels, strict=True):
            stats = _label_statistics(mixture, batch, prior.offset, own, params)
            if total is None:
                total = rounding = trees.zeros_like(stats)
            total, rounding = trees.add_compensated(total, rounding, stats)
        return global_update(mixture, prior, total)

    posterior = update(None)
    for _ in range(LOCAL_SWEEPS if mixture.family.has_local_variables else 0):
        posterior = update(expected_readout(mixture, posterior).params)
    return posterior


def _moved(
    source: DataSource, centres: Float[Array, "K D"], units: Array | None, labels: list[Array]
) -> Float[Array, "K D"]:
    """Centres after a Lloyd step: the weighted mean of the points of each, by the labels of each batch."""
    sums, counts = jnp.zeros_like(centres), jnp.zeros_like(centres[:, 0])
    for batch, own in zip(source.sweep(), labels, strict=True):
        more_sums, more_counts = _sums_of_labels(batch, own, units, len(centres))
        sums, counts = sums + more_sums, counts + more_counts
    return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], centres)


@partial(jax.jit, static_argnums=3)
def _sums_of_labels(
    batch: Batch, labels: Int[Array, " B"], units: Array | None, number: int
) -> tuple[Float[Array, "K D"], Float[Array, " K"]]:
    weighted = flat(batch.x, units) * batch.weight[:, None]
    sums = jax.ops.segment_sum(weighted, labels, number)
    return sums, jax.ops.segment_sum(batch.weight, labels, number)


@jax.jit
@full_precision()
def _nearest(x: Num[Array, "B ..."], seeds: Float[Array, "S D"], units: Array | None) -> Array:
    """The number of each point's nearest seed."""
    middle = jnp.mean(seeds, axis=0)[None]  # products of points about zero lose the least
    return over_tiles(lambda x: nearest_centres(flat(x, units) - middle, seeds - middle), x)


@partial(jax.jit, static_argnums=0)
def _label_statistics(
    mixture: Mixture, batch: Batch, offset: Array | None, labels: Int[Array, " B"], params: Any
) -> Stats:
    return label_statistics(mixture, labels, batch.x, batch.weight, offset, params)


def _units(mixture: Mixture, prior: Prior, source: DataSource) -> Float[Array, " D"] | None:
    """The weighted spread of each feature of Gaussian points, as in `in_units`; None where nothing is to be scaled.

    A feature that is constant but for rounding has an infinite unit, so that it does not count.
    """
    is_spherical = isinstance(mixture.family, GaussianSpherical)  # whose one unit changes no order
    if prior.offset is None or is_spherical or not isinstance(mixture.family, Gaussian):
        return None
    squares: Any = 0.0
    for batch in source.sweep():
        squares = squares + _weighted_squares(batch, prior.offset)
    spread = jnp.sqrt(squares / source.total_weight)
    rounding = 8 * jnp.finfo(spread.dtype).eps * jnp.abs(prior.offset)
    return jnp.where(spread > rounding, spread, jnp.inf)


@jax.jit
@full_precision()
def _weighted_squares(batch: Batch, offset: Array) -> Float[Array, " D"]:
    return batch.weight @ centre(batch.x, offset) ** 2
