"""Points of a feature store that fill no shard yet, in a file that only grows.

A record is a line of JSON, `{"names": [[name, number of points], ...], "sha256": ...}`, and the values of its points
behind it. It is there or not: a record that a killed writer left half written does not match its digest, and the next
one is written over it. What is in the file survives its writer; what is flushed to the disk survives a power cut too,
which is done every few seconds. Only who holds the store's lock may write. Next file to read: `store_writer.py`.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxdpmm.features.store_index import is_named_run

FLUSH_SECONDS = 5.0
_MAX_LINE = 2**24  # bytes; names of a hundred thousand images fit


class Record(NamedTuple):
    """Where some points are in a journal.

    Attributes:
        names: [name, number of points] of each piece, in order.
        start: byte at which their values begin.
    """

    names: list[list]
    start: int

    @property
    def num_points(self) -> int:
        """Points of all pieces."""
        return sum(number for _, number in self.names)


class Journal:
    """The journal of a store between two shards.

    Attributes:
        path: the file; there is none before the first record.
        records: those that are known to be whole.
    """

    def __init__(self, path: Path, dtype: str, dim: int):
        """Name the file; `read` says what is in it."""
        self.path = path
        self.records: list[Record] = []
        self._dtype, self._dim = np.dtype(dtype), dim
        self._row_bytes = dim * self._dtype.itemsize
        self._end = 0
        self._flushed = time.monotonic()

    @property
    def num_points(self) -> int:
        """Points of all records."""
        return sum(record.num_points for record in self.records)

    @property
    def num_bytes(self) -> int:
        """Size of their values."""
        return self.num_points * self._row_bytes

    def read(self) -> list[Record]:
        """The records that others have added since the last look; damaged ones and all behind them count as absent."""
        found: list[Record] = []
        if self.path.exists() and self.path.stat().st_size > self._end:
            with self.path.open("rb") as file:
                file.seek(self._end)
                size = os.fstat(file.fileno()).st_size
                while (record := self._next(file, size)) is not None:
                    found.append(record)
                    self._end = record.start + record.num_points * self._row_bytes
        self.records += found
        return found

    def append(self, names: Sequence[str], parts: Sequence[np.ndarray]) -> None:
        """Add a record, whole or not at all.

        Args:
            names: of the pieces.
            parts: their points, each (number, D) of the store's type.

        Raises:
            OSError: the disk is full; the file is as it was.
        """
        runs = [[name, len(part)] for name, part in zip(names, parts, strict=True)]
        values = [np.ascontiguousarray(part).data.cast("B") for part in parts]
        line = json.dumps({"names": runs, "sha256": _digest(runs, values)}).encode() + b"\n"
        with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
            file.truncate(self._end)  # what a killed writer has left half written
            file.seek(self._end)
            try:
                for piece in (line, *values):
                    _write_all(file, piece)
                self._flush(file)
            except OSError:
                file.truncate(self._end)
                raise
        start = self._end + len(line)
        self.records.append(Record(runs, start))
        self._end = start + sum(piece.nbytes for piece in values)

    def rows(self) -> np.ndarray:
        """The values of all records, (N, D)."""
        rows = np.empty((self.num_points, self._dim), self._dtype)
        filled = 0
        with self.path.open("rb") as file:
            for record in self.records:
                file.seek(record.start)
                part = rows[filled : filled + record.num_points]
                if file.readinto(part.data.cast("B")) != part.nbytes:
                    raise OSError(
                        f"{self.path} must stay as it was, got a file cut short; begin the store anew."
                    )
                filled += record.num_points
        return rows

    def _next(self, file: BinaryIO, size: int) -> Record | None:
        """The record at the place where a file stands, if it is whole."""
        line = file.readline(_MAX_LINE)
        try:
            header = json.loads(line)
            record = Record(header["names"], file.tell())
            whole = (
                line.endswith(b"\n") and bool(record.names) and all(map(is_named_run, record.names))
            )
            nbytes = record.num_points * self._row_bytes if whole else size
            if record.start + nbytes > size:
                return None
            return (
                record if _digest(record.names, [file.read(nbytes)]) == header["sha256"] else None
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def _flush(self, file: BinaryIO) -> None:
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            os.fsync(file.fileno())
            self._flushed = time.monotonic()


def _digest(names: list, values: Sequence[Any]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for piece in values:
        digest.update(piece)
    return digest.hexdigest()


def _write_all(file: BinaryIO, content: Any) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
