"""The range of images of 16 bits: cameras of 10 to 14 bits store small numbers, which would look black.

One range holds for a whole data set and for the new images too: no image is stretched to its own range, which would
hide differences between images. Read `remarks.py` next.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.images.arrays import ArrayImage
from jaxdpmm.images.decoding import Header, header_of
from jaxdpmm.images.geometry import LARGEST_16_BIT
from jaxdpmm.images.reading import pixels_of
from jaxdpmm.images.records import ImageRecord

DEPTHS = (8, 10, 12, 14)
DARK = 2 ** DEPTHS[-1] - 1


class Seen(NamedTuple):
    """Pixels of an image, and what there is to say of it.

    Attributes:
        pixels: float32 RGB in [0, 1].
        largest: the largest number stored in an image of 16 bits; None for other images.
        is_series: whether its file has further pictures, which are not read.
    """

    pixels: Float[np.ndarray, "H W 3"]
    largest: int | None = None
    is_series: bool = False


def see(record: ImageRecord, value_range: tuple[float, float] | None = None) -> Seen:
    """Pixels of an image, those of 16 bits through a range of their values; others are left as they are.

    Numbers above the range become white, those below black. Where the smallest number is white, white and black change
    places after that.

    Args:
        record: the image.
        value_range: numbers that become black and white; None for 0 and 65,535.

    Raises:
        FileNotFoundError, ValueError: see `reading.load_image`.
    """
    pixels, header = pixels_of(record), _header_of(record)
    if not header.is_deep:
        return Seen(pixels, None, header.is_series)
    stored = 1 - pixels if header.is_inverted else pixels
    largest = round(float(stored.max()) * LARGEST_16_BIT)
    if value_range is not None:
        low, high = (np.float32(value / LARGEST_16_BIT) for value in value_range)
        stored = np.clip((stored - low) / (high - low), 0, 1)
        pixels = 1 - stored if header.is_inverted else stored
    return Seen(pixels, largest, header.is_series)


def value_range_of(records: Iterable[ImageRecord]) -> tuple[float, float] | None:
    """Values of 16 bits that become black and white: from 0 to the largest of 8, 10, 12 or 14 bits that holds all.

    None where an image needs more bits, or none has 16. Files that cannot be read are left to whoever reads them.

    Args:
        records: images to learn from.
    """
    largest = 0
    for record in records:
        try:
            if _header_of(record).is_deep:
                largest = max(largest, see(record).largest or 0)
        except (OSError, ValueError):
            continue
        if largest > DARK:
            return None
    return range_for(largest) if largest else None


def range_for(largest: int) -> tuple[float, float] | None:
    """Range of the fewest of 8, 10, 12 or 14 bits that hold a number; None where none do."""
    return next(((0.0, 2.0**bits - 1) for bits in DEPTHS if largest < 2**bits), None)


def _header_of(record: ImageRecord) -> Header:
    """What is known of an image without its pixels; slices of volumes have ranges of their own."""
    if isinstance(record.source, ArrayImage):
        values = np.asarray(record.source.values)
        return Header((len(values), values.shape[1]), values.dtype == np.uint16)
    return Header((0, 0)) if record.source is not None else header_of(record.path)
