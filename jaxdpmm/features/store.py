"""Features on disk: written once by the extractor, read as one array larger than memory.

A store is a folder of safetensors shards and an `index.json`. Safetensors rather than zarr or array_record: features
are dense floating-point rows that hardly compress and are read in long runs, so that a raw row-major block is
both the smallest code and the fastest read; any framework opens it; and it is a dependency already. Reading maps
one shard at a time and lets go of it, so memory does not grow with the store.

A store is array-like (`shape`, `dtype`, rows by slice or by number): give it to `fit` and `initialize` as it is.
It knows of no model. Next file to read: `store_writer.py`; what becomes of the rows: `../inference/data/arrays.py`.
"""

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

INDEX = "index.json"
FORMAT_VERSION = 1
TENSOR = "features"


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
            ValueError: it is not finished, cut short, or of another format.
        """
        self.path = Path(path)
        index = read_index(self.path)
        if not index["complete"]:
            raise ValueError(
                f"{path} must be a finished feature store, got one with {count_points(index)} points so far; go on "
                "writing it with FeatureWriter and close it."
            )
        self._shards = index["shards"]
        _check_shards(self.path, index)
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
        """Read all shards and compare them with their digests.

        Raises:
            ValueError: a shard was altered; it is named.
        """
        for shard in self._shards:
            with safetensors.safe_open(self.path / shard["file"], framework="numpy") as file:
                found = sha256_of(file.get_tensor(TENSOR))
            if found != shard["sha256"]:
                raise ValueError(
                    f"{self.path / shard['file']} must be as it was written, got an altered file (its SHA-256 does "
                    "not match); restore it or extract the features again."
                )

    def _run(self, start: int, stop: int) -> np.ndarray:
        """Neighbouring rows."""
        start, stop = start + self._start, stop + self._start
        result = np.empty((stop - start, self._dim), self.dtype)
        for number, shard in enumerate(self._shards):
            first = int(self._first_rows[number])
            low, high = max(start, first), min(stop, first + shard["num_points"])
            if low < high:
                with safetensors.safe_open(self.path / shard["file"], framework="numpy") as file:
                    rows = file.get_slice(TENSOR)[low - first : high - first]
                    result[low - start : high - start] = rows
        return result

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows from anywhere, each shard opened once."""
        rows = rows + self._start
        result = np.empty((len(rows), self._dim), self.dtype)
        owners = np.searchsorted(self._first_rows, rows, side="right") - 1
        for number in np.unique(owners):
            path = self.path / self._shards[number]["file"]
            with safetensors.safe_open(path, framework="numpy") as file:
                features = file.get_slice(TENSOR)
                for place in np.flatnonzero(owners == number):
                    row = int(rows[place] - self._first_rows[number])
                    result[place] = features[row : row + 1][0]
        return result


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a store, finished or not.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or of another format version.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"path must be a feature store, got {folder} without {INDEX}; write one with FeatureWriter."
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        version = index["format_version"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} must be the index of a feature store, got something else; restore it or extract again."
        ) from None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have format version {FORMAT_VERSION}, got {version}; read it with the version of "
            "jaxdpmm that wrote it, or extract again."
        )
    return index


def count_points(index: Mapping[str, Any]) -> int:
    """Points in the shards of an index."""
    return sum(shard["num_points"] for shard in index["shards"])


def sha256_of(features: np.ndarray) -> str:
    """SHA-256 of the values."""
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()


def _check_shards(folder: Path, index: Mapping[str, Any]) -> None:
    for shard in index["shards"]:
        path = folder / shard["file"]
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} must hold all shards of its index, got none of the name {shard['file']}; restore it or "
                "extract the features again."
            )
        nbytes = shard["num_points"] * index["dim"] * np.dtype(index["dtype"]).itemsize
        if path.stat().st_size < nbytes:
            raise ValueError(
                f"{path} must hold {shard['num_points']} points, got a file cut short ({path.stat().st_size} bytes); "
                "restore it or extract the features again."
            )
