"""Pictures of scores with labels: histograms with thresholds, ROC and precision-recall curves with intervals.

Bands and intervals come from the bootstrap over images of `../detection/metrics/bootstrap.py`: 95 %, pointwise.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from jaxdpmm.detection.metrics import curves
from jaxdpmm.detection.metrics.bootstrap import FIGURES, image_counts, intervals, replicates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVEL = 0.95
_PLACES = np.linspace(0, 1, 101)
_KINDS = {"normal": False, "anomalous": True}


def draw_histogram(
    axes: "Axes",
    scores: Float[np.ndarray, " I"],
    labels: Shaped[np.ndarray, " I"] | None = None,
    thresholds: Mapping[str, float] | None = None,
    num_bins: int = 40,
) -> "Axes":
    """Axes with a histogram of scores for each kind of image, and a vertical line at each threshold.

    Args:
        axes: to draw into.
        scores: one per image.
        labels: 1 or True for anomalous, 0 or False for normal; None where they are not known.
        thresholds: scores from which on images are called anomalous, by the name that the legend gives them.
        num_bins: the same for all kinds.
    """
    edges = np.histogram_bin_edges(scores, num_bins).tolist()
    kinds = {"images": scores}
    if labels is not None:
        marked = np.asarray(labels).astype(bool)
        kinds = {name: scores[marked == kind] for name, kind in _KINDS.items()}
    for number, (name, values) in enumerate(kinds.items()):
        axes.hist(values, edges, alpha=0.6, color=f"C{number}", label=name)
    for number, (name, threshold) in enumerate((thresholds or {}).items(), start=len(kinds)):
        axes.axvline(threshold, color=f"C{number}", linestyle="--", label=name)
    axes.set(xlabel="anomaly score", ylabel="images")
    axes.legend()
    return axes


def draw_roc(
    axes: "Axes",
    labels: Shaped[np.ndarray, " I"],
    scores: Float[np.ndarray, " I"],
    name: str = "",
    seed: int = 0,
) -> "Axes":
    """Axes with the share of anomalous images that are found against the share of normal ones called anomalous.

    Args:
        axes: to draw into.
        labels: 1 or True for anomalous, 0 or False for normal.
        scores: one per image.
        name: of the method, for the legend.
        seed: of the draws behind the band.

    Raises:
        ValueError: images of one kind only.
    """
    _draw_curve(axes, _ROC, labels, scores, name, seed)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    return axes


def draw_precision_recall(
    axes: "Axes",
    labels: Shaped[np.ndarray, " I"],
    scores: Float[np.ndarray, " I"],
    name: str = "",
    seed: int = 0,
) -> "Axes":
    """Axes with precision against recall, in steps as average precision counts them.

    Args:
        axes: to draw into.
        labels: 1 or True for anomalous, 0 or False for normal.
        scores: one per image.
        name: of the method, for the legend.
        seed: of the draws behind the band.

    Raises:
        ValueError: images of one kind only.
    """
    _draw_curve(axes, _PRECISION, labels, scores, name, seed)
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    return axes


def _roc(normal: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, from the highest threshold to the lowest."""
    return curves.shares_from_origin(normal), curves.shares_from_origin(anomalous)


def _rate_at_places(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Heights at even places, on straight lines between thresholds."""
    return np.interp(_PLACES, across, up)


def _precision(normal: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, from the highest threshold to the lowest; recall 0 has the precision of the highest."""
    found, called = (counts[::-1].cumsum() for counts in (anomalous, normal + anomalous))
    precision = found[called > 0] / called[called > 0]
    recall = found[called > 0] / found[-1]
    return np.append(0.0, recall), np.append(precision[:1], precision)


def _precision_at_places(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Heights at even places, each that of the highest threshold which finds so many."""
    return up[np.minimum(np.searchsorted(across, _PLACES), len(up) - 1)]


class _Curve(NamedTuple):
    """How a curve is made of counts by ascending score, and drawn.

    Attributes:
        of: the curve, of normal and anomalous counts.
        at_places: its heights at `_PLACES`.
        figure: its area among `bootstrap.FIGURES`.
        drawstyle: of matplotlib, such that the area below the line is that figure.
    """

    of: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    at_places: Callable[[np.ndarray, np.ndarray], np.ndarray]
    figure: str
    drawstyle: str


_ROC = _Curve(_roc, _rate_at_places, "auroc", "default")
_PRECISION = _Curve(_precision, _precision_at_places, "aupr", "steps-pre")


def _draw_curve(
    axes: "Axes", curve: _Curve, labels: np.ndarray, scores: np.ndarray, name: str, seed: int
) -> None:
    """A curve of all images, the band of its replicates, and its area with an interval in the legend."""
    counts = image_counts(np.asarray(labels).astype(bool), np.asarray(scores, np.float64))
    low, high = intervals(counts, FIGURES, seed=seed, level=_LEVEL)[curve.figure]
    everything = counts.normal.sum(axis=0), counts.anomalous.sum(axis=0)
    area = float(FIGURES[curve.figure](*everything, everything[0]))
    label = f"{name} {curve.figure.upper()} {area:.3f} ({low:.3f} to {high:.3f})".strip()
    (line,) = axes.plot(*curve.of(*everything), drawstyle=curve.drawstyle, label=label)
    normal, anomalous, _ = replicates(counts, seed=seed)
    found = [curve.at_places(*curve.of(*pair)) for pair in zip(normal, anomalous, strict=True)]
    ends = np.quantile(found, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    axes.fill_between(_PLACES, *ends, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.legend()
