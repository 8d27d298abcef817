"""How good and how fast: figures of scored test images, the same for every kind of score.

Pixels are compared in the original image, so no anomalous pixel is lost in a resize, and only where the truth is
known: all pixels of normal images, and anomalous images that have a mask. Read `overlay.py` next.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxdpmm.detection.detector import ScoredImage
from jaxdpmm.detection.metrics import (
    ScoreTable,
    add_scores,
    area_under_roc,
    average_precision,
    score_table,
)
from jaxdpmm.images.reading import load_mask
from jaxdpmm.images.records import NORMAL, ImageRecord


def evaluate(images: Sequence[ScoredImage], sigma: float) -> dict[str, Any]:
    """Accuracy and time of one score on a labelled test set.

    Args:
        images: scored, each record with its label.
        sigma: smoothing of the maps that pixel figures come from.

    Returns:
        "image_auroc", "image_aupr"; "pixel_auroc", "pixel_aupr" (None without masks); "backbone_ms" and
        "scoring_ms", medians a image. All as JSON takes them.

    Raises:
        ValueError: labels are unknown or all alike, or a mask does not fit its image.
    """
    images_table = score_table(labels_of([image.record for image in images]), _scores(images))
    pixels = _pixel_table(images, sigma)
    return {
        "image_auroc": area_under_roc(images_table),
        "image_aupr": average_precision(images_table),
        "pixel_auroc": None if pixels is None else area_under_roc(pixels),
        "pixel_aupr": None if pixels is None else average_precision(pixels),
        "backbone_ms": typical_ms(images, "backbone_seconds"),
        "scoring_ms": typical_ms(images, "scoring_seconds"),
    }


def labels_of(records: Sequence[ImageRecord]) -> Bool[np.ndarray, " I"]:
    """Which images are anomalous.

    Raises:
        ValueError: there are none, one has no label, or all have the same.
    """
    labels = [record.label for record in records]
    if not labels or None in labels or len(set(labels)) < 2:
        counts = [labels.count(label) for label in (0, 1, None)]
        raise ValueError(
            f"test images must be labelled, normal and anomalous ones, got {counts[0]} normal, {counts[1]} "
            f"anomalous and {counts[2]} without label; give a data set with test/good and test/<kind>."
        )
    return np.array(labels) != NORMAL


def typical_ms(images: Sequence[ScoredImage], field: str) -> float:
    """Median milliseconds an image, without the first image of each size, which pays for compilation."""
    seen, warm = set(), []
    for image in images:
        if image.frame.grid in seen:
            warm.append(getattr(image, field))
        seen.add(image.frame.grid)
    return 1e3 * float(np.median(warm or [getattr(image, field) for image in images]))


def true_mask(image: ScoredImage) -> Bool[np.ndarray, "H W"] | None:
    """Anomalous pixels of the original image; None when nobody marked them.

    Raises:
        ValueError: the mask has another size than its image.
    """
    record, size = image.record, image.frame.original
    if record.label == NORMAL:
        return np.zeros(size, bool)
    if record.mask_path is None:
        return None
    mask = load_mask(record.mask_path)
    if mask.shape != size:
        raise ValueError(
            f"mask must have the size of its image, {size[0]} x {size[1]}, got {record.mask_path} with "
            f"{mask.shape[0]} x {mask.shape[1]}; check that the two belong together."
        )
    return mask


def _scores(images: Sequence[ScoredImage]) -> np.ndarray:
    return np.array([image.score for image in images])


def _pixel_table(images: Sequence[ScoredImage], sigma: float) -> ScoreTable | None:
    if all(image.record.mask_path is None for image in images):
        return None
    table: ScoreTable | None = None
    for image in images:
        mask = true_mask(image)
        if mask is not None:
            table = add_scores(table, mask, image.pixel_scores(sigma))
    return table
