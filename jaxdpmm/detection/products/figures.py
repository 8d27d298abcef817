"""How well several products are told apart and checked: figures of each product, and which is taken for which.

Read `../evaluate.py` first, whose figures these are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdpmm.detection.evaluate import evaluate, labels_of
from jaxdpmm.detection.products.detector import RATE, ProductDetector, ProductImage
from jaxdpmm.images.mask_checks import check_masks
from jaxdpmm.images.records import NORMAL, DataSet

NONE = "none of these"


def evaluate_products(
    detector: ProductDetector,
    data: Mapping[str, DataSet],
    *,
    rate: float = RATE,
    strict: bool = False,
    progress: bool = False,
) -> tuple[dict[str, Any], list[ProductImage]]:
    """Figures on labelled images of several products, none of which is told to the detector.

    Args:
        detector: fitted.
        data: of each product; images of a product that the detector does not know should be of none.
        rate: how often an image of a product may be said to be of none.
        strict: an image that cannot be read is an error.
        progress: show bars on standard error.

    Returns:
        "products", figures as of `evaluate` for each that the detector knows, of scores as they come, right product or
        not; "confusion", of each true product how many normal and anomalous images are taken for which, and for none;
        "share_right" and "share_none", of normal images of known products; "rate" and "num_test". And the images.

    Raises:
        ValueError: labels of a product are unknown or all alike, or a mask does not fit its image.
    """
    for part in data.values():
        labels_of(part.test)
        check_masks(part.test)
    images: dict[str, list[ProductImage]] = {}
    for name, part in data.items():
        options: dict[str, Any] = {"strict": strict, "progress": name if progress else None}
        images[name] = list(detector.score(part.test, rate=rate, batch_size=1, **options))
    known = [name for name in data if name in detector.products]
    right = [
        (one.route.product == name, one.route.product is None)
        for name in known
        for one in images[name]
        if one.scored.record.label == NORMAL
    ]
    shares = np.mean(right, axis=0) if right else np.full(2, np.nan)
    figures = {
        "products": {name: _figures(detector, images[name]) for name in known},
        "confusion": {name: _confusion(detector, found) for name, found in images.items()},
        "share_right": float(shares[0]) if right else None,
        "share_none": float(shares[1]) if right else None,
        "rate": rate,
        "num_test": sum(map(len, images.values())),
    }
    return figures, [one for found in images.values() for one in found]


def confusion_rows(
    confusion: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """The confusion as a table: names of the columns, and each row with its label."""
    rows = [
        (f"{name}, {label}", list(counts.values()))
        for name, parts in confusion.items()
        for label, counts in parts.items()
    ]
    first = next(iter(confusion.values()))
    return list(first["normal"]), rows


def _figures(detector: ProductDetector, images: Sequence[ProductImage]) -> dict[str, Any]:
    scored = [one.scored for one in images]
    return evaluate(scored, detector.config.sigma, seed=detector.config.seed)


def _confusion(
    detector: ProductDetector, images: Sequence[ProductImage]
) -> dict[str, dict[str, int]]:
    """How many images are taken for each product, and for none, of the normal and of the anomalous ones."""
    counts: dict[str, Counter[str]] = {"normal": Counter(), "anomalous": Counter()}
    for one in images:
        label = "normal" if one.scored.record.label == NORMAL else "anomalous"
        counts[label][one.route.product or NONE] += 1
    names = [*detector.products, NONE]
    return {label: {name: found[name] for name in names} for label, found in counts.items()}
