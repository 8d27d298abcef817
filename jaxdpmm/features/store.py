"""Features on disk: written once by the extractor, read as one array larger than memory.

A store is a folder of safetensors shards and an `index.json`. Safetensors rather than zarr or array_record: features
are dense floating-point rows that hardly compress and are read in long runs, so that a raw row-major block is
both the smallest code and the fastest read; any framework opens it; and it is a dependency already. Reading maps
one shard at a time and lets go of it, so memory does not grow with the store. A process compares a shard with its
digest before it takes the first row from it.

A store is array-like (`shape`, `dtype`, rows by slice or by number): give it to `fit` and `initialize` as it is.
It knows of no model. Next file to read: `store_writer.py`; what becomes of the rows: `../inference/data/arrays.py`.
"""

import contextlib
import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from jaxdpmm.features.store_index import check_shards, count_points, read_index

TENSOR = "features"
PIECE_BYTES = (
    2**22
)  # read at once; small enough for the processor's cache, and ten times as fast as whole shards
_SAFETENSORS_TYPES = {"float32": "F32", "float16": "F16"}

_verified: set[tuple] = set()  # files that this process has compared with their digests


class FeatureStore:
    """A finished store, read like an array of shape (N, D).

    Attributes:
        shape: (N, D).
        dtype: as stored.
        settings: what its maker said of it.
    """

    def __init__(self, path: str | os.PathLike):
        """Read the index and look whether all shards are there.

        Raises:
            FileNotFoundError: there is no store, or a shard is missing.
            ValueError: it is not finished, cut short, damaged, or of another format.
        """
        self._open(Path(path), read_index(Path(path)))

    @classmethod
    def of_index(cls, path: Path, index: Mapping[str, Any]) -> "FeatureStore":
        """The store as an index tells it, whatever is added to it later; errors as of the constructor."""
        store = cls.__new__(cls)
        store._open(path, index)
        return store

    def _open(self, path: Path, index: Mapping[str, Any]) -> None:
        if not index["complete"] or not index["shards"]:
            raise ValueError(
                f"{path} must be a finished feature store, got one with {count_points(index)} points so far; go on "
                "writing it with FeatureWriter and close it."
            )
        check_shards(path, index)
        self.path = path
        self._shards = index["shards"]
        self.settings: Mapping[str, Any] = index["settings"]
        self.dtype = np.dtype(index["dtype"])
        self._first_rows = np.cumsum([0] + [shard["num_points"] for shard in self._shards])
        self._start, self._stop = 0, int(self._first_rows[-1])
        self._dim = index["dim"]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self._stop - self._start, self._dim

    @property
    def fingerprint(self) -> str:
        """A digest of settings, content and the part that this is."""
        parts = [self.settings, [s["sha256"] for s in self._shards], self._start, self._stop]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Rows by slice, number or array of numbers, as a new array in memory.

        Raises:
            IndexError: there is no such row.
            ValueError: a shard that they are in was altered; it is named.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._run(start, max(start, stop))
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        if rows.size and (rows.max() >= len(self) or rows.min() < -len(self)):
            raise IndexError(
                f"rows must lie below {len(self)}, got {rows.min()} to {rows.max()}; check them."
            )
        found = self._rows(np.atleast_1d(rows % max(len(self), 1)))
        return found if rows.ndim else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it in memory."""
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)

    def part(self, number: int, num_parts: int) -> "FeatureStore":
        """An equal share of the rows, in order: what one of several processes feeds.

        Args:
            number: 0 to num_parts - 1, for example `jax.process_index()`.
            num_parts: for example `jax.process_count()`.

        Raises:
            ValueError: there is no such part.
        """
        if not 0 <= number < num_parts:
            raise ValueError(
                f"number must be from 0 to num_parts - 1 = {num_parts - 1}, got {number}; count from 0."
            )
        share = copy.copy(self)
        cuts = self._start + np.arange(num_parts + 1) * len(self) // num_parts
        share._start, share._stop = int(cuts[number]), int(cuts[number + 1])
        return share

    def named_rows(self) -> Iterator[tuple[str, slice]]:
        """Name and rows of everything that was appended with a name, in order, of the whole store."""
        start = 0
        for shard in self._shards:
            for name, num_points in shard["names"]:
                yield name, slice(start, start + num_points)
                start += num_points

    def verify(self) -> None:
        """Read all shards again and compare them with their digests.

        Raises:
            ValueError: a shard was altered; it is named.
        """
        for shard in self._shards:
            with _tensor(self.path / shard["file"]) as features:
                self._check(features, shard)

    @contextlib.contextmanager
    def _shard(self, shard: Mapping[str, Any]) -> Iterator[Any]:
        """The rows of a shard, which is compared with its digest when this process opens it first."""
        path = self.path / shard["file"]
        with _tensor(path) as features:
            status = path.stat()
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            seen = (*identity, str(path), shard["sha256"])
            if seen not in _verified:
                self._check(features, shard)
                _verified.add(seen)
            yield features

    def _check(self, features: Any, shard: Mapping[str, Any]) -> None:
        path, wanted = self.path / shard["file"], [shard["num_points"], self._dim]
        if (features.get_shape(), features.get_dtype()) != (
            wanted,
            _SAFETENSORS_TYPES[self.dtype.name],
        ):
            raise ValueError(
                f"{path} must hold {self.dtype} of shape {wanted}, got {features.get_dtype()} of shape "
                f"{features.get_shape()}; restore it or extract the features again."
            )
        digest, finite = hashlib.sha256(), True
        for piece in self._pieces(0, shard["num_points"]):
            rows = features[piece]
            digest.update(np.ascontiguousarray(rows).data)
            finite = finite and bool(np.isfinite(rows).all())
        if digest.hexdigest() != shard["sha256"]:
            raise ValueError(
                f"{path} must be as it was written, got an altered file (its SHA-256 does not match); restore it or "
                f"remove {self.path} and extract the features again."
            )
        if not finite:
            raise ValueError(
                f"{path} must hold finite features, got nan or infinity; remove {self.path} and extract them again."
            )

    def _pieces(self, start: int, stop: int) -> Iterator[slice]:
        """Some rows, a few megabytes at a time."""
        step = max(1, PIECE_BYTES // (self._dim * self.dtype.itemsize))
        for begin in range(start, stop, step):
            yield slice(begin, min(begin + step, stop))

    def _run(self, start: int, stop: int) -> np.ndarray:
        """Neighbouring rows."""
        start, stop = start + self._start, stop + self._start
        result = np.empty((stop - start, self._dim), self.dtype)
        for number, shard in enumerate(self._shards):
            first = int(self._first_rows[number])
            low, high = max(start, first), min(stop, first + shard["num_points"])
            if low < high:
                with self._shard(shard) as features:
                    for piece in self._pieces(low, high):
                        result[piece.start - start : piece.stop - start] = features[
                            piece.start - first : piece.stop - first
                        ]
        return result

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows from anywhere, each shard opened once."""
        rows = rows + self._start
        result = np.empty((len(rows), self._dim), self.dtype)
        owners = np.searchsorted(self._first_rows, rows, side="right") - 1
        for number in np.unique(owners):
            with self._shard(self._shards[number]) as features:
                for place in np.flatnonzero(owners == number):
                    row = int(rows[place] - self._first_rows[number])
                    result[place] = features[row : row + 1][0]
        return result


def sha256_of(features: np.ndarray) -> str:
    """SHA-256 of the values."""
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()


@contextlib.contextmanager
def _tensor(path: Path) -> Iterator[Any]:
    """The one tensor of a shard, of which slices can be taken."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            features = file.get_slice(TENSOR)
            yield features
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} must be a shard of a feature store, got something else ({error}); restore it or extract the "
            "features again."
        ) from error
