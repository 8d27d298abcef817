"""Areas under curves, and F1, from counts of samples by ascending score: plain NumPy on the last axis.

Every function takes counts of shape (..., T), one per row of a `table.ScoreTable`, and returns (...): leading axes are
the replicates of `bootstrap.py`. Nothing is checked here; read `figures.py` next, whose functions are for everyone.
"""

import numpy as np
from jaxtyping import Float, Num, Shaped

Counts = Num[np.ndarray, "... T"]


def roc_area(normal: Counts, anomalous: Counts) -> Float[np.ndarray, "..."]:
    """Area under the ROC curve, ties counting half: sum_t a_t (n_{<t} + n_t / 2) / (A N)."""
    normal, anomalous = normal.astype(np.float64), anomalous.astype(np.float64)
    wins = np.sum(anomalous * (np.cumsum(normal, axis=-1) - normal / 2), axis=-1)
    return np.asarray(wins / (normal.sum(axis=-1) * anomalous.sum(axis=-1)))


def precision_area(normal: Counts, anomalous: Counts) -> Float[np.ndarray, "..."]:
    """Average precision, sum_t a_t P_t / A with P_t the precision among samples that score at least t."""
    found, wrong = at_least(anomalous), at_least(normal)
    precision = found / np.maximum(found + wrong, np.finfo(float).tiny)
    return np.asarray(np.sum(anomalous * precision, axis=-1) / anomalous.sum(axis=-1))


def f1_scores(normal: Counts, anomalous: Counts) -> Float[np.ndarray, "... T"]:
    """F1, of pixels the Dice coefficient, when samples from a row on are called anomalous: 2 TP / (A + called)."""
    found, wrong = at_least(anomalous), at_least(normal)
    total = anomalous.sum(axis=-1, keepdims=True)
    return 2 * found / (total + found + wrong)


def overlap_area(normal: Counts, regions: Counts, max_rate: float) -> Float[np.ndarray, "..."]:
    """Area under per-region overlap against false positive rate up to `max_rate`, divided by `max_rate`.

    Straight lines between thresholds, from the origin on; the segment that crosses `max_rate` is cut.

    Args:
        normal: normal samples a row.
        regions: sum over anomalous samples of one over the size of their region, a row.
        max_rate: where to stop, in (0, 1].
    """
    rate, overlap = (shares_from_origin(counts) for counts in (normal, regions))
    begin, end = rate[..., :-1], rate[..., 1:]
    width = end - begin
    inside = np.clip(max_rate - begin, 0, width)
    part = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    low = overlap[..., :-1]
    high = low + part * (overlap[..., 1:] - low)
    return np.asarray(np.sum(inside * (low + high) / 2, axis=-1) / max_rate)


def at_least(counts: Counts) -> Shaped[np.ndarray, "... T"]:
    """Number of samples in a row and all rows of higher scores."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def shares_from_origin(counts: Counts) -> Float[np.ndarray, "... rows"]:
    """Shares of samples that score at least a threshold, from none to all as it falls."""
    shares = np.cumsum(counts[..., ::-1], axis=-1) / counts.sum(axis=-1, keepdims=True)
    return np.concatenate([np.zeros_like(shares[..., :1]), shares], axis=-1)
