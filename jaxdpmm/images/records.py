"""What one image of a data set is: its file, its label and where its mask lies.

No file is opened here. Read `layouts.py` next, which makes these records from folders.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

NORMAL = 0
ANOMALOUS = 1


class Source(Protocol):
    """Where pixels come from when an image is no file of its own: see `arrays.py` and `volumes.py`."""

    def pixels(self) -> np.ndarray:
        """Float32 RGB in [0, 1], (H, W, 3)."""
        ...

    def mask(self) -> np.ndarray | None:
        """Anomalous pixels, (H, W) of bool; None when nobody marked them."""
        ...


class ImageRecord(NamedTuple):
    """One image and what is known about it.

    Attributes:
        path: the image file; with `source`, a name for it.
        label: `NORMAL` (0), `ANOMALOUS` (1), or None when nobody said.
        kind: type of defect, "good" for a normal image, "" when unknown.
        mask_path: file of the pixel mask (nonzero = anomalous), or None. A normal image has none
            and an anomalous one without a mask counts in image-level figures only.
        source: what delivers pixels and mask in place of the files, or None.
    """

    path: Path
    label: int | None = None
    kind: str = ""
    mask_path: Path | None = None
    source: Source | None = None


class DataSet(NamedTuple):
    """Images to learn what is normal from, and images to look for anomalies in.

    Attributes:
        name: a short name for tables.
        train: records taken as normal.
        test: records with labels; empty for a plain folder of images.
        validation: further normal images, for thresholds; empty where a data set has none.
    """

    name: str
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]
    validation: tuple[ImageRecord, ...] = ()
