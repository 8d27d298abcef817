"""The range of images of 16 bits: cameras of 10 to 14 bits store small numbers, which would look black.

One range holds for a whole data set and for the new images too: no image is stretched to its own range, which would
hide differences between images. Read `transforms.py` next.
"""

import warnings
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxdpmm.images.arrays import ArrayImage
from jaxdpmm.images.geometry import LARGEST_16_BIT
from jaxdpmm.images.reading import pixels_of
from jaxdpmm.images.records import ImageRecord

DEPTHS = (8, 10, 12, 14)
DARK = 2 ** DEPTHS[-1] / LARGEST_16_BIT


def value_range_of(records: Iterable[ImageRecord]) -> tuple[float, float] | None:
    """Values of 16 bits that become black and white: from 0 to the largest of 8, 10, 12 or 14 bits that holds all.

    None where an image needs more bits, or none has 16. Files that cannot be read are left to whoever reads them.

    Args:
        records: images to learn from.
    """
    brightest = 0.0
    for record in records:
        try:
            if is_deep(record):
                brightest = max(brightest, float(pixels_of(record).max()))
        except (OSError, ValueError):
            continue
        if brightest >= DARK:
            return None
    value = round(brightest * LARGEST_16_BIT)
    ranges = ((0.0, 2.0**bits - 1) for bits in DEPTHS if value < 2**bits)
    return next(ranges, None) if value else None


def in_range(
    pixels: Float[np.ndarray, "H W 3"], record: ImageRecord, value_range: tuple[float, float]
) -> Float[np.ndarray, "H W 3"]:
    """Pixels of an image of 16 bits in [0, 1] through a range of its values; others as they are.

    Warns where an image is brighter than the range, which becomes white.

    Args:
        pixels: values divided by 65,535.
        record: the image.
        value_range: values that become black and white.
    """
    if not is_deep(record):
        return pixels
    low, high = (np.float32(value / LARGEST_16_BIT) for value in value_range)
    if (brightest := pixels.max()) > high * np.float32(1 + 1e-6):
        warnings.warn(
            f"values of an image should be at most {value_range[1]:g}, the value_range of the model, got "
            f"{record.path} with {brightest * LARGEST_16_BIT:.0f}; store it as the training images were.",
            stacklevel=2,
        )
    return np.clip((pixels - low) / (high - low), 0, 1)


def is_deep(record: ImageRecord) -> bool:
    """Whether an image has 16 bits; its pixels are not read."""
    if isinstance(record.source, ArrayImage):
        return bool(np.asarray(record.source.values).dtype == np.uint16)
    if record.source is not None:
        return False
    if record.path.suffix.lower() == ".npy":
        return bool(np.load(record.path, mmap_mode="r").dtype == np.uint16)
    with Image.open(record.path) as image:
        return image.mode.startswith("I")
