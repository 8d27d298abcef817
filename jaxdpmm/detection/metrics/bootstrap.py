"""How sure figures are: confidence intervals from resampling whole images.

Pixels of one image go together, so images are drawn, not pixels: normal and anomalous ones apart, each as many as there
are, with replacement. A replicate is a weight an image; with counts of every image in common bins of scores, all
replicates are one matrix product. Memory is `NUM_BINS` counts an image, far less than its map.
Read `../evaluate.py` next.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from jaxdpmm.detection.metrics import curves
from jaxdpmm.detection.metrics.figures import MAX_RATE
from jaxdpmm.detection.metrics.table import ScoreTable, region_weights

NUM_REPLICATES = 1000
NUM_BINS = 2048
Figures = Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]]

FIGURES: Figures = {
    "auroc": lambda normal, anomalous, _: curves.roc_area(normal, anomalous),
    "aupr": lambda normal, anomalous, _: curves.precision_area(normal, anomalous),
    "f1_max": lambda normal, anomalous, _: curves.f1_scores(normal, anomalous).max(axis=-1),
}
PIXEL_FIGURES: Figures = {
    **FIGURES,
    "aupro": lambda normal, _, regions: curves.overlap_area(normal, regions, MAX_RATE),
}


class ImageCounts(NamedTuple):
    """Samples of each image by score, in bins that all images share.

    Attributes:
        is_anomalous: whether the image is.
        normal, anomalous: samples a bin, ascending in score.
        regions: sum of the weights of anomalous samples, see `metrics.region_weights`.
    """

    is_anomalous: Bool[np.ndarray, " I"]
    normal: Float[np.ndarray, "I T"]
    anomalous: Float[np.ndarray, "I T"]
    regions: Float[np.ndarray, "I T"]


def intervals(
    counts: ImageCounts,
    figures: Figures,
    *,
    seed: int = 0,
    level: float = 0.95,
    num_replicates: int = NUM_REPLICATES,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of figures, images drawn anew.

    Args:
        counts: of the images.
        figures: by name; each takes counts of replicates, (R, T), and returns (R,).
        seed: of the draws.
        level: probability that an interval should cover.
        num_replicates: R.

    Raises:
        ValueError: a level outside of (0, 1), or images of one kind only.

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; 0.95 is the usual one.")
    drawn = replicates(counts, num_replicates=num_replicates, seed=seed)
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {name: np.quantile(figure(*drawn), ends) for name, figure in figures.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def replicates(
    counts: ImageCounts, *, num_replicates: int = NUM_REPLICATES, seed: int = 0
) -> tuple[Float[np.ndarray, "R T"], Float[np.ndarray, "R T"], Float[np.ndarray, "R T"]]:
    """Normal and anomalous samples and weights of regions per bin, of images drawn anew.

    Args:
        counts: of the images.
        num_replicates: R.
        seed: of the draws.

    Raises:
        ValueError: images of one kind only.
    """
    if counts.is_anomalous.all() or not counts.is_anomalous.any():
        raise ValueError(
            "counts must hold normal and anomalous images, got one kind only; evaluate on a test set with both."
        )
    weights = _draws(counts.is_anomalous, num_replicates, seed)
    return weights @ counts.normal, weights @ counts.anomalous, weights @ counts.regions


def image_counts(labels: Bool[np.ndarray, " I"], scores: Float[np.ndarray, " I"]) -> ImageCounts:
    """Counts where an image is one sample: its label and its score."""
    places = np.unique(scores, return_inverse=True)[1]
    one_hot = np.zeros((len(scores), places.max() + 1), np.float32)
    one_hot[np.arange(len(scores)), places] = 1
    zero = np.zeros_like(one_hot)
    normal, anomalous = (np.where(kind[:, None], one_hot, zero) for kind in (~labels, labels))
    return ImageCounts(labels, normal, anomalous, zero)


def pixel_counts(
    maps: Iterable[tuple[Bool[np.ndarray, "H W"], Float[np.ndarray, "H W"]]],
    edges: Float[np.ndarray, " T"],
) -> ImageCounts:
    """Counts of the pixels of each image; an image is anomalous when a pixel of its mask is.

    Args:
        maps: mask and scores of each image.
        edges: lower edges of the bins, ascending, from `bin_edges`.
    """
    rows = [_counts_of(mask, scores, edges) for mask, scores in maps]
    normal, anomalous, regions = (
        np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)
    )
    return ImageCounts(np.asarray(anomalous.any(axis=1)), normal, anomalous, regions)


def bin_edges(table: ScoreTable, num_bins: int = NUM_BINS) -> Float[np.ndarray, " T"]:
    """Edges of at most `num_bins` bins, dense where curves bend.

    A third each at even shares of the anomalous samples, at even shares of the normal ones, and at shares of the normal
    ones that halve towards the highest scores, where precision is decided.
    """
    number = num_bins // 3
    even = np.linspace(0, 1, number, endpoint=False)
    halving = 2.0 ** -np.linspace(1, 30, number)
    edges = [
        _at_shares(table.scores, counts, shares)
        for counts, shares in (
            (table.anomalous, even),
            (table.normal, even),
            (table.normal, 1 - halving),
        )
    ]
    return np.unique(np.concatenate([table.scores[:1], *edges]))


def _at_shares(scores: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    below = np.cumsum(counts) / counts.sum()
    return scores[np.minimum(np.searchsorted(below, shares), len(scores) - 1)]


def _counts_of(
    mask: np.ndarray, scores: np.ndarray, edges: np.ndarray
) -> tuple[Shaped[np.ndarray, " T"], ...]:
    bins = np.maximum(np.searchsorted(edges, scores.reshape(-1), side="right") - 1, 0)
    inside = mask.reshape(-1)
    weights = (None, None, region_weights(mask).reshape(-1)[inside])
    parts = (bins[~inside], bins[inside], bins[inside])
    return tuple(
        np.bincount(part, weight, minlength=len(edges))
        for part, weight in zip(parts, weights, strict=True)
    )


def _draws(is_anomalous: np.ndarray, num_replicates: int, seed: int) -> Float[np.ndarray, "R I"]:
    """How often each image is drawn in each replicate."""
    random = np.random.default_rng(seed)
    weights = np.zeros((num_replicates, len(is_anomalous)), np.float32)
    for kind in (False, True):
        members = np.flatnonzero(is_anomalous == kind)
        even = np.full(len(members), 1 / len(members))
        weights[:, members] = random.multinomial(len(members), even, size=num_replicates)
    return weights
