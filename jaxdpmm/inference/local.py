"""The dense local step, and the tiles that every local step works in.

The N x K responsibilities exist for one tile of points only, and sums over tiles are compensated, so neither
memory nor float32 limits N. Next file to read: `cavi.py`; for K D^2 N too large, `candidates.py`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm import trees
from jaxdpmm.inference.base import Layout, LocalStep, Memory
from jaxdpmm.model import Batch, Mixture, Readout, Stats, log_joint, summarize

TILE_SIZE = 4096  # points; their K log densities stay within the processor's cache


def _no_memory(mixture: Mixture, layout: Layout) -> Memory:
    del mixture, layout
    return ()


def _dense_step(
    mixture: Mixture, readout: Readout, batch: Batch, memory: Memory
) -> tuple[Stats, Memory]:
    def of_tile(x: Array, weight: Float[Array, " T"]) -> Stats:
        responsibilities = jax.nn.softmax(log_joint(mixture, readout, x), axis=1)
        return summarize(mixture, responsibilities, x, weight, readout.offset)

    return sum_over_tiles(of_tile, batch.x, batch.weight), memory


dense = LocalStep(_no_memory, _dense_step)
"""All K responsibilities of every point, r_nk = w_k p(x_n | k) / sum_j w_j p(x_n | j)."""


def visit(
    local_step: LocalStep, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory
) -> tuple[Stats, Memory]:
    """One batch through a local step, its part of the memory replaced.

    Returns:
        The batch's statistics and the memory of all batches.
    """
    own = jax.tree.map(lambda leaf: leaf[batch.slot], memory)
    stats, own = local_step.step(mixture, readout, batch, own)
    return stats, jax.tree.map(lambda leaf, new: leaf.at[batch.slot].set(new), memory, own)


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
    num_points = x.shape[0]
    if num_points <= tile_size:
        return of_tile(x, weight)
    num_tiles = -(-num_points // tile_size)
    padding = num_tiles * tile_size - num_points
    if padding:
        x = jnp.concatenate([x, jnp.broadcast_to(x[:1], (padding, *x.shape[1:]))])
        weight = jnp.pad(weight, (0, padding))
    tiles = jax.tree.map(lambda a: a.reshape(num_tiles, tile_size, *a.shape[1:]), (x, weight))
    shape = jax.eval_shape(of_tile, *jax.tree.map(lambda a: a[0], tiles))
    zeros = trees.zeros_like(shape)

    def add_tile(carry, tile):
        total, error = carry
        return trees.add_compensated(total, error, of_tile(*tile)), None

    (total, _), _ = jax.lax.scan(add_tile, (zeros, zeros), tiles)
    return total
