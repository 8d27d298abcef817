"""Where batches come from: any array, in memory or on disk, cut into batches of one shape.

An array is whatever has a NumPy `dtype`, a `shape` and slices: NumPy,
JAX, a memory map, a `FeatureStore`, HDF5, zarr. Next file to read: `pieces.py`, for data that come in pieces.
"""

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.families import Likelihood
from jaxdpmm.model import Batch
from jaxdpmm.points import check_finite, check_points, compute_type, in_compute_type

BATCH_SIZE = 65_536  # points held on the device at a time when data are streamed
CACHED_BYTES = 2**31  # arrays in memory up to this size go to the device once and stay
FINGERPRINT_ROWS = 16

T = TypeVar("T")


@runtime_checkable
class DataSource(Protocol):
    """Data that can be swept again and again.

    Attributes:
        num_batches: batches per sweep.
        batch_size: points per batch, padding included.
        total_weight: sum of the sample weights, the number of points without any.
    """

    num_batches: int
    batch_size: int
    total_weight: float

    def sweep(self, key: PRNGKeyArray | None = None) -> Iterator[Batch]:
        """The batches of one sweep, each slot from 0 to num_batches - 1 once, the last to come marked as such.

        Args:
            key: visit them in an order drawn from it, where the source can; None for their own order.
        """
        ...


class ArraySource:
    """Points in one array.

    Arrays in memory of up to 2 GiB are put on the device once. Larger ones, and all that lie on disk, go there
    batch by batch in every sweep, the next one read by a thread while the device computes, so that memory does
    not grow with N. Batches are of one size, the last is padded with points of weight zero.

    Attributes:
        is_kept: whether the data stay on the device.
    """

    def __init__(
        self,
        x: Any,
        family: Likelihood,
        sample_weight: ArrayLike | None = None,
        batch_size: int | None = None,
    ):
        """Check all that can be checked without reading the points.

        Args:
            x: points, (N, ...).
            family: whose points these are.
            sample_weight: (N,), ones by default.
            batch_size: most points per batch; by default all of data that stay on the device, else 65,536.

        Raises:
            ValueError: wrong shape, no points, bad weights, or a `batch_size` below 1.
            TypeError: not numbers.
        """
        self._x = check_points(x, family)
        # Found now, since threads that read do not see JAX's settings
        self._dtype = compute_type(self._x.dtype)
        num_points = self._x.shape[0]
        self._weight = check_weights(sample_weight, num_points, self._dtype)
        nbytes = math.prod(self._x.shape) * self._x.dtype.itemsize
        self.is_kept = nbytes <= CACHED_BYTES and not _is_on_disk(self._x)
        batch_size = check_batch_size(batch_size, num_points if self.is_kept else BATCH_SIZE)
        self.batch_size, self.num_batches = even_batches(num_points, batch_size)
        self.total_weight = float(np.sum(self._weight, dtype=np.float64))
        self._cache: dict[int, Batch] = {}
        self._checked: set[int] = set()

    @property
    def fingerprint(self) -> str:
        """A digest of shape, type, weight and the first and last points, to tell data sets apart."""
        if hasattr(self._x, "fingerprint"):
            return digest(self._x.fingerprint, self.total_weight)
        ends = [np.asarray(self._x[:FINGERPRINT_ROWS]), np.asarray(self._x[-FINGERPRINT_ROWS:])]
        return digest(self._x.shape, self._x.dtype, self.total_weight, *ends)

    def sweep(self, key: PRNGKeyArray | None = None) -> Iterator[Batch]:
        """Batches in the order of the array, or in one drawn from `key`.

        Raises:
            ValueError: a point is not finite; named is the first of them.
        """
        if not self.is_kept:
            yield from map(on_device, self.host_sweep(key))
            return
        for position, slot in enumerate(sweep_order(self.num_batches, key), start=1):
            if slot not in self._cache:
                self._cache[slot] = on_device(self._read(slot))
            yield self._cache[slot]._replace(is_last=jnp.asarray(position == self.num_batches))

    def host_sweep(self, key: PRNGKeyArray | None = None) -> Iterator[Batch]:
        """The same batches where the data are, for whoever places them elsewhere than on the default device."""
        batches = prefetched(map(self._read, sweep_order(self.num_batches, key)))
        for position, batch in enumerate(batches, start=1):
            yield batch._replace(is_last=np.asarray(position == self.num_batches))

    def _read(self, slot: int) -> Batch:
        start = slot * self.batch_size
        rows = slice(start, start + self.batch_size)
        x = in_compute_type(self._x[rows], self._dtype)
        if _is_on_disk(self._x):
            x = np.array(x)  # of a memory map, the reading itself
        if slot not in self._checked:
            check_finite(x, start)
            self._checked.add(slot)
        x, weight = padded(x, self._weight[rows], self.batch_size)
        return host_batch(x, weight, slot, self.total_weight)


