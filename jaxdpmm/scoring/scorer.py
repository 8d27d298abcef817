"""From posterior to one number a point: what a scorer is, and how it runs in bounded memory.

A scorer is two pure functions: `prepare` factorises a posterior once, `score` maps prepared parameters and
points to anomaly scores, larger for less normal points. The mixture's scorers (`density.py`, `distance.py`) and
the memory bank (`../detection/banks/exact.py`) share this form, so everything after them treats all alike. JAX finds
compiled code by a function's identity, hence one scorer for equal mixtures (`lru_cache`).
Next file to read: `density.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm.checks import check_at_least_one

TILE_SIZE = 4096  # points; with K = 500 components, 8 MB of float32 a tile


class Scorer(NamedTuple):
    """An anomaly score.

    Attributes:
        prepare: what was fitted -> params, a tree of arrays; done once.
        score: (params, x of shape (N, ...)) -> scores (N,), larger for less normal points. Pure, jittable.
    """

    prepare: Callable[[Any], Any]
    score: Callable[[Any, Num[Array, "N ..."]], Float[Array, " N"]]


def score(
    scorer: Scorer, fitted: Any, x: Num[Array | np.ndarray, "N ..."], tile_size: int = TILE_SIZE
) -> Float[np.ndarray, " N"]:
    """Scores of many points, compiled, a tile at a time.

    Args:
        scorer: which score.
        fitted: what `scorer.prepare` takes: a posterior, or the features of a memory bank.
        x: raw points, (N, ...).
        tile_size: points a tile; memory grows with it, results do not depend on it.

    Raises:
        ValueError: `tile_size` is below 1.
    """
    return in_tiles(jax.jit(scorer.score), jax.jit(scorer.prepare)(fitted), x, tile_size)


def in_tiles(
    compiled: Callable[[Any, Array], Array],
    params: Any,
    x: Num[Array | np.ndarray, "N ..."],
    tile_size: int = TILE_SIZE,
) -> np.ndarray:
    """`compiled(params, tile)` over the points, joined; every tile has one shape, so it compiles once.

    Args:
        compiled: jitted function of parameters and points.
        params: passed through.
        x: points, (N, ...); NumPy arrays and memory maps are read a tile at a time.
        tile_size: points a tile.

    Raises:
        ValueError: `tile_size` is below 1.
    """
    check_at_least_one("tile_size", tile_size, "the default is 4096", wanted="at least 1 point")
    x = x if isinstance(x, np.ndarray | jax.Array) else np.asarray(x)
    num_points = x.shape[0]
    tile_size = min(tile_size, max(num_points, 1))
    results = []
    for start in range(0, num_points, tile_size):
        tile = jnp.asarray(x[start : start + tile_size])
        padding = tile_size - tile.shape[0]
        if padding:
            tile = jnp.concatenate([tile, jnp.broadcast_to(tile[:1], (padding, *tile.shape[1:]))])
        results.append(np.asarray(compiled(params, tile))[: tile_size - padding])
    return np.concatenate(results) if results else np.zeros(0, np.float32)
