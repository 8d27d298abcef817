"""The start of a fit that covers all points: farthest-first seeds, some Lloyd steps, one assignment.

Seeds (`coverage.py`) lie at the edges of what they stand for, and a Lloyd step moves each to the mean of its points.
Data come in one batch, whose seeds are exact, or in many, which are read once for seeds and once for each step.
How many components hold data is the truncation, or what the data need (`covering_number.py`, `joining.py`).
Next file to read: `initialize.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxdpmm.distances import nearest_centres
from jaxdpmm.families.gaussian import Gaussian
from jaxdpmm.families.gaussian_spherical import GaussianSpherical
from jaxdpmm.inference.coverage import cover_batches, farthest_first, flat
from jaxdpmm.inference.covering_number import needed_seeds
from jaxdpmm.inference.data.arrays import DataSource
from jaxdpmm.inference.joining import join_components, sums_of_labels
from jaxdpmm.inference.labelled import Labels, labelled_statistics
from jaxdpmm.inference.local_steps.dense import over_tiles
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    centre,
    expected_readout,
    global_update,
)
from jaxdpmm.precision import full_precision

LOCAL_SWEEPS = 20  # with labels held, of families with local variables; cheap


def covering_posterior(
    mixture: Mixture,
    prior: Prior,
    source: DataSource,
    num_lloyd: int,
    one_unit: bool,
    adapt: bool = False,
) -> Posterior:
    """Posterior of all points under one assignment, to the nearest farthest-first seed after some Lloyd steps.

    Every point is compared with all centres once per assignment. Memory: its label, 4 bytes per point.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        source: all points.
        num_lloyd: steps.
        one_unit: distances are taken as they are, not in units of each feature's spread.
        adapt: as of `initialize.initialize`.
    """
    units = None if one_unit else _units(mixture, prior, source)
    centres, labels = (_needed if adapt else _all_seeds)(mixture, prior, source, units)
    for _ in range(num_lloyd):
        centres = _moved(source, centres, units, labels)
        labels = [_nearest(batch.x, centres, units) for batch in source.sweep()]
    if adapt and len(centres) < mixture.num_components:  # else the truncation decides
        smaller = Mixture(mixture.family, len(centres), mixture.sticks)
        labels = join_components(smaller, prior, source, labels, units)

    def update(params: Any) -> Posterior:
        stats = labelled_statistics(mixture, prior, source, labels, params)
        return global_update(mixture, prior, stats)

    posterior = update(None)
    for _ in range(LOCAL_SWEEPS if mixture.family.has_local_variables else 0):
        posterior = update(expected_readout(mixture, posterior).params)
    return posterior


def _all_seeds(
    mixture: Mixture, prior: Prior, source: DataSource, units: Array | None
) -> tuple[Float[Array, "K D"], Labels]:
    """A seed for every component, and the nearest one of each point."""
    del prior
    if source.num_batches == 1:
        (batch,) = source.sweep()
        x = flat(batch.x, units)
        found = farthest_first(x, mixture.num_components, weight=batch.weight)
        return x[found.rows], [found.labels]
    centres = jnp.asarray(cover_batches(source, mixture.num_components, units))
    return centres, [_nearest(batch.x, centres, units) for batch in source.sweep()]


def _needed(
    mixture: Mixture, prior: Prior, source: DataSource, units: Array | None
) -> tuple[Float[Array, "S D"], Labels]:
    """As many seeds as raise the bound, and the nearest one of each point."""
    cover = needed_seeds(mixture, prior, source, units)
    return jnp.asarray(cover.seeds), [state.labels for state in cover.states]


def _moved(
    source: DataSource, centres: Float[Array, "K D"], units: Array | None, labels: Labels
) -> Float[Array, "K D"]:
    """Centres after a Lloyd step: the weighted mean of the points of each, by the labels of each batch."""
    sums, counts = sums_of_labels(source, labels, units, len(centres))
    return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], centres)


@jax.jit
@full_precision()
def _nearest(x: Num[Array, "B ..."], seeds: Float[Array, "S D"], units: Array | None) -> Array:
    """The number of each point's nearest seed."""
    middle = jnp.mean(seeds, axis=0)[None]  # products of points about zero lose the least
    return over_tiles(lambda x: nearest_centres(flat(x, units) - middle, seeds - middle), x)


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
