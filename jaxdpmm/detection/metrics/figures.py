"""How well scores tell anomalous from normal, of images or pixels: AUROC, AUPR, AUPRO, F1 and Dice.

All are figures of a `ScoreTable`. Read `bootstrap.py` next.
"""

import numpy as np

from jaxdpmm.detection.metrics import curves
from jaxdpmm.detection.metrics.table import ScoreTable, upper_edge

MAX_RATE = 0.3  # false positive rate where AUPRO stops


def area_under_roc(table: ScoreTable) -> float:
    """Probability that an anomalous sample scores higher than a normal one, ties counting half.

    Equals the area under the ROC curve with straight lines between thresholds. On a coarse table
    the error is at most half the probability that both fall into one row.

    Raises:
        ValueError: all samples are normal, or all anomalous.
    """
    _check_both_classes(table)
    return float(curves.roc_area(table.normal, table.anomalous))


def average_precision(table: ScoreTable) -> float:
    """AUPR as the mean precision over anomalous samples: sum_t (R_t - R_{t-1}) P_t.

    One step for all samples of equal score, no interpolation, as in scikit-learn.

    Raises:
        ValueError: all samples are normal, or all anomalous.
    """
    _check_both_classes(table)
    return float(curves.precision_area(table.normal, table.anomalous))


def area_under_pro(table: ScoreTable, max_rate: float = MAX_RATE) -> float:
    """AUPRO: overlap with each true region, averaged over regions, against the false positive rate.

    The area up to `max_rate`, divided by it, so that 1 is perfect.

    Args:
        table: of pixels, with `regions`.
        max_rate: false positive rate where to stop.

    Raises:
        ValueError: all samples are normal, or all anomalous, or the table has no regions.

    References:
        Bergmann et al. (2021), The MVTec Anomaly Detection Dataset. IJCV, section 5.1.
    """
    _check_both_classes(table)
    if not table.regions.any():
        raise ValueError(
            "table must hold the weights of regions for AUPRO, got none; give region_weights(mask) "
            "to add_scores."
        )
    return float(curves.overlap_area(table.normal, table.regions, max_rate))


def f1_max(table: ScoreTable) -> tuple[float, float]:
    """Largest F1 over all thresholds, and the threshold (samples of at least that score) that gives it.

    It needs anomalous samples to be found and is no threshold to use; see `../calibration.py`.

    Raises:
        ValueError: all samples are normal, or all anomalous.
    """
    _check_both_classes(table)
    values = curves.f1_scores(table.normal, table.anomalous)
    best = int(np.argmax(values))
    return float(values[best]), float(table.scores[best])


def f1_at(table: ScoreTable, threshold: float) -> float:
    """F1 when samples that score at least `threshold` are called anomalous; of pixels, the Dice coefficient.

    2 TP / (2 TP + FP + FN) over all samples together.

    Raises:
        ValueError: all samples are normal, or all anomalous.
    """
    _check_both_classes(table)
    row = int(np.searchsorted(table.scores, threshold))
    if row == table.scores.size:
        return 0.0
    return float(curves.f1_scores(table.normal, table.anomalous)[row])


def threshold_at_rate(table: ScoreTable, rate: float) -> float:
    """Lowest threshold at which at most a share `rate` of the normal samples of a table is called anomalous.

    Args:
        table: normal samples; anomalous ones in it are not looked at.
        rate: false positive rate, in (0, 1).

    Raises:
        ValueError: no normal samples, or a rate outside of (0, 1).
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate}; 0.05 is a usual choice.")
    num_normal = int(table.normal.sum())
    if num_normal == 0:
        raise ValueError("table must hold normal samples, got none; add scores of normal images.")
    kept = np.flatnonzero(table.normal)
    called = curves.at_least(table.normal)[kept]
    rows = kept[called <= rate * num_normal]
    return float(table.scores[rows[0]]) if rows.size else upper_edge(table)


def _check_both_classes(table: ScoreTable) -> None:
    num_normal, num_anomalous = int(table.normal.sum()), int(table.anomalous.sum())
    if num_normal == 0 or num_anomalous == 0:
        raise ValueError(
            f"labels must hold both normal and anomalous samples, got {num_normal} normal and "
            f"{num_anomalous} anomalous; evaluate on a test set that has both."
        )
