"""Images that carry their patch features, made by any program and any backbone: files of features in place of images.

    000.npz          the array `features`, (h, w, D), or (images, h, w, D) for several images in one file
    000.npy          the same array alone
    000.zarr         a folder: the same array alone, or a group that holds it, facts as attributes (extra `zarr`)
    000.png          the image itself, if there is one beside; pictures are drawn on grey where there is none
    features.json    facts of all files in its folder and in the folders below

Such files stand where images stand in every layout, with masks as images have them (for several images in one file
those of all as one `.npy`, (images, H, W)). `features.json` is an object with the fields of `FeatureFacts`; an `.npz`
may hold facts of its own as further arrays, for several images an `image_size` for each. Read `streaming.py` next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.images.decoding import header_of, load_array
from jaxdpmm.images.feature_arrays import is_feature_file, number_of_images, own_facts, values_of
from jaxdpmm.images.feature_facts import FACTS_FILE, FeatureFacts, facts_of, frame_of_features
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.listing import image_suffixes
from jaxdpmm.images.reading import load_image, load_mask
from jaxdpmm.images.records import ImageRecord

GREY = 0.5  # of pictures where there is no image


class CarriedFeatures(NamedTuple):
    """Features of one image, and the way back to its pixels."""

    features: Float[np.ndarray, "h w D"]
    frame: Frame


@dataclass(frozen=True)
class FeatureImage:
    """A `Source`: an image that carries its features.

    Attributes:
        path: a file of features.
        index: which of several images in it; None where it holds one.
        mask_path: of its mask, or that of the masks of all images of the file; None where nobody marked pixels.
    """

    path: Path
    index: int | None = None
    mask_path: Path | None = None

    def load(self) -> CarriedFeatures:
        """Features in float32, as they are stored.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, a fact is missing, or facts do not fit the array; the message names it.
        """
        values, facts = self._values(), self.facts()
        size = self._image_size(facts)
        return CarriedFeatures(values, frame_of_features(values.shape[:2], size, facts, self.path))

    def facts(self) -> FeatureFacts:
        """What the file and the nearest `features.json` say, the file first.

        Raises:
            FileNotFoundError, ValueError: the file cannot be read; or a fact is missing, unknown or of another type.
        """
        found = own_facts(self.path, [field.name for field in fields(FeatureFacts)])
        own = {name: self._fact(value) for name, value in found.items()}
        return facts_of(self.path, own)

    def pixels(self) -> np.ndarray:
        """The image beside the features, float32 RGB in [0, 1]; grey where there is none."""
        size, picture = self._image_size(self.facts()), _picture_of(self)
        return np.full((*size, 3), GREY, np.float32) if picture is None else load_image(picture)

    def mask(self) -> np.ndarray | None:
        """Anomalous pixels, (H, W) of bool; None when nobody marked them."""
        if self.mask_path is None or self.index is None:
            return None if self.mask_path is None else load_mask(self.mask_path)
        masks = load_array(self.mask_path, in_memory=False)
        if masks.ndim != 3 or len(masks) != number_of_images(self.path):
            raise ValueError(
                f"masks of {self.path} must be one .npy of shape ({number_of_images(self.path)}, H, W), got "
                f"{self.mask_path} of shape {masks.shape}; stack them."
            )
        return np.asarray(masks[self.index]) != 0

    def _fact(self, value: np.ndarray) -> Any:
        """A fact from a file: of this image, where it has one for each."""
        return (value[self.index] if self.index is not None and value.ndim == 2 else value).tolist()

    def _image_size(self, facts: FeatureFacts) -> tuple[int, int]:
        picture = _picture_of(self)
        size = None if picture is None else header_of(picture).size
        if size is None and facts.image_size is None:
            raise ValueError(
                f"image_size must be known, got none for {self.path}; write it into {FACTS_FILE} or the file, or put "
                "the image beside."
            )
        if size is not None and facts.image_size not in (None, size):
            raise ValueError(
                f"image_size must be that of the image beside, {size[0]} x {size[1]}, got {facts.image_size} for "
                f"{self.path}; mend it."
            )
        return size or facts.image_size or (0, 0)

    def _values(self) -> Float[np.ndarray, "h w D"]:
        values = values_of(self.path, self.index)
        if values.ndim != 3 or values.dtype.kind not in "fiu" or not values.size:
            raise ValueError(
                f"features must be numbers of shape (h, w, D), got {self.path} of shape {values.shape} and type "
                f"{values.dtype}; reshape them to rows and columns of patches."
            )
        values = np.ascontiguousarray(values, np.float32)
        if not np.isfinite(values).all():
            raise ValueError(
                f"features must be finite, got nan or infinity in {self.path}; make them anew."
            )
        return values


def with_features(records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """The same records, where they are of files of features one for each image in them, without images beside.

    Raises:
        ValueError: some of the records are of features, and others of images that are not beside features.
    """
    plain = [record for record in records if record.source is None]
    files = {record.path for record in plain if is_feature_file(record.path)}
    if not files:
        return tuple(records)
    beside = {(file.parent, file.stem) for file in files}
    others = [r.path for r in records if (r.path.parent, r.path.stem) not in beside]
    if others:
        raise ValueError(
            f"a data set must hold features or images, got {len(files)} files of features and {len(others)} images "
            f"that are not beside their features, for example {others[0]}; keep them apart."
        )
    return tuple(one for record in records if record.path in files for one in _each(record))


def _each(record: ImageRecord) -> list[ImageRecord]:
    """A record for each image of a file."""
    path, mask, number = record.path, record.mask_path, number_of_images(record.path)
    if number is None:
        return [record._replace(mask_path=None, source=FeatureImage(path, None, mask))]
    return [
        record._replace(
            path=path.with_name(f"{path.stem}-{index:04d}"),
            mask_path=None,
            source=FeatureImage(path, index, mask),
        )
        for index in range(number)
    ]


def _picture_of(image: FeatureImage) -> Path | None:
    """The image beside a file of features."""
    if image.index is not None:
        return None
    suffixes = sorted(image_suffixes() - {".npy"})
    found = (image.path.with_suffix(suffix) for suffix in suffixes)
    return next((path for path in found if path.is_file()), None)
