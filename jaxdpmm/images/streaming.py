"""Many images, prepared ahead by a few threads while the backbone works, in the order given.

Memory is bounded: at most `ahead` prepared images wait. An image that cannot be read is left out
with a warning and counted, or ends the run when `strict`. Shuffling, augmentation and caching of
features are done elsewhere or not at all.
"""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.images.depth import Seen, see
from jaxdpmm.images.feature_files import FeatureImage
from jaxdpmm.images.geometry import Frame, Preprocessing
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.remarks import Remarks
from jaxdpmm.images.transforms import fit_to


class PreparedImage(NamedTuple):
    """One prepared image with what is known about it.

    Attributes:
        record: where it comes from.
        pixels: float32 RGB in [0, 1], shape (H, W, 3); the features of an image that carries some, (h, w, D).
        frame: the way back to its original pixels.
    """

    record: ImageRecord
    pixels: np.ndarray
    frame: Frame


class ImageBatch(NamedTuple):
    """Prepared images of one size, in order.

    Attributes:
        records: where they come from.
        pixels: float32 RGB in [0, 1], shape (B, H, W, 3); features, (B, h, w, D), of images that carry some.
        frames: the way back to the original pixels of each; originals may differ in size.
    """

    records: tuple[ImageRecord, ...]
    pixels: np.ndarray
    frames: tuple[Frame, ...]


class ImageStream:
    """Iterable over prepared images that tells afterwards which ones could not be read.

    Each `for` starts anew from the first record.

    Attributes:
        skipped: records left out in the latest pass, in order.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        preprocessing: Preprocessing,
        *,
        strict: bool = False,
        num_threads: int = 2,
        ahead: int = 8,
    ) -> None:
        """Say what to read; nothing is opened yet.

        Args:
            records: the images, in the order wanted.
            preprocessing: the sizes wanted.
            strict: raise at the first image that cannot be read instead of leaving it out.
            num_threads: threads that read and resize.
            ahead: how many prepared images may wait.

        Raises:
            ValueError: no records, or a count below one.
        """
        if not records:
            raise ValueError("records must hold at least one image, got none; check the data set.")
        if num_threads < 1 or ahead < 1:
            raise ValueError(
                f"num_threads and ahead must be at least 1, got {num_threads} and {ahead}; "
                "leave them out for the defaults."
            )
        self.skipped: list[ImageRecord] = []
        self._records = tuple(records)
        self._preprocessing = preprocessing
        self._strict = strict
        self._num_threads = num_threads
        self._ahead = ahead

    def __len__(self) -> int:
        """Number of records, the unreadable ones among them."""
        return len(self._records)

    def __iter__(self) -> Iterator[PreparedImage]:
        """Prepared images in order.

        Raises:
            ValueError, FileNotFoundError: an image cannot be read and `strict` is set, or not a
                single image could be read.
        """
        self.skipped = []
        remarks = Remarks(self._preprocessing.value_range)
        for record, future in self._in_order():
            try:
                image, seen = future.result()
            except (ValueError, FileNotFoundError) as error:
                if self._strict:
                    raise
                self.skipped.append(record)
                warnings.warn(f"image skipped: {error}", stacklevel=2)
            else:
                remarks.add(record, seen)
                yield image
        remarks.tell()
        if len(self.skipped) == len(self._records):
            raise ValueError(
                f"records must hold at least one readable image, got {len(self._records)} that "
                f"cannot be read (the first is {self._records[0].path}); check the data set."
            )

    def _in_order(self) -> Iterator[tuple[ImageRecord, Future]]:
        """Each record with its future, never more than `ahead` of them under way."""
        remaining = iter(self._records)
        pool = ThreadPoolExecutor(self._num_threads)

        def submit(record: ImageRecord) -> tuple[ImageRecord, Future]:
            return record, pool.submit(_prepared, record, self._preprocessing)

        try:
            waiting = deque(submit(record) for record in islice(remaining, self._ahead))
            while waiting:
                yield waiting.popleft()
                waiting.extend(submit(record) for record in islice(remaining, 1))
        finally:  # also when the caller stops half way
            pool.shutdown(cancel_futures=True)


def in_batches(images: Iterable[PreparedImage], size: int) -> Iterator[ImageBatch]:
    """Group neighbours of equal size into batches; the order stays.

    A batch ends when it is full or the next image has another size, so data sets of mixed sizes
    give smaller batches.

    Args:
        images: for example an `ImageStream`.
        size: largest number of images in a batch.

    Raises:
        ValueError: size is below one.
    """
    check_at_least_one("size", size, "use 1 to go image by image")
    group: list[PreparedImage] = []
    for image in images:
        if group and (len(group) == size or image.pixels.shape != group[0].pixels.shape):
            yield _as_batch(group)
            group = []
        group.append(image)
    if group:
        yield _as_batch(group)


def _prepared(record: ImageRecord, preprocessing: Preprocessing) -> tuple[PreparedImage, Seen]:
    """A prepared image, and what was seen of it beside its pixels."""
    if isinstance(record.source, FeatureImage):
        features, frame = record.source.load()
        return PreparedImage(record, features, frame), Seen(features)
    seen = see(record, preprocessing.value_range)
    pixels, frame = fit_to(seen, record, preprocessing)
    return PreparedImage(record, pixels, frame), seen._replace(pixels=pixels)


def _as_batch(group: Sequence[PreparedImage]) -> ImageBatch:
    records, pixels, frames = zip(*group, strict=True)
    return ImageBatch(records, np.stack(pixels), frames)
