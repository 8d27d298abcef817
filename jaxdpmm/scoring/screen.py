"""Vectors kept a second time in few coordinates, so that most of them need never be looked at in full.

The coordinates are those along the main axes of all vectors. Columns, one per vector, stand in blocks as wide as keeps
their product with the patches of an image in a processor's cache, sorted so that neighbours come one after the other;
of LEAST_GROUPED vectors or more, each block is a group of neighbours, whose centre is kept as well (`groups.py`).
Next file to read: `shortlist.py`, which searches a screen.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdpmm.distances import nearest_centres, squared_norms
from jaxdpmm.families.factorize import cholesky_and_inverse
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring.groups import FAR, LEAST_GROUPED, block_size, blocks_of

NUM_AXES = 64  # of 384
AXES_OF_GROUPS = 96  # of the many vectors in groups more are alike, and few are looked at
WIDTH = 1024  # columns of one product, at most
FEWEST_BINS = 64  # of one product; twice as many of four times the columns, so that no more neighbours meet in one
FLOAT = jnp.float32
NUM_STEPS = 6  # of the iteration for the axes
RIDGE, TINY = 1e-6, 1e-30  # of products that are factorised: of their trace, and where that is zero


class Screen(NamedTuple):
    """Vectors prepared for `nearest_rows`, in C blocks of S columns, a multiple of the number of bins.

    Attributes:
        offset: the mean of the vectors.
        axes: directions, orthonormal.
        columns: coordinates of each vector along the axes, times -2.
        squares: squared norms of the vectors less the offset; FAR in columns that hold no vector.
        numbers: which vector each column holds; K for columns of groups that hold none.
        centres: means of the blocks' columns, where they are groups.
    """

    offset: Float[Array, " D"]
    axes: Float[Array, "D A"]
    columns: Float[Array, "C A S"]
    squares: Float[Array, "C S"]
    numbers: Int[Array, " M"]
    centres: Float[Array, "C A"] | None = None


@full_precision()
def screen_of(
    vectors: Float[Array, "K D"],
    barrier: Float[Array, " K"] | None = None,
    num_axes: int | None = None,
    least_grouped: int = LEAST_GROUPED,
) -> Screen:
    """Vectors made ready to be searched.

    Args:
        vectors: at least FEWEST_BINS of them.
        barrier: 0 for vectors that may be found, infinity for others; None for all.
        num_axes: coordinates to screen in; the more, the fewer neighbours are missed. By default NUM_AXES, of groups
            AXES_OF_GROUPS.
        least_grouped: vectors from which on blocks are groups of neighbours.
    """
    exact, is_grouped = vectors.astype(FLOAT), len(vectors) >= least_grouped
    if num_axes is None:
        num_axes = AXES_OF_GROUPS if is_grouped else NUM_AXES
    offset = jnp.mean(exact, axis=0)
    centred = exact - offset[None]
    dim = exact.shape[1]
    axes = jnp.eye(dim, dtype=FLOAT) if num_axes >= dim else _main_axes(centred, num_axes)
    columns = centred @ axes
    squares = squared_norms(centred)
    if barrier is not None:
        squares = jnp.minimum(squares + barrier.astype(FLOAT), FAR)
    if is_grouped:
        return _grouped(offset, axes, columns, squares)
    pivots = columns[: math.isqrt(len(exact))]
    order = jnp.argsort(nearest_centres(columns, pivots))
    num_blocks = -(-len(exact) // WIDTH)
    num_bins = num_bins_of(num_blocks)
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


def _grouped(
    offset: Float[Array, " D"],
    axes: Float[Array, "D A"],
    columns: Float[Array, "K A"],
    squares: Float[Array, " K"],
) -> Screen:
    numbers, centres = blocks_of(columns, squares < FAR, block_size(len(columns)))
    held = columns.at[numbers].get(mode="fill", fill_value=0)
    squares = squares.at[numbers].get(mode="fill", fill_value=FAR)
    return Screen(offset, axes, -2 * held.transpose(0, 2, 1), squares, numbers.ravel(), centres)


def num_bins_of(num_blocks: int) -> int:
    """A power of two, at least 2 sqrt(columns), which is more than the columns of a bin in one block."""
    return FEWEST_BINS << math.ceil(math.log2(num_blocks) / 2)


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
