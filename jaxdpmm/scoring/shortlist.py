"""The nearest of thousands of vectors, most of which are never looked at in full.

Each vector is kept a second time in few coordinates, those along the main axes of all vectors. Of a squared distance,
|x|^2 - 2 x'm + |m|^2, only the product is taken in these coordinates. That leaves out x'm across the axes, which in
hundreds of dimensions is nearly zero for most m, where the lower bound that the triangle inequality gives has
|x| |m| in its place and finds fewer. So the few vectors nearest by this estimate hold the nearest one, but for few
points, and only these few vectors are compared in all dimensions. `shortlist_recall` measures what that misses;
`benchmarks/inference.py` does so for 1,000 to 100,000 means of drawn features.

The screening is one product of K x 64 in place of K x D, and a search for its smallest entries. A search in sorted
order costs several times the product. So columns are dealt into bins, of which only the nearest column survives, and
the number of that column rides in the last bits of its distance. Columns are sorted beforehand so that neighbours come
one after the other and fall into different bins. A block of columns is as wide as keeps its product with the patches
of an image in a processor's cache.

So time grows with K, but by a quarter of what all dimensions cost, and without the sorted search. Groups of about
sqrt(K) vectors, of which each patch visits the 16 or 32 nearest in blocks of pairs, would grow with the root of K.
`benchmarks/groups.py` measures them: at 3,000 vectors they cost more than the screen and find less, from 30,000 on they
cost half of it and at 100,000 a ninth, with a recall within 0.002 of its own. No score uses them so far: mixtures have
hundreds to some thousands of components.

Scores that look at few components have a screen, for every family with means and in every type: `cosine`,
`nearest_predictive`, `residual` and `spherical`. The others have none: `predictive`, `plug_in` and `expected` are
sums over all components (`nearest_predictive` is their shortlist), the least distance of `mahalanobis` is in each
component's own metric, in which the nearest may have a mean far away, and `euclidean` is exact, for comparisons.
Next file to read: `nearest.py`.

References:
    Chern et al. (2022), TPU-KNN: K nearest neighbor search at peak FLOP/s. arXiv 2206.14286 (the bins).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.distances import nearest_centres, squared_norms
from jaxdpmm.families.factorize import cholesky_and_inverse
from jaxdpmm.precision import full_precision
from jaxdpmm.programs import jitted
from jaxdpmm.scoring.scorer import in_tiles

LEAST_SCREENED = 1024  # vectors; of fewer, all distances are as fast
NUM_AXES = 64  # of 384
WIDTH = 1024  # columns of one product, at most
FEWEST_BINS = 64  # of one product; twice as many of four times the columns, so that no more neighbours meet in one
FLOAT, LAST = jnp.float32, np.iinfo(np.int32).max
NUM_STEPS = 6  # of the iteration for the axes
FAR = 1e30  # squared distance of columns that hold no vector
RIDGE, TINY = 1e-6, 1e-30  # of products that are factorised: of their trace, and where that is zero


class Screen(NamedTuple):
    """Vectors prepared for `nearest_rows`, in C blocks of S columns, a multiple of the number of bins.

    Attributes:
        offset: the mean of the vectors.
        axes: directions, orthonormal.
        columns: coordinates of each vector along the axes, times -2.
        squares: squared norms of the vectors less the offset; FAR in columns that hold no vector.
        numbers: which vector each column holds.
    """

    offset: Float[Array, " D"]
    axes: Float[Array, "D A"]
    columns: Float[Array, "C A S"]
    squares: Float[Array, "C S"]
    numbers: Int[Array, " M"]


def is_screened(num_vectors: int, num_nearest: int) -> bool:
    """Whether a screen pays for so many vectors, of which so many are wanted."""
    return num_vectors >= LEAST_SCREENED and num_nearest <= FEWEST_BINS // 4


@full_precision()
def screen_of(
    vectors: Float[Array, "K D"],
    barrier: Float[Array, " K"] | None = None,
    num_axes: int = NUM_AXES,
) -> Screen:
    """Vectors made ready to be searched.

    Args:
        vectors: at least FEWEST_BINS of them.
        barrier: 0 for vectors that may be found, infinity for others; None for all.
        num_axes: coordinates to screen in; the more, the fewer neighbours are missed.
    """
    exact = vectors.astype(FLOAT)
    offset = jnp.mean(exact, axis=0)
    centred = exact - offset[None]
    dim = exact.shape[1]
    axes = jnp.eye(dim, dtype=FLOAT) if num_axes >= dim else _main_axes(centred, num_axes)
    columns = centred @ axes
    pivots = columns[: math.isqrt(len(exact))]
    order = jnp.argsort(nearest_centres(columns, pivots))
    squares = squared_norms(centred)
    if barrier is not None:
        squares = jnp.minimum(squares + barrier.astype(FLOAT), FAR)
    num_blocks = -(-len(exact) // WIDTH)
    num_bins = _num_bins(num_blocks)
    width = -(-len(exact) // (num_blocks * num_bins)) * num_bins
    missing = num_blocks * width - len(exact)
    columns = jnp.pad(columns[order], ((0, missing), (0, 0)))
    squares = jnp.pad(squares[order], (0, missing), constant_values=FAR)
    return Screen(
        offset,
        axes,
        -2 * columns.reshape(-1, width, columns.shape[1]).transpose(0, 2, 1),
        squares.reshape(-1, width),
        jnp.pad(order, (0, missing)),
    )


def nearest_rows(
    screen: Screen, x: Float[Array, "N D"], num_nearest: int
) -> Int[Array, "N num_nearest"]:
    """Numbers of the vectors nearest to each point in the coordinates of the screen, all different, the nearest first.

    Of two vectors in one bin only the nearer one is found. The product that ranks is the platform's own
    (`precision.py`).

    Args:
        screen: of at least as many vectors.
        x: points.
        num_nearest: how many, at most FEWEST_BINS.
    """
    centred = x.astype(FLOAT) - screen.offset[None].astype(FLOAT)
    points = jnp.matmul(centred.astype(screen.axes.dtype), screen.axes)
    norms, (num_blocks, width) = squared_norms(centred), screen.squares.shape
    num_bins = _num_bins(num_blocks)
    slots = jax.lax.broadcasted_iota(jnp.int32, (1, width // num_bins, 1), 1)

    def of_block(columns: Float[Array, "A S"], squares: Float[Array, " S"]) -> Int[Array, "N B"]:
        products = jnp.matmul(points, columns, preferred_element_type=FLOAT)
        bits = _bits(products + norms[:, None] + squares[None].astype(FLOAT), num_bins)
        return jnp.min(bits.reshape(points.shape[0], -1, num_bins) | slots, axis=1)

    def visit(best: tuple[Array, Array], block: Any) -> tuple[tuple[Array, Array], None]:
        number, columns, squares = block
        found = of_block(columns, squares)
        numbers = jnp.where(found < best[0], number, best[1])
        return (jnp.minimum(found, best[0]), numbers), None

    first = of_block(screen.columns[0], screen.squares[0])
    best = first, jnp.zeros_like(first)
    if num_blocks > 1:
        rest = (jnp.arange(num_blocks, dtype=jnp.int32), screen.columns, screen.squares)
        best, _ = jax.lax.scan(visit, best, jax.tree.map(lambda part: part[1:], rest))
    bins = _smallest(best[0], num_nearest)
    slot, block = (jnp.take_along_axis(part, bins, axis=1) for part in best)
    return screen.numbers[block * width + (slot & (num_bins - 1)) * num_bins + bins]


def shortlist_recall(
    vectors: Float[Array, "K D"],
    x: Float[Array | np.ndarray, "N D"],
    num_nearest: int,
    num_axes: int = NUM_AXES,
) -> float:
    """Share of the points whose nearest vector is among those that a screen of the vectors finds.

    Args:
        vectors: at least FEWEST_BINS.
        x: points, such as patches of held-out images.
        num_nearest: how many are found for each point.
        num_axes: coordinates of the screen.

    Raises:
        ValueError: fewer than FEWEST_BINS vectors, or `num_nearest` is not between 1 and FEWEST_BINS.
    """
    if len(vectors) < FEWEST_BINS or not 1 <= num_nearest <= FEWEST_BINS:
        raise ValueError(
            f"vectors must be at least {FEWEST_BINS} and num_nearest from 1 to {FEWEST_BINS}, got {len(vectors)} and "
            f"{num_nearest}; compare fewer vectors directly."
        )
    screen = jax.jit(screen_of, static_argnums=2)(vectors, None, num_axes)
    found = jitted(_is_found, num_nearest)
    return float(np.mean(np.asarray(in_tiles(found, (screen, vectors), x))))


def _is_found(
    num_nearest: int, searched: tuple[Screen, Array], x: Float[Array, "N D"]
) -> Float[Array, " N"]:
    screen, vectors = searched
    nearest = nearest_centres(x, vectors)[:, None]
    found = jnp.any(nearest_rows(screen, x, num_nearest) == nearest, axis=1)
    return found.astype(FLOAT)


def _num_bins(num_blocks: int) -> int:
    """A power of two, at least 2 sqrt(columns), which is more than the columns of a bin in one block."""
    return FEWEST_BINS << math.ceil(math.log2(num_blocks) / 2)


def _bits(squares: Float[Array, "N M"], num_bins: int) -> Int[Array, "N M"]:
    """Whole numbers in the order of numbers that are not negative; the last bits, zero, have room for a bin."""
    return jax.lax.bitcast_convert_type(jnp.maximum(squares, 0), jnp.int32) & -num_bins


def _smallest(bits: Int[Array, "N B"], number: int) -> Int[Array, "N number"]:
    """Columns of the smallest entries, the smallest first: each is the smallest above the last, as none are equal."""
    num_bins = bits.shape[1]
    entries = bits & -num_bins | jnp.arange(num_bins, dtype=jnp.int32)[None]
    found = [jnp.min(entries, axis=1)]
    while len(found) < number:
        larger = jnp.where(entries > found[-1][:, None], entries, LAST)
        found.append(jnp.min(larger, axis=1))
    return jnp.stack(found, axis=1) & (num_bins - 1)


def _main_axes(centred: Float[Array, "K D"], number: int) -> Float[Array, "D A"]:
    """Directions of nearly the largest variance, by subspace iteration, without a decomposition of LAPACK's.

    Directions without variance may be shorter than one, which keeps distances along them below the true ones.
    """
    covariance = centred.T @ centred
    covariance = covariance / jnp.maximum(jnp.trace(covariance), TINY)
    start = jax.random.normal(jax.random.key(0), (len(covariance), number), FLOAT)

    def improve(_: Any, axes: Float[Array, "D A"]) -> Float[Array, "D A"]:
        return _orthonormal(covariance @ axes)

    return _orthonormal(jax.lax.fori_loop(0, NUM_STEPS, improve, start))


def _orthonormal(directions: Float[Array, "D A"]) -> Float[Array, "D A"]:
    products = directions.T @ directions
    ridge = RIDGE * jnp.trace(products) + TINY
    identity = jnp.eye(len(products), dtype=products.dtype)
    return directions @ cholesky_and_inverse(products + ridge * identity)[1].T
