"""Resize and crop images and masks, the same on every machine and without chance.

Pillow does the resampling. Which pixels go where is decided in `geometry.py`; normalising to the
mean and spread that a backbone was trained with is the backbone's own business. Read
`streaming.py` next.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from jaxdpmm.images.depth import Seen, see
from jaxdpmm.images.geometry import Frame, Preprocessing, frame_of
from jaxdpmm.images.reading import load_mask
from jaxdpmm.images.records import ImageRecord


def resize(
    image: Float[np.ndarray, "H W 3"], size: tuple[int, int]
) -> Float[np.ndarray, "height width 3"]:
    """Image at another size: bicubic (a = -0.5), antialiased when it gets smaller, kept in [0, 1].

    Args:
        image: float32 RGB in [0, 1].
        size: the new (height, width).
    """
    if image.shape[:2] == size:
        return image
    channels = [
        Image.fromarray(np.ascontiguousarray(image[:, :, channel]))
        .resize((size[1], size[0]), Image.Resampling.BICUBIC)
        for channel in range(3)
    ]  # fmt: skip
    # Bicubic overshoots at edges.
    return np.clip(np.stack([np.asarray(channel) for channel in channels], axis=2), 0.0, 1.0)


def resize_short_side(
    image: Float[np.ndarray, "H W 3"], length: int
) -> Float[np.ndarray, "height width 3"]:
    """Image with its shorter side brought to a length, proportions kept (see `resize`)."""
    frame = frame_of(image.shape[:2], Preprocessing(short_side=length, patch_size=1))
    return resize(image, frame.resized)


def crop_to_multiple(
    image: Float[np.ndarray, "H W 3"], patch_size: int
) -> Float[np.ndarray, "height width 3"]:
    """Largest centred part of an image whose sides are multiples of the patch."""
    preprocessing = Preprocessing(short_side=min(image.shape[:2]), patch_size=patch_size)
    return _crop(image, frame_of(image.shape[:2], preprocessing))


def prepare(
    image: ImageRecord | str | Path, preprocessing: Preprocessing
) -> tuple[Float[np.ndarray, "H W 3"], Frame]:
    """One image file as the backbone takes it, and the way back to its original pixels.

    Args:
        image: a record or a path.
        preprocessing: the sizes wanted.

    Returns:
        float32 RGB in [0, 1], with sides that are multiples of the patch, and its frame.

    Raises:
        FileNotFoundError, ValueError: see `load_image`.
    """
    record = image if isinstance(image, ImageRecord) else ImageRecord(Path(image))
    return fit_to(see(record, preprocessing.value_range), record, preprocessing)


def fit_to(
    seen: Seen, record: ImageRecord, preprocessing: Preprocessing
) -> tuple[Float[np.ndarray, "H W 3"], Frame]:
    """What `prepare` returns, of an image that is read already.

    Args:
        seen: its pixels.
        record: the image, for messages.
        preprocessing: the sizes wanted.

    Raises:
        ValueError: the image is too long for its width.
    """
    frame = frame_of(seen.pixels.shape[:2], preprocessing, record.path)
    return np.ascontiguousarray(_crop(resize(seen.pixels, frame.resized), frame)), frame


def prepare_mask(path: str | Path, frame: Frame) -> Bool[np.ndarray, "H W"]:
    """Mask of an image in the prepared image's frame, by the nearest pixel.

    Figures are better computed in the original frame, where no anomalous pixel is lost or cut off.

    Raises:
        ValueError: the mask is damaged or has another size than its image.
    """
    mask = load_mask(path)
    if mask.shape != frame.original:
        raise ValueError(
            f"mask must have the size of its image, {frame.original[0]} x {frame.original[1]}, got "
            f"{path} with {mask.shape[0]} x {mask.shape[1]}; check that the two belong together."
        )
    height, width = frame.resized
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    return _crop(np.asarray(resized), frame)


def _crop(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    (top, left), (height, width) = frame.corner, frame.cropped
    return pixels[top : top + height, left : left + width]
