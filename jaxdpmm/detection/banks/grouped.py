"""The nearest of some rows that are grouped: of each point, among the rows of a few groups that are named.

Rows of one group lie side by side, on disk or in memory. The pairs of a point and a group are sorted by group and
dealt into blocks, as in `../../grouping.py`; here a group is cut into blocks as well, so that every product has one
size, SIDE pairs by DEPTH rows, and one compiled program multiplies block after block. It turns rows of 16 or 8 bits
into 32 in the processor's cache. A library of linear algebra, called for every group from Python, starts its threads
for each of hundreds of small products, which costs a hundred times what the products do.
Read `cascade.py` first.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.programs import bounded

SIDE, DEPTH = 8, 64  # pairs and rows of one product
LEAST_ROWS, LEAST_PAIRS, LEAST_BLOCKS = 2**13, 2**10, 2**12  # so that most images share a program
ROWS_AT_ONCE = 2**15  # read at a time, and at least one group; of 384 numbers of 16 bits, 25 MB


class Blocks(NamedTuple):
    """Products to be computed: block b is of the pairs from `pair[b]` and the rows from `row[b]` on.

    Attributes:
        pair: first pair, of those sorted by group.
        row: first row, of those read.
        last_pair: the pair after the last one of the group.
        last_row: the row after the last one of the group.
    """

    pair: Int[np.ndarray, " B"]
    row: Int[np.ndarray, " B"]
    last_pair: Int[np.ndarray, " B"]
    last_row: Int[np.ndarray, " B"]


def closest_of_groups(
    rows: np.ndarray,
    starts: Int[np.ndarray, " G"],
    x: Float[np.ndarray, "N D"],
    groups: Int[np.ndarray, "N C"],
    allowed: np.ndarray | None = None,
) -> Float[np.ndarray, " N"]:
    """The largest cosine of each unit vector with rows of its groups; -inf where these have none.

    Args:
        rows: of all groups, (M, D), unit vectors, or whole numbers in the direction of such.
        starts: first row of each group, and M.
        x: unit vectors.
        groups: of each point.
        allowed: which rows count, (M,); None for all.
    """
    group, order = np.sort(groups, axis=None), np.argsort(groups, axis=None, kind="stable")
    points = order // groups.shape[1]
    named, first, counts = np.unique(group, return_index=True, return_counts=True)
    best = np.full(len(x), -np.inf, np.float32)
    ends = np.cumsum(starts[named + 1] - starts[named])
    batches = np.unique(ends // ROWS_AT_ONCE, return_inverse=True)[1]
    for batch in range(batches[-1] + 1 if len(batches) else 0):
        part = batches == batch
        numbers, lengths = _row_numbers(starts, named[part], allowed)
        blocks = _blocks(first[part] - first[part][0], counts[part], lengths)
        pairs = points[first[part][0] : first[part][0] + counts[part].sum()]
        if len(blocks.pair):
            found = _products(_read(rows, numbers), x[pairs], blocks)
            member = blocks.pair[:, None] + np.arange(SIDE)
            is_own = member < blocks.last_pair[:, None]
            np.maximum.at(best, pairs[member[is_own]], found[is_own])
    return best


def _row_numbers(
    starts: np.ndarray, named: np.ndarray, allowed: np.ndarray | None
) -> tuple[Int[np.ndarray, " R"], Int[np.ndarray, " G"]]:
    """Rows of some groups, group after group, and how many each has."""
    parts = [np.arange(starts[k], starts[k + 1]) for k in named]
    if allowed is not None:
        parts = [part[allowed[part]] for part in parts]
    return np.concatenate(parts), np.asarray([len(part) for part in parts])


def _blocks(first: np.ndarray, counts: np.ndarray, lengths: np.ndarray) -> Blocks:
    """All products of groups with so many pairs and rows; `first` is the first pair of each."""
    deep = -(-lengths // DEPTH)
    number = -(-counts // SIDE) * deep
    group = np.repeat(np.arange(len(counts)), number)
    turn = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    row = np.cumsum(lengths) - lengths
    return Blocks(
        first[group] + turn // deep[group] * SIDE,
        row[group] + turn % deep[group] * DEPTH,
        (first + counts)[group],
        (row + lengths)[group],
    )


def _products(rows: np.ndarray, x: np.ndarray, blocks: Blocks) -> Float[np.ndarray, "B SIDE"]:
    """The largest cosine of each pair of each block."""
    number = len(blocks.pair)
    parts = (
        _filled(part, _size(number, LEAST_BLOCKS))
        for part in (blocks.pair, blocks.row, blocks.last_row)
    )
    found = _compiled(rows, _filled(x, _size(len(x) + SIDE, LEAST_PAIRS)), *parts, np.int32(number))
    return np.asarray(found)[:number]


def _read(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Some rows, and room behind them, so that a block may begin at every row; no product there counts."""
    number = len(numbers)
    read = np.empty((_size(number + DEPTH, LEAST_ROWS), rows.shape[1]), rows.dtype)
    np.take(rows, numbers, axis=0, out=read[:number], mode="clip")
    read[number : number + DEPTH] = 0
    return read


def _filled(part: np.ndarray, size: int) -> np.ndarray:
    """An array and zeros behind it, so many rows in all; whole numbers in 32 bits."""
    filled = np.zeros((size, *part.shape[1:]), np.int32 if part.ndim == 1 else part.dtype)
    filled[: len(part)] = part
    return filled


def _size(needed: int, least: int) -> int:
    """A power of two, so that few programs serve images that differ in three numbers."""
    return max(least, 1 << (needed - 1).bit_length())


def _largest_of_blocks(
    rows: Array,
    x: Float[Array, "P D"],
    pair: Int[Array, " B"],
    row: Int[Array, " B"],
    last_row: Int[Array, " B"],
    number: Int[Array, ""],
) -> Float[Array, "B SIDE"]:
    def fill(block: Any, found: Array) -> Array:
        own = jax.lax.dynamic_slice_in_dim(rows, row[block], DEPTH).astype(x.dtype)
        if jnp.issubdtype(rows.dtype, jnp.integer):
            own = own / jnp.maximum(jnp.linalg.norm(own, axis=1, keepdims=True), 1)
        cosines = jax.lax.dynamic_slice_in_dim(x, pair[block], SIDE) @ own.T
        is_own = jnp.arange(DEPTH, dtype=row.dtype) < last_row[block] - row[block]
        return found.at[block].set(jnp.max(jnp.where(is_own[None], cosines, -jnp.inf), axis=1))

    found = jnp.full((len(pair), SIDE), -jnp.inf, x.dtype)
    return jax.lax.fori_loop(0, number, fill, found)


_compiled = bounded(_largest_of_blocks)
