"""What one image of a data set is: its file, its label and where its mask lies.

No file is opened here. Read `layouts.py` next, which makes these records from folders.
"""

from pathlib import Path
from typing import NamedTuple

NORMAL = 0
ANOMALOUS = 1


class ImageRecord(NamedTuple):
    """One image on disk and what is known about it.

    Attributes:
        path: the image file.
        label: `NORMAL` (0), `ANOMALOUS` (1), or None when nobody said.
        kind: type of defect, "good" for a normal image, "" when unknown.
        mask_path: file of the pixel mask (nonzero = anomalous), or None. A normal image has none
            and an anomalous one without a mask counts in image-level figures only.
    """

    path: Path
    label: int | None = None
    kind: str = ""
    mask_path: Path | None = None


class DataSet(NamedTuple):
    """Images to learn what is normal from, and images to look for anomalies in.

    Attributes:
        name: a short name for tables.
        train: records taken as normal.
        test: records with labels; empty for a plain folder of images.
    """

    name: str
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]
