"""Patch features of images kept on disk, so that no image goes through the backbone twice, whatever became of the run.

A cache is a folder of feature stores (`../features/store.py`), one for each backbone and settings that features depend
on. Within a store an image is known by the SHA-256 of its pixels, so a renamed file is found and a changed one is not.
A killed run goes on behind the last batch that went through the backbone, with batches as they would have been, so that
features are the same to the last bit. Runs on the same images do the work once: the second waits for the first. Runs
on other images fill the cache side by side. Read `patches.py` first.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdpmm.detection.config import FeatureConfig
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches, stack_patches, stream_patches
from jaxdpmm.features import Backbone
from jaxdpmm.features.digest import backbone_digest
from jaxdpmm.features.given import is_given
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.images.geometry import Frame, frame_of
from jaxdpmm.images.reading import pixels_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.storage.files import name_text
from jaxdpmm.storage.locks import locked


def cached_patches(
    records: Sequence[ImageRecord],
    config: FeatureConfig,
    backbone: Backbone,
    folder: str | os.PathLike,
    *,
    strict: bool = False,
    progress: str | None = None,
    part: str = "other",
) -> Iterator[ImagePatches]:
    """As `stream_patches`, with features from the cache where it has them, and put there where it has not.

    Args:
        records: the images.
        config: settings.
        backbone: the one that the configuration names.
        folder: of the cache; it is made.
        strict: an image that cannot be read is an error, instead of a warning and a gap.
        progress: what to write before a progress bar; None for no bar.
        part: of the cache.

    Raises:
        ValueError, FileNotFoundError: no image could be read, or not all with `strict`.
    """
    store, names = _filled(records, config, backbone, Path(folder), strict, progress, part)
    rows = dict(store.named_rows())
    for record, name in zip(records, names, strict=True):
        if name in rows:
            frame = _frame(name, config, backbone)
            features = store[rows[name]].reshape(*frame.grid, -1)
            yield ImagePatches(record, frame, features, 0.0)


def cached_training(
    records: Sequence[ImageRecord],
    config: FeatureConfig,
    backbone: Backbone,
    folder: str | os.PathLike,
    *,
    strict: bool = False,
    progress: str | None = None,
) -> TrainingPatches:
    """Features to learn from: the store itself, read as it is needed, where it holds these images and no others.

    Args and errors as of `cached_patches`.
    """
    store, names = _filled(records, config, backbone, Path(folder), strict, progress, "train")
    held = [name for name, _ in store.named_rows()]
    known = set(held)
    if held != [name for name in names if name in known]:
        options: Mapping[str, Any] = {"strict": strict, "part": "train"}
        return stack_patches(
            cached_patches(records, config, backbone, folder, **options), len(records)
        )
    frames = tuple(_frame(name, config, backbone) for name in names if name in known)
    paths = [
        name_text(record.path) for record, name in zip(records, names, strict=True) if name in known
    ]
    sources = tuple((path, frame.grid) for path, frame in zip(paths, frames, strict=True))
    return TrainingPatches(store, len(sources), sources, frames)


def identity_of(features: FeatureConfig, backbone: Backbone) -> dict[str, Any]:
    """What cached features are known by: all feature settings, and the weights in place of their name.

    A setting is left out while it has the value that features had before there was the setting.
    """
    settings = {
        field.name: value
        for field in dataclasses.fields(features)
        if (value := getattr(features, field.name)) != field.metadata["before"]
    }
    del settings["backbone"]
    return {"backbone_sha256": backbone_digest(backbone), **settings}


def _filled(
    records: Any,
    config: FeatureConfig,
    backbone: Any,
    folder: Any,
    strict: Any,
    progress: Any,
    part: Any,
) -> tuple[FeatureStore, list[str]]:
    """The store with all of the images that can be read, and their names in it, "" for the others."""
    if is_given(backbone):
        raise ValueError(
            f"features to keep must come from a backbone, got {backbone.name!r}, which are on the disk already; read "
            "them with stream_patches."
        )
    config = config.features.resolved(backbone)
    settings = identity_of(config, backbone)
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{key}-{part}"
    names = [_name(record, strict) for record in records]
    if (store := _finished(path, names)) is not None:
        return store, names
    with _first_of(path, names):
        writer = FeatureWriter(path, settings=settings)
        missing = {
            name: record
            for name, record in zip(names, records, strict=True)
            if name not in writer and (name or not any(names))  # none at all: let the stream say so
        }
        if missing:
            stream = stream_patches(
                list(missing.values()), config, backbone, strict=strict, progress=progress
            )
            for batch in _batches(stream, missing):
                # Runs on other images may have added some of these meanwhile.
                writer.append_all([piece for piece in batch if piece[0] not in writer])
        return writer.close(), names


def _finished(path: Path, names: Sequence[str]) -> FeatureStore | None:
    """The store if it holds all of these already; then nothing is written, and the folder may be read-only."""
    try:
        store = FeatureStore(path)
    except (FileNotFoundError, ValueError):  # of a damaged one the writer will tell
        return None
    held = {name for name, _ in store.named_rows()}
    return store if any(names) and held.issuperset(filter(None, names)) else None


def _batches(
    stream: Iterable[ImagePatches], missing: Mapping[str, ImageRecord]
) -> Iterator[list[tuple[str, Any]]]:
    """Names and features of images that went through the backbone together."""
    order = iter(missing.items())
    batch = []
    for image in stream:
        name = next(name for name, record in order if record == image.record)
        batch.append((name, image.features))
        if image.rest == 0:
            yield batch
            batch = []


@contextlib.contextmanager
def _first_of(path: Path, names: Sequence[str]) -> Iterator[None]:
    """Wait for another run that is extracting the same images, as long as the store grows.

    Two at once would be as right, and merely do the work twice.
    """
    path.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    lock = path / f".extracting-{digest}.lock"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                locked(lock, f"extracting the same features into {path}", lambda: _newest(path))
            )
            stack.callback(lock.unlink, missing_ok=True)
        except TimeoutError as error:
            warnings.warn(f"not waiting any longer: {error}", stacklevel=2)
        yield


def _newest(path: Path) -> float:
    """When the index, a shard or the journal was last written."""
    newest = 0.0
    for file in path.glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):
            newest = max(newest, file.stat().st_mtime)
    return newest


def _frame(name: str, config: FeatureConfig, backbone: Backbone) -> Frame:
    height, width = map(int, name.rsplit(":", 1)[1].split("x"))
    return frame_of((height, width), config.preprocessing(backbone))


def _name(record: ImageRecord, strict: bool) -> str:
    """SHA-256 of the pixels of an image, with its size; nothing when it cannot be read."""
    try:
        pixels = pixels_of(record)
    except (ValueError, FileNotFoundError) as error:
        if strict:
            raise
        warnings.warn(f"image skipped: {error}", stacklevel=2)
        return ""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
    return f"{digest}:{pixels.shape[0]}x{pixels.shape[1]}"
