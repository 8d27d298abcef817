"""From posterior to one number per point: what a scorer is, and how it runs in bounded memory.

A scorer is two pure functions: `prepare` factorises a posterior once, `score` maps prepared parameters and
points to anomaly scores, larger for less normal points. The mixture's scorers (`density.py`, `distance.py`) and
the memory bank (`../detection/banks/exact.py`) share this form, so everything after them treats all alike. JAX finds
compiled code by a function's identity, hence one scorer for equal mixtures (`lru_cache`).
Next file to read: `density.py`.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.programs import bounded, padded_size

TILE_SIZE = 4096  # points; with K = 500 components, 8 MB of float32 per tile
IN_FLIGHT = 2  # tiles that may be under way while the next one is sent


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
        tile_size: points per tile; memory grows with it, results do not depend on it.

    Raises:
        ValueError: `tile_size` is below 1.
    """
    params = jax.jit(scorer.prepare)(fitted)
    return np.asarray(in_tiles(jax.jit(scorer.score), params, x, tile_size))


def in_tiles(
    compiled: Callable[[Any, Any], Array],
    params: Any,
    x: Num[Array | np.ndarray, "N ..."],
    tile_size: int = TILE_SIZE,
) -> Any:
    """`compiled(params, tile)` over the points, joined: in NumPy for NumPy points, else on the device.

    It compiles for few sizes: all tiles of many points have `tile_size` rows, and fewer points than that are filled up
    to the next `programs.padded_size`, at most a quarter more. Filling changes results by rounding at most.

    Args:
        compiled: jitted function of parameters and points.
        params: passed through.
        x: points, (N, ...); NumPy arrays and memory maps are read a tile at a time, JAX arrays stay where they are
            and the result is not waited for.
        tile_size: points per tile.

    Raises:
        ValueError: `tile_size` is below 1.
    """
    check_at_least_one("tile_size", tile_size, "the default is 4096", wanted="at least 1 point")
    x = x if isinstance(x, np.ndarray | jax.Array) else np.asarray(x)
    if not len(x):
        return (jnp if isinstance(x, jax.Array) else np).zeros(0, np.float32)
    size = min(tile_size, padded_size(len(x)))
    if isinstance(x, jax.Array):
        return _on_device(compiled, params, x, size)
    return _from_host(compiled, params, x, size)


def _from_host(
    compiled: Callable[[Any, Any], Array], params: Any, x: np.ndarray, size: int
) -> np.ndarray:
    """Sends a tile while others are computed; fetches each when `IN_FLIGHT` more have been sent."""
    waiting: deque[Array] = deque()
    results = []
    for start in range(0, len(x), size):
        waiting.append(compiled(params, _filled(x[start : start + size], size, np)))
        if len(waiting) > IN_FLIGHT:
            results.append(np.asarray(waiting.popleft()))
    results += [np.asarray(one) for one in waiting]
    return np.concatenate(results)[: len(x)]


def _on_device(compiled: Callable[[Any, Array], Array], params: Any, x: Array, size: int) -> Array:
    """As `_from_host`, without a transfer; of the last tile, which begins early enough to be full, rows come twice."""
    if len(x) <= size:
        return _first(len(x), compiled(params, _tile(size, x, 0)))
    waiting: deque[Array] = deque()
    joined: Any = None
    for start in range(0, len(x), size):
        found = compiled(params, _tile(size, x, start))
        joined = _empty(len(x), found) if joined is None else joined
        joined = _put(joined, found, start)
        waiting.append(found)
        if len(waiting) > IN_FLIGHT:  # else the buffers of all tiles could be in memory
            jax.block_until_ready(waiting.popleft())
    return joined


def _filled(tile: Any, size: int, numpy: Any) -> Any:
    """A tile of `size` rows, filled up with its first one."""
    missing = size - len(tile)
    if not missing:
        return tile
    return numpy.concatenate([tile, numpy.broadcast_to(tile[:1], (missing, *tile.shape[1:]))])


def _rows_from(size: int, x: Array, start: Any) -> Array:
    """`size` rows from `start` on, or from as far back as they must begin to be so many."""
    if len(x) < size:
        return _filled(x, size, jnp)
    return jax.lax.dynamic_slice_in_dim(x, start, size)


def _first_rows(number: int, x: Array) -> Array:
    return x[:number]


def _zeros(number: int, like: Array) -> Array:
    return jnp.zeros((number, *like.shape[1:]), like.dtype)


def _with_rows(joined: Array, part: Array, start: Any) -> Array:
    """`part` written at `start`, or as far back as `_rows_from` began."""
    return jax.lax.dynamic_update_slice_in_dim(joined, part, start, 0)


_tile, _first, _empty = (bounded(one, 1) for one in (_rows_from, _first_rows, _zeros))
_put = bounded(_with_rows, donated=(0,))
