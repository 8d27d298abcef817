"""Images that are NumPy arrays already, as records, so that everything that takes files takes them too.

Read `volumes.py` for slices of DICOM and NIfTI.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdpmm.images.reading import to_rgb
from jaxdpmm.images.records import ANOMALOUS, NORMAL, ImageRecord


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """A `Source` that holds its pixels."""

    values: np.ndarray
    true_mask: np.ndarray | None
    name: Path

    def pixels(self) -> np.ndarray:
        """Float32 RGB in [0, 1]."""
        return to_rgb(self.values, self.name)

    def mask(self) -> np.ndarray | None:
        """Every pixel that is not zero is anomalous."""
        return None if self.true_mask is None else self.true_mask != 0


def records_of_arrays(
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    masks: Sequence[np.ndarray] | np.ndarray | None = None,
    name: str = "array",
) -> tuple[ImageRecord, ...]:
    """Records of images in memory.

    Args:
        images: one array of shape (N, H, W) or (N, H, W, 3), or a sequence of arrays of any sizes; uint8, uint16 or
            float in [0, 1].
        labels: 0 normal, 1 anomalous, one per image; None when unknown, or as the masks say.
        masks: one per image, of its height and width, anomalous where not zero; or None.
        name: what the images are called in tables, with their number.

    Raises:
        ValueError: numbers of images, labels and masks differ, a label is neither 0 nor 1, or a mask does not fit.
    """
    for what, given in (("labels", labels), ("masks", masks)):
        if given is not None and len(given) != len(images):
            raise ValueError(
                f"{what} must be one per image, {len(images)}, got {len(given)}; leave them out if unknown."
            )
    if labels is not None and not np.isin(labels, (NORMAL, ANOMALOUS)).all():
        raise ValueError(
            f"labels must be 0 (normal) or 1 (anomalous), got {np.unique(labels)[:5].tolist()}; recode them."
        )
    return tuple(
        _record(
            np.asarray(image),
            None if labels is None else int(labels[number]),
            None if masks is None else np.asarray(masks[number]),
            Path(f"{name}-{number:05d}"),
        )
        for number, image in enumerate(images)
    )


def _record(
    values: np.ndarray, label: int | None, mask: np.ndarray | None, name: Path
) -> ImageRecord:
    if mask is not None and mask.shape != values.shape[:2]:
        raise ValueError(
            f"a mask must have the size of its image, {values.shape[:2]}, got {mask.shape} for {name}; check that the "
            "two belong together."
        )
    if label is None and mask is not None:
        label = ANOMALOUS if mask.any() else NORMAL
    kind = {NORMAL: "good", ANOMALOUS: "anomalous", None: ""}[label]
    return ImageRecord(name, label, kind, None, ArrayImage(values, mask, name))
