"""The dense local step, and the tiles that every local step works in.

The N x K responsibilities exist for one tile of points only, and sums over tiles are compensated, so neither
memory nor float32 limits N. Next file to read: `../backends/cavi.py`; for K D^2 N too large, `sparse.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm import trees
from jaxdpmm.inference.base import LocalResult, LocalStep, Memory
from jaxdpmm.model import Batch, Mixture, Readout, Stats, log_joint, summarize

TILE_SIZE = 4096  # points; their K log densities stay within the processor's cache
LARGE_TILE_SIZE = 65_536  # points; not on CPUs, where starting one costs less; 256 MB at K = 1,000


@dataclass(frozen=True)
class Dense(LocalStep):
    """All K responsibilities of every point, r_nk = w_k p(x_n | k) / sum_j w_j p(x_n | j)."""

    def step(self, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        """Statistics under all responsibilities, one tile of points at a time."""

        def of_tile(x: Array, weight: Float[Array, " T"]) -> tuple[Stats, Array]:
            joint = log_joint(mixture, readout, x)
            evidence = jax.nn.logsumexp(joint, axis=1)
            responsibilities = jnp.exp(joint - evidence[:, None])
            stats = summarize(mixture, responsibilities, x, weight, readout.offset, readout.params)
            return stats, jnp.sum(weight * evidence)

        stats, log_evidence = sum_over_tiles(of_tile, batch.x, batch.weight)
        return LocalResult(stats, log_evidence, memory)


dense = Dense()
"""The `Dense` step, which has no options."""


def visit(
    local_step: LocalStep, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory
) -> LocalResult:
    """One batch through a local step; its part of the memory of all batches is replaced."""
    own = jax.tree.map(lambda leaf: leaf[batch.slot], memory)
    result = local_step.step(mixture, readout, batch, own)
    whole = jax.tree.map(lambda leaf, new: leaf.at[batch.slot].set(new), memory, result.memory)
    return result._replace(memory=whole)


def sum_over_tiles(
    of_tile: Callable, x: Array, weight: Float[Array, " B"], tile_size: int | None = None
) -> trees.Tree:
    """Compensated sum of `of_tile(x_tile, weight_tile)` over the points.

    Args:
        of_tile: function of some points and their weights to a tree; points of weight 0 must add nothing.
        x: points, (B, ...).
        weight: (B,).
        tile_size: points per tile; by default what suits the platform.

    Returns:
        The tree that `of_tile` returns, summed.
    """
    num_points, tile_size = x.shape[0], tile_size or _default_tile_size()
    if num_points <= tile_size:
        return of_tile(x, weight)
    zeros = trees.zeros_like(jax.eval_shape(of_tile, x[:tile_size], weight[:tile_size]))

    def add_tile(number: Any, carry: Any) -> Any:
        start, (rows, some) = _tile(number, num_points, tile_size, x, weight)
        is_new = start + jnp.arange(tile_size) >= number * tile_size
        total, error = carry
        return trees.add_compensated(total, error, of_tile(rows, jnp.where(is_new, some, 0)))

    num_tiles = -(-num_points // tile_size)
    return jax.lax.fori_loop(0, num_tiles, add_tile, (zeros, zeros))[0]


def over_tiles(of_tile: Callable, *arrays: Array, tile_size: int | None = None) -> trees.Tree:
    """`of_tile(*tiles)` over the points, its results joined along them.

    Args:
        of_tile: function of some rows of each array to a tree whose leaves lead with those rows.
        arrays: each (B, ...).
        tile_size: as in `sum_over_tiles`.
    """
    num_points, tile_size = arrays[0].shape[0], tile_size or _default_tile_size()
    if num_points <= tile_size:
        return of_tile(*arrays)
    num_tiles = -(-num_points // tile_size)
    results = jax.lax.map(
        lambda number: of_tile(*_tile(number, num_points, tile_size, *arrays)[1]),
        jnp.arange(num_tiles),
    )

    def join(leaf: Array) -> Array:
        whole = leaf[:-1].reshape(-1, *leaf.shape[2:])
        return jnp.concatenate([whole, leaf[-1, len(whole) - num_points :]])

    return jax.tree.map(join, results)


def _default_tile_size() -> int:
    # Results do not depend on it, so the platform of this process may decide where the program's is not known yet
    return TILE_SIZE if jax.default_backend() == "cpu" else LARGE_TILE_SIZE


def _tile(number: Any, num_points: int, tile_size: int, *arrays: Array) -> tuple[Any, list[Array]]:
    """First row and rows of a tile; the last begins early to be full. Slices, since a padded copy would double x."""
    start = jnp.minimum(number * tile_size, num_points - tile_size)
    return start, [jax.lax.dynamic_slice_in_dim(array, start, tile_size) for array in arrays]
