"""From image files to patch features in memory: streamed for scoring, stacked for fitting.

The only place where images meet the backbone. A full batch goes through the backbone at once and what is left
over image by image, so that every size of image costs two compilations at most. Read `detector.py` next.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from jaxdpmm.detection.backbones import check_given, check_sources
from jaxdpmm.detection.config import FeatureConfig
from jaxdpmm.features import Backbone, PatchExtractor
from jaxdpmm.features.given import is_given
from jaxdpmm.features.tiling import extract_in_tiles
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.rotation import rotated
from jaxdpmm.images.streaming import ImageStream, in_batches
from jaxdpmm.storage.files import name_text

BATCH_SIZE = 8


class ImagePatches(NamedTuple):
    """Patch features of one image.

    Attributes:
        record: where the image comes from.
        frame: how it was prepared.
        features: one vector a patch.
        seconds: what the backbone took for it, its share of a batch; compilation included.
        rest: how many images that went through the backbone together with it come after it.
    """

    record: ImageRecord
    frame: Frame
    features: Float[np.ndarray, "h w D"]
    seconds: float
    rest: int = 0


class PatchBatch(NamedTuple):
    """Patch features of images of one size.

    Attributes:
        records: where the images come from.
        frames: how they were prepared.
        features: one vector per patch, on the device; or in NumPy, where they come from a file.
        seconds: what the backbone took per image; compilation included.
    """

    records: tuple[ImageRecord, ...]
    frames: tuple[Frame, ...]
    features: Float[Array, "B h w D"] | Float[np.ndarray, "B h w D"]
    seconds: float


class TrainingPatches(NamedTuple):
    """All patches of the training images.

    Attributes:
        features: float32, (N, D); in memory or a `FeatureStore`.
        num_images: how many images they come from, without those that were skipped.
        sources: name and grid (rows, columns) of each image, in the order of the features; empty when unknown.
        frames: how each image was prepared; empty when unknown.
    """

    features: Any
    num_images: int
    sources: tuple[tuple[str, tuple[int, int]], ...] = ()
    frames: tuple[Frame, ...] = ()


def ends_of(patches: TrainingPatches) -> Int[np.ndarray, " I"]:
    """First row of every source, and the number of rows.

    Args:
        patches: with sources.
    """
    return np.cumsum([0, *(height * width for _, (height, width) in patches.sources)])


def stream_batches(
    records: Sequence[ImageRecord],
    config: FeatureConfig,
    backbone: Backbone,
    *,
    strict: bool = False,
    batch_size: int = BATCH_SIZE,
    progress: str | None = None,
    rotations: int = 1,
) -> Iterator[PatchBatch]:
    """Patch features batch by batch, in order, read ahead; they stay on the device.

    Args:
        records: the images.
        config: which layers, which size.
        backbone: the one that the configuration names.
        strict: an image that cannot be read is an error, instead of a warning and a gap.
        batch_size: images through the backbone at once.
        progress: what to write before a progress bar; None for no bar.
        rotations: at how many angles each image is taken, see `images.rotation`.

    Raises:
        ValueError, FileNotFoundError: no image could be read, or not all with `strict`; images where features are
            learned from, features where images are, or other features.
    """
    extractor = config.resolved(backbone).extractor()
    check_sources(records, backbone)
    images = ImageStream(records, config.preprocessing(backbone), strict=strict)
    shown = tqdm(images, desc=progress, unit="image", disable=progress is None)
    for batch in in_batches(rotated(iter(shown), rotations), batch_size):
        size = len(batch.records)
        step = size if size == batch_size else 1
        for start in range(0, size, step):
            rows = slice(start, start + step)
            begin = time.perf_counter()
            if is_given(backbone):
                check_given(batch.records[rows], batch.pixels.shape[-1], backbone)
            features = _extract(extractor, backbone, batch.pixels[rows], config.tile_side)
            jax.block_until_ready(features)  # for its time; the features stay where they are
            seconds = (time.perf_counter() - begin) / step
            yield PatchBatch(batch.records[rows], batch.frames[rows], features, seconds)


def stream_patches(
    records: Sequence[ImageRecord],
    config: FeatureConfig,
    backbone: Backbone,
    **options: Any,
) -> Iterator[ImagePatches]:
    """Patch features image by image, in order, in NumPy.

    Args:
        records: the images.
        config: which layers, which size.
        backbone: the one that the configuration names.
        **options: of `stream_batches`, whose errors are raised too.
    """
    for batch in stream_batches(records, config, backbone, **options):
        features = np.asarray(batch.features)
        last = len(features) - 1
        for place, one in enumerate(features):
            record, frame = batch.records[place], batch.frames[place]
            yield ImagePatches(record, frame, one, batch.seconds, last - place)


def _extract(
    extractor: PatchExtractor, backbone: Backbone, pixels: np.ndarray, tile_side: int | None
) -> Float[Array, "B h w D"] | Float[np.ndarray, "B h w D"]:
    if is_given(backbone):
        return pixels
    if tile_side is None or max(pixels.shape[1:3]) <= tile_side:
        return extractor.extract(backbone, pixels)
    return extract_in_tiles(extractor, backbone, pixels, tile_side)


def stack_patches(
    patches: Iterable[ImagePatches], num_images: int, *, progress: bool = False
) -> TrainingPatches:
    """All patches as one array, which is laid out at the first image as if the rest were like it.

    Args:
        patches: at least one image.
        num_images: how many are expected.
        progress: say on standard error how much memory that takes.
    """
    rows = np.zeros((0, 0), np.float32)
    filled = number = 0
    sources, frames = [], []
    for number, image in enumerate(patches, start=1):
        height, width, dim = image.features.shape
        if number == 1:
            rows = np.empty((num_images * height * width, dim), np.float32)
            if progress:
                _tell_size(num_images, height * width, rows)
        if filled + height * width > len(rows):
            more = len(rows) // 2 + height * width
            rows = np.concatenate([rows[:filled], np.empty((more, dim), np.float32)])
        rows[filled : filled + height * width] = image.features.reshape(-1, dim)
        filled += height * width
        sources.append((name_text(image.record.path), (height, width)))
        frames.append(image.frame)
    return TrainingPatches(rows[:filled], number, tuple(sources), tuple(frames))


def _tell_size(num_images: int, num_patches: int, rows: np.ndarray) -> None:
    tqdm.write(
        f"training features: about {num_images} images x {num_patches} patches x {rows.shape[1]} "
        f"numbers = {rows.nbytes / 1e6:,.0f} MB",
        file=sys.stderr,
    )
