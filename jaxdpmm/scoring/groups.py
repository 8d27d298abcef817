"""Vectors dealt into groups of neighbours, of which a point visits the nearest: the root of K in place of K.

Of K vectors there are about sqrt(K) groups of sqrt(K) vectors, and a point that compares the centres of all groups and
the vectors of NUM_VISITED groups does either in a time that grows with sqrt(K). Groups are those of k-means, cut into
blocks of one size as pairs are in `../grouping.py`, so that shapes are static. The nearest vector of a point may lie
in none of the groups visited; `shortlist.shortlist_recall` measures how often.
Next file to read: `screen.py`, whose blocks they are.

References:
    Sivic and Zisserman (2003), Video Google: a text retrieval approach to object matching in videos (inverted files).
    Jegou, Douze and Schmid (2011), Product quantization for nearest neighbor search (visits to several of them).
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdpmm.distances import relative_squares, squared_norms
from jaxdpmm.grouping import group_by_component

LEAST_GROUPED = (
    16384  # vectors; fewer are looked at in less time than groups are chosen and pairs sorted
)
NUM_VISITED = (
    24  # groups of each point; with 16, twice as many points miss their nearest of 16,384 vectors
)
LARGEST = 1024  # vectors of a group
NUM_SWEEPS = 3  # of k-means
ROWS_AT_ONCE = 4096  # compared with all centres
FAR = 1e30  # squared distance of a vector or a group that is not there


class Blocks(NamedTuple):
    """M blocks of S vectors that are neighbours.

    Attributes:
        numbers: which vectors, (M, S); K where there is none.
        centres: the mean of each block; far away where it holds no vector.
    """

    numbers: Int[Array, "M S"]
    centres: Float[Array, "M A"]


def block_size(number: int) -> int:
    """S, the power of two nearest to the root of the number of vectors."""
    return min(LARGEST, 1 << round(math.log2(number) / 2))


def blocks_of(columns: Float[Array, "K A"], is_held: Bool[Array, " K"], size: int) -> Blocks:
    """Vectors in blocks of neighbours, at most 2 K / S + 2 blocks.

    Args:
        columns: coordinates of the vectors.
        is_held: False for vectors that shall be in no block.
        size: S, of a block.
    """
    number = len(columns)
    num_groups = -(-number // size)
    numbers = group_by_component(_labels(columns, is_held, num_groups), num_groups, size).pairs
    is_there = (numbers < number)[..., None]
    sums = jnp.sum(jnp.where(is_there, columns[numbers], 0), axis=1)
    counts = jnp.sum(is_there, axis=1).astype(columns.dtype)
    centres = jnp.where(counts > 0, sums / jnp.maximum(counts, 1), math.sqrt(FAR))
    return Blocks(numbers, centres)


def nearest_blocks(points: Float[Array, "N A"], centres: Float[Array, "M A"]) -> Int[Array, "N V"]:
    """Numbers of the blocks whose centres are nearest to each point, the nearest first; of all if there are fewer."""
    centres = centres.astype(jnp.float32)
    squares = relative_squares(points.astype(jnp.float32), centres, squared_norms(centres))
    return jax.lax.top_k(-squares, min(NUM_VISITED, len(centres)))[1]


def _labels(
    columns: Float[Array, "K A"], is_held: Bool[Array, " K"], num_groups: int
) -> Int[Array, " K"]:
    """The group of each vector by k-means, from vectors at equal distances in the order given.

    Vectors that are not held have the label `num_groups`.
    """
    first = jnp.argsort(~is_held)
    stride = jnp.maximum(jnp.sum(is_held) // num_groups, 1)
    centres = columns[first[jnp.arange(num_groups) * stride]]

    def labels_of(centres: Float[Array, "G A"]) -> Int[Array, " K"]:
        nearest = partial(_nearest, centres, squared_norms(centres))
        label = jax.lax.map(nearest, columns, batch_size=min(ROWS_AT_ONCE, len(columns)))
        return jnp.where(is_held, label, num_groups)

    def improve(_: Any, centres: Float[Array, "G A"]) -> Float[Array, "G A"]:
        label = labels_of(centres)
        counts = jnp.bincount(label, length=num_groups)[:, None].astype(columns.dtype)
        sums = jnp.zeros_like(centres).at[label].add(columns, mode="drop")
        return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centres)

    return labels_of(jax.lax.fori_loop(0, NUM_SWEEPS, improve, centres))


def _nearest(
    centres: Float[Array, "G A"], norms: Float[Array, " G"], column: Float[Array, " A"]
) -> Int[Array, ""]:
    return jnp.argmin(relative_squares(column[None], centres, norms)[0])
