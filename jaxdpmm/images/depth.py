"""Whether images of 16 bits use their range: cameras of 10 to 14 bits store small numbers, which look black.

Read `reading.py` first.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jaxdpmm.images.arrays import ArrayImage
from jaxdpmm.images.reading import LARGEST_16_BIT, pixels_of
from jaxdpmm.images.records import ImageRecord

NUM_LOOKED_AT = 32
QUARTER = 0.25  # of the range; 14 bits are just below it
DEPTHS = (8, 10, 12, 14)


def warn_if_dark(records: Sequence[ImageRecord]) -> None:
    """Warn where none of the images of 16 bits, among 32 spread over the records, reaches a quarter of its range.

    Nothing is stretched: what is bright must be bright in all images, the new ones too. Files that cannot be read are
    left to whoever reads them.
    """
    step = max(1, len(records) // NUM_LOOKED_AT)
    brightest = 0.0
    for record in records[::step]:
        try:
            if is_deep(record):
                brightest = max(brightest, float(pixels_of(record).max()))
        except (OSError, ValueError):
            continue
        if brightest > QUARTER:
            return
    if brightest:
        value = round(brightest * LARGEST_16_BIT)
        bits = next(depth for depth in DEPTHS if value < 2**depth)
        warnings.warn(
            f"images of 16 bits should use their range, got none brighter than {value} of 65535, which looks like "
            f"{bits} bits and is nearly black to the backbone; multiply all images, the new ones too, by "
            f"{2 ** (16 - bits)}.",
            stacklevel=3,
        )


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
