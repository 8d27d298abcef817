"""How good and how fast: figures of scored test images, the same for every kind of score.

Pixels are compared in the original image, so no anomalous pixel is lost in a resize, and only where the truth is
known: all pixels of normal images, and anomalous images that have a mask. Read `overlay.py` next.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxdpmm.detection.metrics import (
    ScoreTable,
    add_scores,
    area_under_pro,
    area_under_roc,
    average_precision,
    bootstrap,
    f1_at,
    f1_max,
    region_weights,
    score_table,
    threshold_at_rate,
)
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.images.reading import mask_of
from jaxdpmm.images.records import NORMAL, ImageRecord

RATES = (0.1, 0.05, 0.01)  # false positive rates that F1 and Dice are given at
PIXEL_FIGURES = ("auroc", "aupr", "aupro", "aupro_at_0.05", "f1_max")
STRICT_RATE = 0.05  # false positive rate up to which MVTec AD 2 takes the AUPRO
IMAGE_FIGURES = ("auroc", "aupr", "f1_max")
LABELS = {
    "image_auroc": "image AUROC",
    "image_aupr": "image AUPR",
    "image_f1_max": "image F1-max",
    "image_f1_at_0.1": "image F1 at 10 % FPR",
    "image_f1_at_0.05": "image F1 at 5 % FPR",
    "image_f1_at_0.01": "image F1 at 1 % FPR",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupr": "pixel AUPR",
    "pixel_aupro": "pixel AUPRO (FPR up to 30 %)",
    "pixel_aupro_at_0.05": "pixel AUPRO (FPR up to 5 %)",
    "pixel_f1_max": "pixel F1-max",
    "pixel_dice_at_0.1": "pixel Dice at 10 % FPR",
    "pixel_dice_at_0.05": "pixel Dice at 5 % FPR",
    "pixel_dice_at_0.01": "pixel Dice at 1 % FPR",
}
"""What each figure is called where people read it, in their order."""


def evaluate(
    images: Sequence[ScoredImage],
    sigma: float,
    *,
    normal: Sequence[ScoredImage] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy and time of one score on a labelled test set.

    Args:
        images: scored, each record with its label.
        sigma: smoothing of the maps that pixel figures come from.
        normal: scored normal images that are neither in the test set nor were learned from; thresholds come from them.
        seed: of the bootstrap.

    Returns:
        "image_auroc", "image_aupr", "image_f1_max"; "pixel_auroc", "pixel_aupr", "pixel_aupro", "pixel_f1_max",
        "pixel_aupro_at_0.05" (None without masks); "image_f1_at_0.1" and "pixel_dice_at_0.1", and so for each of
        `RATES`, the false positive rate among `normal` (None without them); "intervals", which holds 95 % intervals of
        the first seven, over images; "backbone_ms" and "scoring_ms", medians per image. All as JSON takes them.

    Raises:
        ValueError: labels are unknown or all alike, or a mask does not fit its image.
    """
    labels, scores = labels_of([image.record for image in images]), _scores(images)
    table, pixels = score_table(labels, scores), _pixel_table(images, sigma)
    held_out = _normal_tables(normal, sigma, with_pixels=pixels is not None)
    return {
        **_areas("image", table, IMAGE_FIGURES),
        **_areas("pixel", pixels, PIXEL_FIGURES),
        **_at_rates("image_f1", table, held_out[0]),
        **_at_rates("pixel_dice", pixels, held_out[1]),
        "intervals": _intervals(images, labels, scores, pixels, sigma, seed),
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
    """Median milliseconds per image, without the first image of each size, which pays for compilation."""
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
    mask = mask_of(record)
    if mask is None:
        return None
    if mask.shape != size:
        raise ValueError(
            f"mask must have the size of its image, {size[0]} x {size[1]}, got {record.mask_path or record.path} with "
            f"{mask.shape[0]} x {mask.shape[1]}; check that the two belong together."
        )
    return mask


def _scores(images: Sequence[ScoredImage]) -> np.ndarray:
    return np.array([image.score for image in images])


def _pixel_table(images: Sequence[ScoredImage], sigma: float) -> ScoreTable | None:
    table: ScoreTable | None = None
    if not any(_may_have_mask(image.record) for image in images):
        return None
    for mask, scores in _maps(images, sigma):
        table = add_scores(table, mask, scores, region_weights(mask))
    return table if table is not None and table.anomalous.any() else None


def _may_have_mask(record: ImageRecord) -> bool:
    return record.mask_path is not None or record.source is not None


def _maps(
    images: Sequence[ScoredImage], sigma: float
) -> Iterator[tuple[Bool[np.ndarray, "H W"], np.ndarray]]:
    """Mask and scores of the pixels of every image whose truth is known."""
    for image in images:
        mask = true_mask(image)
        if mask is not None:
            yield mask, image.pixel_scores(sigma)


def _normal_tables(
    normal: Sequence[ScoredImage], sigma: float, with_pixels: bool
) -> tuple[ScoreTable | None, ScoreTable | None]:
    """Scores of normal images, and of their pixels."""
    if not normal:
        return None, None
    scores, pixels = _scores(normal), None
    for image in normal if with_pixels else ():
        values = image.pixel_scores(sigma)
        pixels = add_scores(pixels, np.zeros(values.shape, bool), values)
    return score_table(np.zeros(scores.shape, bool), scores), pixels


def _areas(of: str, table: ScoreTable | None, names: Sequence[str]) -> dict[str, float | None]:
    measures = {
        "auroc": area_under_roc,
        "aupr": average_precision,
        "aupro": area_under_pro,
        f"aupro_at_{STRICT_RATE}": lambda table: area_under_pro(table, STRICT_RATE),
        "f1_max": lambda table: f1_max(table)[0],
    }
    return {f"{of}_{name}": None if table is None else measures[name](table) for name in names}


def _at_rates(
    name: str, table: ScoreTable | None, normal: ScoreTable | None
) -> dict[str, float | None]:
    if table is None or normal is None:
        return {f"{name}_at_{rate}": None for rate in RATES}
    return {f"{name}_at_{rate}": f1_at(table, threshold_at_rate(normal, rate)) for rate in RATES}


def _intervals(
    images: Any, labels: Any, scores: Any, pixels: Any, sigma: Any, seed: Any
) -> dict[str, tuple[float, float]]:
    counts = bootstrap.image_counts(labels, scores)
    found = bootstrap.intervals(counts, bootstrap.FIGURES, seed=seed)
    ends = {f"image_{name}": pair for name, pair in found.items()}
    if pixels is not None:
        counts = bootstrap.pixel_counts(_maps(images, sigma), bootstrap.bin_edges(pixels))
        if not counts.is_anomalous.all():
            found = bootstrap.intervals(counts, bootstrap.PIXEL_FIGURES, seed=seed)
            ends |= {f"pixel_{name}": pair for name, pair in found.items()}
    return ends