def host_batch(x: Any, weight: np.ndarray, slot: int, total_weight: float) -> Batch:
    """A batch of NumPy arrays, not the last of its sweep: threads must not see JAX's settings."""
    scalars = np.asarray(slot, np.int32), np.asarray(False), np.asarray(total_weight, weight.dtype)
    return Batch(x, weight, *scalars)  # type: ignore[arg-type]


def on_device(batch: Batch) -> Batch:
    """The same batch as JAX arrays."""
    return jax.tree.map(jnp.asarray, batch)


def padded(x: Any, weight: np.ndarray, size: int) -> tuple[Any, np.ndarray]:
    """Points and weights filled up to `size` with copies of the first point, which weigh nothing."""
    padding = size - x.shape[0]
    if not padding:
        return x, weight
    library: Any = jnp if isinstance(x, jax.Array) else np
    copies = library.broadcast_to(x[:1], (padding, *x.shape[1:]))
    return library.concatenate([x, copies]), np.pad(weight, (0, padding))


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one always made by a thread while the caller uses the last."""
    end: Any = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item


def even_batches(num_points: int, most: int) -> tuple[int, int]:
    """Size and number of the fewest batches of at most `most` points: as even as can be, so that little is padding."""
    num_batches = -(-num_points // most)
    return -(-num_points // num_batches), num_batches


def sweep_order(num_batches: int, key: PRNGKeyArray | None) -> list[int]:
    """Slots in the order of a sweep: as they are, or as drawn from a key."""
    if key is None:
        return list(range(num_batches))
    seed = np.asarray(jax.random.key_data(key)).tolist()
    return np.random.default_rng(seed).permutation(num_batches).tolist()


def digest(*parts: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of arrays and of whatever has a `repr`."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return sha.hexdigest()[:12]


def check_weights(weight: ArrayLike | None, num_points: int, dtype: np.dtype) -> np.ndarray:
    """Sample weights, (N,), ones by default.

    Raises:
        ValueError: wrong shape, negative, not finite or all zero.
    """
    if weight is None:
        return np.broadcast_to(np.ones((), dtype), (num_points,))
    array = np.asarray(weight, dtype)
    if array.shape != (num_points,):
        raise ValueError(
            f"sample_weight must have shape ({num_points},), one per point, got {array.shape}; "
            "leave it out for weights of one."
        )
    if not np.isfinite(array).all() or (array < 0).any() or not (array > 0).any():
        raise ValueError(
            "sample_weight must be finite, not negative and not all zero, got "
            f"values from {array.min()} to {array.max()}; repair them."
        )
    return array


def check_batch_size(batch_size: int | None, default: int) -> int:
    """The number of points per batch.

    Raises:
        ValueError: below 1.
    """
    if batch_size is None:
        return default
    check_at_least_one(
        "batch_size", batch_size, "leave it out for the default", wanted="at least 1 point"
    )
    return batch_size


def _is_on_disk(x: Any) -> bool:
    return isinstance(x, np.memmap) or not isinstance(x, np.ndarray | jax.Array)
