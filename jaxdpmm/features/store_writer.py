"""From the extractor to a feature store: shards that are whole or not there, and going on after a crash.

A shard is listed in the index only when it is on the disk, so that a run that was killed goes on after its last
shard, and a full disk costs nothing but time. Next file to read: `store.py`, for the format and its reader.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from jaxdpmm.features.extractor import PatchExtractor
from jaxdpmm.features.store import (
    FORMAT_VERSION,
    INDEX,
    TENSOR,
    FeatureStore,
    count_points,
    read_index,
    sha256_of,
)
from jaxdpmm.features.weights import Backbone
from jaxdpmm.files import remove_partial_files, replace_file

SHARD_BYTES = 2**27  # 128 MiB
DTYPES = ("float32", "float16")


class FeatureWriter:
    """Writes a store shard by shard; use it in a `with` statement, whose end finishes the store.

        with FeatureWriter("features", settings={"layer": 8}) as writer:
            for name, patches in ...:
                if name not in writer:
                    writer.append(patches, name)

    Memory holds one shard. After a crash the same code goes on behind the last shard that was written; a finished
    store can be added to in the same way. What has no name cannot be told from what is there, so going on needs names.
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
            ValueError: a bad `dtype`, or a store of another type or other settings.
        """
        if dtype not in DTYPES:
            raise ValueError(
                f"dtype must be one of {DTYPES}, got {dtype!r}; float16 halves the disk space."
            )
        self.path = Path(path)
        wanted = {"dtype": dtype, "settings": json.loads(json.dumps(dict(settings or {})))}
        self._index: dict[str, Any] = {"format_version": FORMAT_VERSION, **wanted}
        self._index |= {"dim": None, "complete": False, "shards": []}
        if (self.path / INDEX).exists():
            self._index = read_index(self.path)
            _check_same(self.path, self._index, wanted)
        self.path.mkdir(parents=True, exist_ok=True)
        remove_partial_files(self.path)
        self._shard_bytes = shard_bytes
        self._names = {name for shard in self._index["shards"] for name, _ in shard["names"]}
        self._held: list[tuple[str, np.ndarray]] = []
        self._needs_names = bool(self._index["shards"])

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None:
            self.close()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def num_points(self) -> int:
        """Points so far, those of the shard in memory included."""
        return count_points(self._index) + sum(len(features) for _, features in self._held)

    def append(self, features: Any, name: str = "") -> None:
        """Add points; a shard is written when enough are there.

        Args:
            features: (..., D), for example (B, h, w, D) of the extractor.
            name: what they belong to, to find them again and to know after a crash that they are there.

        Raises:
            ValueError: another D, no points, not finite in the store's type, or a name that is there already.
            OSError: the disk is full; nothing is lost, and `flush` or `close` tries again.
        """
        rows = self._checked(np.asarray(features), name)
        self._index["dim"] = rows.shape[1]
        self._names |= {name} if name else set()
        self._held.append((name, rows))
        if sum(held.nbytes for _, held in self._held) >= self._shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory as a shard of its own.

        Raises:
            OSError: the disk is full; nothing is lost.
        """
        if not self._held:
            return
        names, parts = zip(*self._held, strict=True)
        features = np.concatenate(parts)
        shard = {
            "file": f"features-{len(self._index['shards']):05d}.safetensors",
            "num_points": len(features),
            "sha256": sha256_of(features),
            "names": [[name, len(part)] for name, part in zip(names, parts, strict=True)],
        }
        replace_file(
            self.path / str(shard["file"]),
            lambda path: safetensors.numpy.save_file({TENSOR: features}, path),
        )
        shards = [*self._index["shards"], shard]
        self._write_index({**self._index, "shards": shards, "complete": False})
        self._held = []

    def close(self) -> None:
        """Write the rest and finish the store.

        Raises:
            ValueError: there is not a single point.
            OSError: the disk is full; nothing is lost.
        """
        self.flush()
        if not self._index["shards"]:
            raise ValueError(
                f"a feature store must hold at least one point, got none for {self.path}; append some."
            )
        self._write_index({**self._index, "complete": True})

    def _checked(self, features: np.ndarray, name: str) -> np.ndarray:
        dim = self._index["dim"] or "D"
        if (
            features.ndim < 2
            or not features.size
            or features.shape[-1] != (self._index["dim"] or features.shape[-1])
        ):
            raise ValueError(
                f"features must have shape (..., {dim}) with at least one point, got {features.shape}; store other "
                "features in another folder."
            )
        if not name and self._needs_names:
            raise ValueError(
                f"name must be given to go on with a store, got none for {self.path}, which holds "
                f"{self.num_points} points; remove the folder to begin anew."
            )
        if name and name in self:
            raise ValueError(
                f"name must be new, got {name!r}, which is in {self.path}; skip what is in the writer already."
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
        content = json.dumps(index, indent=1)
        replace_file(self.path / INDEX, lambda path: path.write_text(content, encoding="utf-8"))
        self._index = index


def extract_to_store(
    path: str | os.PathLike,
    extractor: PatchExtractor,
    backbone: Backbone,
    images: Iterable[tuple[Sequence[str], Any]],
    *,
    dtype: str = "float32",
    settings: Mapping[str, Any] | None = None,
) -> FeatureStore:
    """Extract the patch features of many images to disk, or only those that a killed run has not.

    Args:
        path: folder of the store.
        extractor: which features.
        backbone: from `load_backbone`.
        images: batches of images of one size, each the images' names and their pixels (B, H, W, 3).
        dtype: "float32" or "float16".
        settings: what else matters, such as the preprocessing; backbone and extractor are added.

    Returns:
        The finished store; `named_rows` tells which rows are whose.

    Raises:
        ValueError: images that the extractor refuses, or a store of other settings.
    """
    own = {
        "backbone": backbone.name,
        "layers": extractor.layers,
        "normalize": extractor.normalize,
    }
    with FeatureWriter(path, dtype=dtype, settings={**own, **(settings or {})}) as writer:
        for names, pixels in images:
            missing = [place for place, name in enumerate(names) if name not in writer]
            if missing:
                patches = np.asarray(extractor.extract(backbone, pixels[np.asarray(missing)]))
                for place, features in zip(missing, patches, strict=True):
                    writer.append(features, names[place])
    return FeatureStore(path)


def _check_same(folder: Path, index: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in wanted:
        if index[name] != wanted[name]:
            raise ValueError(
                f"{name} must be what {folder} was begun with, {index[name]!r}, got {wanted[name]!r}; give another "
                "folder."
            )
