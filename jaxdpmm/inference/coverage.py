"""Seeds that cover all points: each next seed is the point farthest from the seeds so far.

k-means puts centres where points are many, so that a rare kind of point gets none. Farthest-first seeds leave no point
farther from its seed than twice the smallest possible (Gonzalez), however rare its kind is.

The plain algorithm reads all points once for every seed. Here they are read once for many seeds: distances to the
nearest seed only fall as seeds are added, so that the next seeds are found among some thousand points farthest away
(the pool), for as long as the farthest of the pool is at least as far as any point outside of it. Then one matrix
product gives the distances of all points to the new seeds. Next file to read: `initialize.py`.

References:
    Gonzalez (1985), Clustering to minimize the maximum intercluster distance.
    Charikar, Chekuri, Feder and Motwani (1997), Incremental clustering and dynamic information retrieval.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.distances import squared_distances, squared_norms
from jaxdpmm.inference.data.arrays import DataSource
from jaxdpmm.inference.local_steps.dense import over_tiles
from jaxdpmm.precision import full_precision

POOL_SIZE = 4096  # points to look for the next seeds in; of 384 features, 6 MB of float32
MOST_AT_ONCE = 256  # seeds chosen before all points are read again
LEAST_AT_ONCE = 16  # from here on, seeds are padded to a power of two: few programs are compiled
HELD_PER_SEED = 4  # of data in batches, rows held for each seed before they are thinned out


class Coverage(NamedTuple):
    """Seeds, and the nearest seed of each point.

    Attributes:
        rows: number of the point that each seed is, in the order in which they were chosen, (S,).
        labels: position in `rows` of the seed nearest to each point, (N,).
        distances: of each point to that seed, (N,).
    """

    rows: Int[np.ndarray, " S"]
    labels: Int[Array, " N"]
    distances: Float[Array, " N"]


def farthest_first(
    x: Float[Array, "N D"],
    size: int,
    *,
    first: int | None = None,
    weight: Float[Array, " N"] | None = None,
) -> Coverage:
    """Seeds of the greedy algorithm: each next one is the point farthest from its nearest seed.

    The largest distance of a point to its seed is at most twice what the best `size` centres could reach. There are
    fewer seeds than `size` where all points have distance zero to their seed before: equal points share one.

    Cost: 2 N S D operations in matrix products, and for each seed a pass over `POOL_SIZE` points. Memory: the points
    and three numbers for each. Rounding: seeds are chosen by summed differences among points that are preselected by
    `squared_distances`, so the order of points at almost equal distance is open.

    Args:
        x: points.
        size: most seeds, S.
        first: number of the point that is the first seed; by default the farthest from the mean, so that nothing is
            random.
        weight: of each point in that mean; points of weight zero are no seeds. By default one.
    """
    weight = jnp.ones_like(x[:, 0]) if weight is None else weight
    offset, farthest = middle(x, weight)
    first = int(farthest) if first is None else first
    state = Nearest.without_seeds(x, weight).with_seeds(x, offset, _rows(x, np.asarray([first])))
    rows, state = extend(x, offset, state, size - 1, 0.0)
    rows = np.concatenate([np.asarray([first]), rows])
    return Coverage(rows, state.labels, _distances(x, jnp.asarray(state.seeds), state.labels))


def cover_more(
    x: Float[Array, "N D"], centres: Float[np.ndarray, "S D"], radius: float, size: int
) -> Int[np.ndarray, " M"]:
    """Numbers of the points that are further seeds beside centres which are there already.

    Farthest first, until no point is farther than a radius from its nearest centre or seed.

    Args:
        x: points.
        centres: at least one.
        radius: largest distance that is covered.
        size: most further seeds.
    """
    weight = jnp.ones_like(x[:, 0])
    offset, _ = middle(x, weight)
    state = Nearest.without_seeds(x, weight).with_seeds(x, offset, centres)
    return extend(x, offset, state, size, radius**2)[0]


def cover_batches(
    source: DataSource, size: int, units: Float[Array, " D"] | None = None
) -> Float[np.ndarray, "S D"]:
    """Seeds of data that come in batches, in one sweep: the seeds of each batch, and farthest-first among them all.

    A batch adds its points farthest from the rows held so far, until none of its points is farther from all held rows
    than the largest distance that an earlier batch was left with, or until it has added `size`. Both leave every
    point within twice the optimum of a held row. Seeds of the held rows are within twice the optimum of these, so the
    largest distance of a point to its seed is at most four times what the best `size` centres could reach, against
    twice for `farthest_first`. Where more than `HELD_PER_SEED` times `size` rows would be held, they are
    thinned out to `size` in the same way, which adds another two each time.

    Memory: a batch and the held rows.

    Args:
        source: points of any shape, which are flattened; those of weight zero are no seeds.
        size: most seeds.
        units: what features are divided by first, in the seeds too; None for nothing.
    """
    held: Any = None
    radius = 0.0
    for batch in source.sweep():
        x = flat(batch.x, units)
        offset, farthest = middle(x, batch.weight)
        held = _rows(x, np.asarray([int(farthest)])) if held is None else held
        state = Nearest.without_seeds(x, batch.weight).with_seeds(x, offset, held)
        rows, state = extend(x, offset, state, size, radius**2)
        held = np.concatenate([held, _rows(x, rows)])
        radius = max(radius, float(np.sqrt(max(float(jnp.max(state.squares)), 0.0))))
        if len(held) > HELD_PER_SEED * size:
            held, thinned = _thinned(held, size)
            radius = max(radius, thinned)
    return _thinned(held, size)[0]


def _thinned(held: Float[np.ndarray, "M D"], size: int) -> tuple[Float[np.ndarray, "S D"], float]:
    """At most `size` of the rows held, farthest first, and the largest distance of any of them to these."""
    padding = _padded(len(held)) - len(held)
    weight = jnp.asarray(np.arange(len(held) + padding) < len(held), held.dtype)
    found = farthest_first(jnp.asarray(np.pad(held, ((0, padding), (0, 0)))), size, weight=weight)
    return held[found.rows], float(np.max(np.asarray(found.distances)[: len(held)]))


def _rows(x: Float[Array, "N D"], rows: Int[np.ndarray, " M"]) -> Float[np.ndarray, "M D"]:
    """Some rows on the host; read by a program for each padded number of them."""
    filled = np.pad(rows, (0, _padded(len(rows)) - len(rows)))
    return np.asarray(x[filled])[: len(rows)]


def _padded(number: int) -> int:
    """The next power of two, at least `LEAST_AT_ONCE`."""
    return max(LEAST_AT_ONCE, 1 << (number - 1).bit_length())


def flat(x: Any, units: Float[Array, " D"] | None = None) -> Float[Array, "N D"]:
    """Points as vectors of floating numbers, each feature divided by its unit."""
    rows = jnp.asarray(x).reshape(x.shape[0], -1)
    rows = rows if jnp.issubdtype(rows.dtype, jnp.floating) else rows.astype(float)
    return rows if units is None else rows / units[None].astype(rows.dtype)


class Nearest(NamedTuple):
    """Seeds so far, and for each point the squared distance to the nearest (-1: never a seed) and its number.

    Attributes:
        squares: (N,).
        labels: (N,).
        seeds: in the order in which they were chosen, (S, D).
    """

    squares: Float[Array, " N"]
    labels: Int[Array, " N"]
    seeds: Float[np.ndarray, "S D"]

    @classmethod
    def without_seeds(cls, x: Float[Array, "N D"], weight: Float[Array, " N"]) -> "Nearest":
        """Where to start, before there is a seed; points of weight zero are none."""
        squares = jnp.where(weight > 0, jnp.asarray(jnp.inf, x.dtype), -1)
        nothing = np.zeros((0, x.shape[1]), x.dtype)
        return cls(squares, jnp.zeros(x.shape[0], jnp.int32), nothing)

    def with_seeds(
        self, x: Float[Array, "N D"], offset: Float[Array, " D"], seeds: Float[np.ndarray, "S D"]
    ) -> "Nearest":
        """After further seeds; distances are taken about an offset, where products of points lose the least."""
        squares, labels = self.squares, self.labels
        for start in range(0, len(seeds), MOST_AT_ONCE):
            new = seeds[start : start + MOST_AT_ONCE]
            padding = _padded(len(new)) - len(new)
            number = len(self.seeds) + start
            filled = np.pad(new, ((0, padding), (0, 0)))
            squares, labels = _nearer(x, offset, squares, labels, filled, len(new), number)
        return Nearest(squares, labels, np.concatenate([self.seeds, seeds]))


def extend(
    x: Float[Array, "N D"], offset: Float[Array, " D"], state: Nearest, size: int, least: float
) -> tuple[Int[np.ndarray, " S"], Nearest]:
    """At most `size` more seeds, until no point has a squared distance above `least`."""
    rows = np.zeros(0, int)
    while len(rows) < size:
        squares = np.asarray(state.squares)
        num_outside = max(len(squares) - POOL_SIZE, 0)
        order = np.argpartition(squares, num_outside) if num_outside else np.arange(len(squares))
        pool = np.sort(order[num_outside:])  # so that of equals the first comes first
        outside = float(squares[order[:num_outside]].max(initial=-1.0))
        nearest = state.seeds[np.asarray(state.labels)[pool]]
        limit = min(size - len(rows), MOST_AT_ONCE)
        chosen, number = _choose(x[pool], nearest, state.squares[pool], outside, least, limit)
        if not number:
            break
        new = pool[np.asarray(chosen)[: int(number)]]
        state = state.with_seeds(x, offset, _rows(x, new))
        rows = np.concatenate([rows, new])
    return rows, state


@jax.jit
def _choose(
    x: Float[Array, "M D"],
    nearest: Float[Array, "M D"],
    squares: Float[Array, " M"],
    outside: Any,
    least: Any,
    limit: Any,
) -> tuple[Int[Array, " B"], Int[Array, ""]]:
    """The next seeds among the pool, as many as are certain, at least one if any is farther than `least`."""

    def goes_on(carry: Any) -> Any:
        squares, _, number = carry
        largest = jnp.max(squares)
        is_certain = (number == 0) | (largest >= outside)
        return (number < limit) & (largest > least) & is_certain

    def choose(carry: Any) -> Any:
        squares, chosen, number = carry
        row = jnp.argmax(squares).astype(chosen.dtype)
        squares = jnp.minimum(squares, _squares_from(x, x[row]))
        return squares, chosen.at[number].set(row), number + 1

    exact = jnp.where(squares < 0, squares, squared_norms(x - nearest))
    chosen = jnp.zeros(MOST_AT_ONCE, jnp.int32)
    start = exact, chosen, jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(goes_on, choose, start)[1:]


@jax.jit
@full_precision()
def _nearer(
    x: Float[Array, "N D"],
    offset: Float[Array, " D"],
    squares: Float[Array, " N"],
    labels: Int[Array, " N"],
    seeds: Float[Array, "B D"],
    num_seeds: Any,
    number: Any,
) -> tuple[Float[Array, " N"], Int[Array, " N"]]:
    """Squared distances and labels after seeds were added, whose labels begin with `number`."""
    seeds = seeds - offset[None]
    is_seed = jnp.arange(seeds.shape[0]) < num_seeds
    norms = jnp.where(is_seed, squared_norms(seeds), jnp.inf)

    def of_tile(x: Array, squares: Array, labels: Array) -> tuple[Array, Array]:
        found = squared_distances(x - offset[None], seeds, centre_norms=norms)
        best = jnp.argmin(found, axis=1).astype(labels.dtype)
        distance = jnp.min(found, axis=1)
        is_nearer = distance < squares
        labels = jnp.where(is_nearer, best + jnp.asarray(number, labels.dtype), labels)
        return jnp.where(is_nearer, distance, squares), labels

    return over_tiles(of_tile, x, squares, labels)


@jax.jit
@full_precision()
def middle(x: Float[Array, "N D"], weight: Float[Array, " N"]) -> tuple[Array, Int[Array, ""]]:
    """The mean of the points, and the number of the one farthest from it that has weight."""
    mean = weight @ x / jnp.maximum(jnp.sum(weight), jnp.finfo(x.dtype).tiny)
    squares = over_tiles(lambda x: squared_norms(x - mean[None]), x)
    return mean, jnp.argmax(jnp.where(weight > 0, squares, -1))


@jax.jit
def _squares_from(x: Float[Array, "N D"], point: Float[Array, " D"]) -> Float[Array, " N"]:
    return squared_norms(x - point[None])


@jax.jit
def _distances(
    x: Float[Array, "N D"], seeds: Float[Array, "S D"], labels: Int[Array, " N"]
) -> Float[Array, " N"]:
    def of_tile(x: Array, labels: Array) -> Array:
        return jnp.sqrt(squared_norms(x - seeds[labels]))

    return over_tiles(of_tile, x, labels)
