"""Where batches come from: any array, in memory or mapped from disk, cut into batches of one shape.

This is the user's boundary: shapes, weights and finiteness are checked here, with one sentence each, so that
nothing has to be checked inside a compiled step. Next file to read: `fit.py`.
"""

from collections.abc import Iterator
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Num
from numpy.typing import ArrayLike

from jaxdpmm.families import Family
from jaxdpmm.model import Batch

BATCH_SIZE = 65_536  # points held on the device at a time when data are streamed
CACHED_BYTES = 2**31  # arrays up to this size go to the device once and stay


class DataSource(Protocol):
    """Data that can be swept again and again.

    Attributes:
        num_batches: batches a sweep.
        batch_size: points a batch, padding included.
        total_weight: sum of the sample weights, the number of points without any.
    """

    num_batches: int
    batch_size: int
    total_weight: float

    def sweep(self) -> Iterator[Batch]:
        """The batches of one sweep, slots 0 to num_batches - 1, the last marked as such."""
        ...


class ArraySource:
    """Points in one array: NumPy, a memory map or JAX.

    Small arrays are put on the device once; larger ones batch by batch, in every sweep, so that memory does not
    grow with N. The last batch is padded with points of weight zero.
    """

    def __init__(
        self,
        x: Num[ArrayLike, "N ..."],
        family: Family,
        sample_weight: ArrayLike | None = None,
        batch_size: int | None = None,
    ):
        self._x = check_points(x, family)
        num_points = self._x.shape[0]
        self._weight = check_weights(sample_weight, num_points, _float_type(self._x))
        nbytes = self._x.size * self._x.dtype.itemsize
        if batch_size is None:
            batch_size = num_points if nbytes <= CACHED_BYTES else BATCH_SIZE
        if batch_size < 1:
            raise ValueError(
                f"batch_size must be at least 1 point, got {batch_size}; leave it out for the default."
            )
        self.batch_size = min(batch_size, num_points)
        self.num_batches = -(-num_points // self.batch_size)
        self.total_weight = float(np.sum(self._weight, dtype=np.float64))
        self._cache: list[Batch] | None = None
        self._is_checked = False
        self._keep = nbytes <= CACHED_BYTES

    def sweep(self) -> Iterator[Batch]:
        """Batches in the order of the array.

        Raises:
            ValueError: a point is not finite; named is the first of them.
        """
        if self._cache is not None:
            yield from self._cache
            return
        batches = []
        for slot in range(self.num_batches):
            batch = self._batch(slot)
            if self._keep:
                batches.append(batch)
            yield batch
        self._is_checked = True
        self._cache = batches if self._keep else None

    def _batch(self, slot: int) -> Batch:
        start = slot * self.batch_size
        rows = slice(start, start + self.batch_size)
        x, weight = self._x[rows], self._weight[rows]
        if not self._is_checked:
            check_finite(x, start)
        padding = self.batch_size - x.shape[0]
        if padding:
            x = np.concatenate([x, np.broadcast_to(x[:1], (padding, *x.shape[1:]))])
            weight = np.pad(weight, (0, padding))
        return Batch(
            jnp.asarray(x),
            jnp.asarray(weight),
            jnp.asarray(slot, jnp.int32),
            jnp.asarray(slot == self.num_batches - 1),
            jnp.asarray(self.total_weight, weight.dtype),
        )


def check_points(x: ArrayLike, family: Family) -> np.ndarray | jax.Array:
    """The points as an array of the family's shape and of the precision in force.

    Raises:
        ValueError: wrong shape or no points, with what to do.
        TypeError: not numbers.
    """
    array = x if isinstance(x, (np.ndarray, jax.Array)) else np.asarray(x)
    if array.dtype.kind not in "fiub" and array.dtype != jnp.bfloat16:
        raise TypeError(
            f"x must be an array of numbers, got dtype {array.dtype}; convert it with np.asarray(x, float)."
        )
    shape = family.point_shape
    if array.ndim == 0 or (shape is not None and array.shape[1:] != shape):
        expected = "(N, ...)" if shape is None else f"({', '.join(('N', *map(str, shape)))})"
        hint = "add a leading axis for the points."
        if array.ndim == 2 and shape is not None and len(shape) == 1:
            hint = f"build the family with dim={array.shape[1]} or use features of that dimension."
        raise ValueError(
            f"x must have shape {expected} to match {family}, got {array.shape}; {hint}"
        )
    if array.shape[0] == 0:
        raise ValueError(
            f"x must hold at least one point, got shape {array.shape}; pass some data."
        )
    return array


def check_finite(x: np.ndarray | jax.Array, start: int = 0) -> None:
    """Nothing, or a sentence about the first point that is not finite.

    Args:
        x: points, (B, ...).
        start: number of the first of them, for the message.

    Raises:
        ValueError: nan or infinite values.
    """
    if x.dtype.kind in "iub":
        return
    finite = np.isfinite(np.asarray(x)).reshape(x.shape[0], -1).all(axis=1)
    if not finite.all():
        first = start + int(np.argmin(finite))
        raise ValueError(
            f"x must be finite, got nan or infinity in {int((~finite).sum())} of {len(finite)} points, "
            f"first in point {first}; remove or repair them."
        )


def check_weights(weight: ArrayLike | None, num_points: int, dtype: np.dtype) -> np.ndarray:
    """Sample weights, (N,), ones by default.

    Raises:
        ValueError: wrong shape, negative, not finite or all zero.
    """
    if weight is None:
        return np.ones(num_points, dtype)
    array = np.asarray(weight, dtype)
    if array.shape != (num_points,):
        raise ValueError(
            f"sample_weight must have shape ({num_points},), one a point, got {array.shape}; "
            "leave it out for weights of one."
        )
    if not np.isfinite(array).all() or (array < 0).any() or not (array > 0).any():
        raise ValueError(
            "sample_weight must be finite, not negative and not all zero, got "
            f"values from {array.min()} to {array.max()}; repair them."
        )
    return array


def _float_type(x: np.ndarray | jax.Array) -> np.dtype:
    """The type to compute in: that of floating data as JAX will hold them, else JAX's default."""
    wanted = x.dtype if x.dtype.kind == "f" else np.dtype(float)
    return np.dtype(jax.dtypes.canonicalize_dtype(wanted))
