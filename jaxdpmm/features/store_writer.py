"""Writing a feature store: what is appended stays, whatever becomes of its writer.

Points go to a journal at once, and from there into a shard when there are enough of them; a shard is listed in the
index only when it is on the disk. So a run that was killed goes on after the last thing that it appended, and a full
disk costs nothing but time. Every change is made under the lock of the store and begins with a look at what others have
changed: any number of threads and processes may write one store. Next file to read: `store.py`, for its reader.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from jaxdpmm.features.journal import Journal
from jaxdpmm.features.store import TENSOR, FeatureStore, sha256_of
from jaxdpmm.features.store_index import (
    DTYPES,
    FORMAT_VERSION,
    INDEX,
    count_points,
    index_text,
    names_of,
    read_index,
)
from jaxdpmm.storage.files import remove_partial_files, replace_file
from jaxdpmm.storage.locks import locked

SHARD_BYTES = 2**27  # 128 MiB
LOCK = ".lock"


class FeatureWriter:
    """Writes a store; use it in a `with` statement, whose end finishes the store.

        with FeatureWriter("features", settings={"layer": 8}) as writer:
            for name, patches in ...:
                if name not in writer:
                    writer.append(patches, name)

    After a crash the same code goes on behind the last thing that was appended; a finished store can be added to in the
    same way. What has no name cannot be told from what is there, so going on needs names. Several writers of one store
    wait for each other at each call; of what several of them append under one name, the first is kept.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        dtype: str = "float32",
        settings: Mapping[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
    ):
        """Make the folder, or read what is there already.

        Args:
            path: folder of the store.
            dtype: "float32" or "float16"; computations are in float32 either way.
            settings: how the features were made, as JSON; another run must say the same to go on.
            shard_bytes: least size of a shard.

        Raises:
            ValueError: a bad `dtype`, or a store of another type or other settings, or a damaged one.
            OSError: the folder cannot be written.
        """
        if dtype not in DTYPES:
            raise ValueError(
                f"dtype must be one of {DTYPES}, got {dtype!r}; float16 halves the disk space."
            )
        self.path = Path(path)
        self._wanted = {"dtype": dtype, "settings": json.loads(json.dumps(dict(settings or {})))}
        self._shard_bytes = shard_bytes
        self._index: dict[str, Any] = {"format_version": FORMAT_VERSION, **self._wanted}
        self._index |= {"dim": None, "complete": False, "shards": []}
        self._signature: tuple | None = None  # of the index file that `_index` was read from
        self._journal: Journal | None = None  # there is one as soon as D is known
        self._names: set[str] = set()  # of all that is on the disk
        self._held: list[tuple[list[str], list[np.ndarray]]] = []  # what a full disk refused
        self._needs_names = False
        self.path.mkdir(parents=True, exist_ok=True)
        remove_partial_files(self.path)
        with self._alone():
            for stale in set(self.path.glob("journal-*")) - {self._journal and self._journal.path}:
                stale.unlink()

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None:
            self.close()

    def __contains__(self, name: str) -> bool:
        return name in self._names or any(name in names for names, _ in self._held)

    @property
    def num_points(self) -> int:
        """Points so far, those without a shard included."""
        waiting = sum(len(part) for _, parts in self._held for part in parts)
        return (
            count_points(self._index) + waiting + (self._journal.num_points if self._journal else 0)
        )

    def append(self, features: Any, name: str = "") -> None:
        """Add points.

        Args:
            features: (..., D), for example (h, w, D) of one image.
            name: what they belong to, to find them again and to know after a crash that they are there.

        Raises:
            ValueError: another D, no points, not finite in the store's type, or a name that is there already.
            OSError: the disk is full; nothing is lost, and the next `append`, `flush` or `close` tries again.
        """
        self.append_all([(name, features)])

    def append_all(self, pieces: Sequence[tuple[str, Any]]) -> None:
        """Add several pieces of which a crash leaves all or none.

        Args:
            pieces: name and features of each; see `append`, also for the errors.
        """
        if not pieces:
            return
        known = [name for name, _ in pieces if name and name in self]
        with self._alone():
            parts: list[np.ndarray] = []
            for name, features in pieces:
                parts.append(self._checked(np.asarray(features), name, parts))
            if known:
                raise ValueError(
                    f"name must be new, got {known[0]!r}, which is in {self.path}; skip what is in the writer already."
                )
            self._held.append(([name for name, _ in pieces], parts))
            self._write_held()
            if self._journal is not None and self._journal.num_bytes >= self._shard_bytes:
                self._write_shard()

    def flush(self) -> None:
        """Write what fills no shard as a shard of its own.

        Raises:
            OSError: the disk is full; nothing is lost.
        """
        with self._alone():
            self._write_held()
            self._write_shard()

    def close(self) -> FeatureStore:
        """Write the rest and finish the store.

        Returns:
            The store as it is now, whatever other writers add to it later.

        Raises:
            ValueError: there is not a single point.
            OSError: the disk is full; nothing is lost.
        """
        with self._alone():
            self._write_held()
            self._write_shard()
            if not self._index["shards"]:
                raise ValueError(
                    f"a feature store must hold at least one point, got none for {self.path}; append some."
                )
            if not self._index["complete"]:
                self._write_index({**self._index, "complete": True})
            return FeatureStore.of_index(self.path, self._index)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The store for ourselves, with all that others have done to it."""
        with locked(self.path / LOCK, f"writing the feature store {self.path}"):
            if (signature := _signature(self.path / INDEX)) != self._signature:
                self._index = read_index(self.path)
                _check_same(self.path, self._index, self._wanted)
                self._signature = signature
                self._names = names_of(self._index)
                self._needs_names = bool(self._index["shards"])
                dim = self._index["dim"]
                self._journal = None if dim is None else self._new_journal(dim)
            if self._journal is not None and (found := self._journal.read()):
                self._names |= {name for record in found for name, _ in record.names if name}
                self._needs_names = True
            yield

    def _new_journal(self, dim: int) -> Journal:
        """The journal of what comes after the shards of the index."""
        path = self.path / f"journal-{len(self._index['shards']):05d}"
        return Journal(path, self._index["dtype"], dim)

    def _write_held(self) -> None:
        while self._held:
            names, parts = self._held[0]
            new = [place for place, name in enumerate(names) if not (name and name in self._names)]
            if new:
                self._add_record([names[place] for place in new], [parts[place] for place in new])
            self._names |= {name for name in names if name}
            del self._held[0]

    def _add_record(self, names: list[str], parts: list[np.ndarray]) -> None:
        if (journal := self._journal) is None:
            self._write_index({**self._index, "dim": parts[0].shape[1]})
            journal = self._journal = self._new_journal(parts[0].shape[1])
        _check_shape(
            parts[0], self._index["dim"]
        )  # another writer may have begun the store meanwhile
        try:
            journal.append(names, parts)
        except OSError as error:
            raise OSError(
                error.errno or 0,
                f"{journal.path} must be writable, got an error ({error}); what was there is untouched: free some "
                "space and go on.",
            ) from error

    def _write_shard(self) -> None:
        if self._journal is None or not self._journal.records:
            return
        features = self._journal.rows()
        shard = {
            "file": f"features-{len(self._index['shards']):05d}.safetensors",
            "num_points": len(features),
            "sha256": sha256_of(features),
            "names": [run for record in self._journal.records for run in record.names],
        }
        replace_file(
            self.path / str(shard["file"]),
            lambda path: safetensors.numpy.save_file({TENSOR: features}, path),
        )
        done = self._journal.path
        shards = [*self._index["shards"], shard]
        self._write_index({**self._index, "shards": shards, "complete": False})
        self._journal = self._new_journal(features.shape[1])
        done.unlink(missing_ok=True)

    def _checked(
        self, features: np.ndarray, name: str, before: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        """Points as rows of the store's type; `before` are those that come with them, of the same D."""
        earlier = [*before, *(part for _, parts in self._held for part in parts)]
        _check_shape(features, self._index["dim"] or (earlier[0].shape[1] if earlier else None))
        if not name and self._needs_names:
            raise ValueError(
                f"name must be given to go on with a store, got none for {self.path}, which holds "
                f"{self.num_points} points; remove the folder to begin anew."
            )
        with np.errstate(over="ignore"):
            rows = features.reshape(-1, features.shape[-1]).astype(self._index["dtype"])
        if not np.isfinite(rows).all():
            raise ValueError(
                f"features must be finite as {rows.dtype}, got nan, infinity or too large values in {name!r}; repair "
                "them or store float32."
            )
        return rows

    def _write_index(self, index: dict[str, Any]) -> None:
        path = self.path / INDEX
        replace_file(path, lambda aside: aside.write_text(index_text(index), encoding="utf-8"))
        self._index, self._signature = index, _signature(path)


def _signature(path: Path) -> tuple | None:
    """What tells a file from another of its name, or that there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check_shape(features: np.ndarray, dim: int | None) -> None:
    if features.ndim < 2 or not features.size or features.shape[-1] != (dim or features.shape[-1]):
        raise ValueError(
            f"features must have shape (..., {dim or 'D'}) with at least one point, got {features.shape}; store other "
            "features in another folder."
        )


def _check_same(folder: Path, index: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in wanted:
        if index[name] != wanted[name]:
            raise ValueError(
                f"{name} must be what {folder} was begun with, {index[name]!r}, got {wanted[name]!r}; give another "
                "folder."
            )
