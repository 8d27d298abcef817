"""The dense local step, and the tiles that every local step works in.

The N x K responsibilities exist for one tile of points only, and sums over tiles are compensated, so neither
memory nor float32 limits N. Next file to read: `cavi.py`; for K D^2 N too large, `candidates.py`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm import trees
from jaxdpmm.inference.base import Layout, LocalResult, LocalStep, Memory
from jaxdpmm.model import Batch, Mixture, Readout, Stats, log_joint, summarize

TILE_SIZE = 4096  # points; their K log densities stay within the processor's cache


def _no_memory(mixture: Mixture, layout: Layout) -> Memory:
    del mixture, layout
    return ()


def _dense_step(mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
    def of_tile(x: Array, weight: Float[Array, " T"]) -> tuple[Stats, Array]:
        joint = log_joint(mixture, readout, x)
        evidence = jax.nn.logsumexp(joint, axis=1)
        responsibilities = jnp.exp(joint - evidence[:, None])
        stats = summarize(mixture, responsibilities, x, weight, readout.offset, readout.params)
        return stats, jnp.sum(weight * evidence)

    stats, log_evidence = sum_over_tiles(of_tile, batch.x, batch.weight)
    return LocalResult(stats, log_evidence, memory)


dense = LocalStep(_no_memory, _dense_step)
"""All K responsibilities of every point, r_nk = w_k p(x_n | k) / sum_j w_j p(x_n | j)."""


def visit(
    local_step: LocalStep, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory
) -> LocalResult:
    """One batch through a local step; its part of the memory of all batches is replaced."""
    own = jax.tree.map(lambda leaf: leaf[batch.slot], memory)
    result = local_step.step(mixture, readout, batch, own)
    whole = jax.tree.map(lambda leaf, new: leaf.at[batch.slot].set(new), memory, result.memory)
    return result._replace(memory=whole)


def sum_over_tiles(
    of_tile: Callable, x: Array, weight: Float[Array, " B"], tile_size: int = TILE_SIZE
) -> trees.Tree:
    """Compensated sum of `of_tile(x_tile, weight_tile)` over the points, the last tile padded.

    Args:
        of_tile: function of some points and their weights to a tree; points of weight 0 must add nothing.
        x: points, (B, ...).
        weight: (B,).
        tile_size: points a tile.

    Returns:
        The tree that `of_tile` returns, summed.
    """
    if x.shape[0] <= tile_size:
        return of_tile(x, weight)
    tiles = _cut(x, tile_size), _cut(weight, tile_size, fill=0)
    shape = jax.eval_shape(of_tile, *jax.tree.map(lambda a: a[0], tiles))
    zeros = trees.zeros_like(shape)

    def add_tile(carry, tile):
        total, error = carry
        return trees.add_compensated(total, error, of_tile(*tile)), None

    (total, _), _ = jax.lax.scan(add_tile, (zeros, zeros), tiles)
    return total


def over_tiles(of_tile: Callable, *arrays: Array, tile_size: int = TILE_SIZE) -> trees.Tree:
    """`of_tile(*tiles)` over the points, its results joined along them.

    Args:
        of_tile: function of some rows of each array to a tree whose leaves lead with those rows.
        arrays: each (B, ...).
        tile_size: points a tile.
    """
    num_points = arrays[0].shape[0]
    if num_points <= tile_size:
        return of_tile(*arrays)
    tiles = tuple(_cut(a, tile_size) for a in arrays)
    results = jax.lax.map(lambda rows: of_tile(*rows), tiles)
    return jax.tree.map(lambda r: r.reshape(-1, *r.shape[2:])[:num_points], results)


def _cut(array: Array, tile_size: int, fill: float | None = None) -> Array:
    """Rows in tiles, (num_tiles, tile_size, ...); the last is filled up, by default with the first row."""
    padding = -array.shape[0] % tile_size
    if padding:
        row = array[:1] if fill is None else jnp.full_like(array[:1], fill)
        array = jnp.concatenate([array, jnp.broadcast_to(row, (padding, *array.shape[1:]))])
    return array.reshape(-1, tile_size, *array.shape[1:])
