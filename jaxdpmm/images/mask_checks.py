"""Masks looked at before long work: of the size of their images, and neither all marked nor empty.

Read `streaming.py` next.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

from jaxdpmm.images.decoding import header_of
from jaxdpmm.images.reading import load_mask
from jaxdpmm.images.records import ANOMALOUS, ImageRecord


def check_masks(records: Sequence[ImageRecord]) -> None:
    """Read the masks of anomalous images, and of the images only how large they are.

    Args:
        records: for example a test set; those without a file of a mask are passed over.

    Raises:
        FileNotFoundError: a mask is not there.
        ValueError: a mask cannot be read, or has another size than its image.

    Warns:
        UserWarning: masks in which every pixel is marked, or none, which a background that is not black makes.
    """
    full: list[Path] = []
    empty: list[Path] = []
    for record in records:
        if record.source is not None or record.mask_path is None or record.label != ANOMALOUS:
            continue
        mask, size = load_mask(record.mask_path), size_of(record.path)
        if size is not None and mask.shape != size:
            raise ValueError(
                f"mask must have the size of its image, {size[0]} x {size[1]}, got {record.mask_path} with "
                f"{mask.shape[0]} x {mask.shape[1]}; check that the two belong together."
            )
        if mask.all() or not mask.any():
            (full if mask.all() else empty).append(record.mask_path)
    _tell(full, "every pixel", "store what is not anomalous as 0 (black)")
    _tell(empty, "no pixel", "store what is anomalous as another number than 0")


def size_of(path: Path) -> tuple[int, int] | None:
    """Height and width of an image file, without its pixels; None where it cannot be read."""
    try:
        return header_of(path).size
    except (OSError, ValueError):
        return None


def _tell(masks: Sequence[Path], what: str, advice: str) -> None:
    if masks:
        warnings.warn(
            f"a mask must mark a part of its image, got {len(masks)} in which {what} is marked, for example "
            f"{masks[0]}; {advice}, unless this is meant.",
            stacklevel=3,
        )
