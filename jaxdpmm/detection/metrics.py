"""How well scores tell anomalous from normal: AUROC and average precision, of images or pixels.

Everything is computed from a `ScoreTable`: the distinct scores with how many normal and anomalous
samples have each. A table is exact for as long as it is small; beyond a given size it keeps fewer
digits of the scores, so the pixels of any number of images fit into bounded memory. Measures at a
threshold (F1, Dice at a false positive rate) are further functions of a table; measures of
connected regions (AUPRO) are not, they need the masks.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

MAX_ROWS = 2**18  # 6 MB; a table just made coarser keeps at least half of it


class ScoreTable(NamedTuple):
    """Distinct scores and how often each was seen.

    Attributes:
        scores: ascending. Of a coarse table, the lower edge of the range that a row stands for, so
            that counts of samples with at least this score are exact.
        normal: number of normal samples a row.
        anomalous: number of anomalous samples a row.
        dropped_bits: how many of the last bits of a float64 score are ignored.
    """

    scores: Float[np.ndarray, " T"]
    normal: Int[np.ndarray, " T"]
    anomalous: Int[np.ndarray, " T"]
    dropped_bits: int = 0


def score_table(labels: Shaped[np.ndarray, "..."], scores: Float[np.ndarray, "..."]) -> ScoreTable:
    """Exact table of labelled scores, for example one of each image.

    Args:
        labels: 1 or True for anomalous, 0 or False for normal.
        scores: anomaly scores of the same shape, larger for more abnormal.

    Raises:
        ValueError: shapes differ, a label is neither 0 nor 1, or a score is not finite.
    """
    anomalous, values = _checked(labels, scores)
    return _tabulate(_ordered_bits(values), ~anomalous, anomalous, 0)


def add_scores(
    table: ScoreTable | None,
    labels: Shaped[np.ndarray, "..."],
    scores: Float[np.ndarray, "..."],
    max_rows: int = MAX_ROWS,
) -> ScoreTable:
    """Table with further samples counted, for example the pixels of one more image.

    Memory and time a call are bounded by `max_rows` and the size of the call. When there are more
    distinct scores, last bits of all scores are dropped until they fit. Rows halve at most with a
    bit, so a full table keeps at least `max_rows / 2` of them.

    Args:
        table: what was counted so far, None at the start.
        labels: as in `score_table`.
        scores: as in `score_table`.
        max_rows: largest number of rows to keep.

    Raises:
        ValueError: see `score_table`.
    """
    added = score_table(labels, scores)
    return _coarsened(added if table is None else merge(table, added), max_rows)


def merge(first: ScoreTable, second: ScoreTable) -> ScoreTable:
    """Table of the samples of both, as coarse as the coarser one."""
    dropped_bits = max(first.dropped_bits, second.dropped_bits)
    keys = np.concatenate([_ordered_bits(first.scores), _ordered_bits(second.scores)])
    return _tabulate(
        keys,
        np.concatenate([first.normal, second.normal]),
        np.concatenate([first.anomalous, second.anomalous]),
        dropped_bits,
    )


def area_under_roc(table: ScoreTable) -> float:
    """Probability that an anomalous sample scores higher than a normal one, ties counting half.

    Equals the area under the ROC curve with straight lines between thresholds. On a coarse table
    the error is at most half the probability that both fall into one row.

    Raises:
        ValueError: all samples are normal, or all anomalous.
    """
    num_normal, num_anomalous = _both_classes(table)
    normal_below = np.cumsum(table.normal) - table.normal
    # Integers up to num_normal * num_anomalous overflow 64 bits only beyond 3e9 samples each.
    twice_wins = np.sum(table.anomalous * (2 * normal_below + table.normal), dtype=np.float64)
    return float(twice_wins / (2.0 * num_normal * num_anomalous))


def average_precision(table: ScoreTable) -> float:
    """AUPR as the mean precision over anomalous samples: sum_t (R_t - R_{t-1}) P_t.

    One step for all samples of equal score, no interpolation, as in scikit-learn.

    Raises:
        ValueError: all samples are normal, or all anomalous.
    """
    _, num_anomalous = _both_classes(table)
    found = np.cumsum(table.anomalous[::-1])
    precision = found / (found + np.cumsum(table.normal[::-1]))
    return float(np.sum(table.anomalous[::-1] * precision) / num_anomalous)


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.shape != scores.shape:
        raise ValueError(
            f"labels and scores must have one shape, got {labels.shape} and {scores.shape}; "
            "give one label a score."
        )
    if labels.dtype != np.bool_ and not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"labels must be 0 (normal) or 1 (anomalous), got {np.unique(labels)[:5].tolist()}; "
            "use mask > 0 where masks hold grey levels."
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be finite, got {int((~np.isfinite(scores)).sum())} of {scores.size} that "
            "are not; look at the features of these samples."
        )
    return labels.reshape(-1).astype(bool), scores.reshape(-1).astype(np.float64)


def _both_classes(table: ScoreTable) -> tuple[int, int]:
    num_normal, num_anomalous = int(table.normal.sum()), int(table.anomalous.sum())
    if num_normal == 0 or num_anomalous == 0:
        raise ValueError(
            f"labels must hold both normal and anomalous samples, got {num_normal} normal and "
            f"{num_anomalous} anomalous; evaluate on a test set that has both."
        )
    return num_normal, num_anomalous


def _ordered_bits(scores: Float[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    """Bits of float64 numbers as integers of the same order (negative ones run backwards)."""
    bits = (scores + 0.0).view(np.int64)  # + 0.0 makes -0.0 equal to 0.0
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def _from_ordered_bits(bits: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits).view(np.float64)


def _tabulate(
    keys: Int[np.ndarray, " T"], normal: np.ndarray, anomalous: np.ndarray, dropped_bits: int
) -> ScoreTable:
    """Table with one row for each distinct key after dropping its last bits."""
    order = np.argsort(keys, kind="stable")
    keys = (keys[order] >> dropped_bits) << dropped_bits
    starts = np.flatnonzero(_is_first(keys))
    if not starts.size:
        return ScoreTable(np.zeros(0), np.zeros(0, int), np.zeros(0, int), dropped_bits)
    counts = [np.add.reduceat(each[order], starts, dtype=np.int64) for each in (normal, anomalous)]
    return ScoreTable(_from_ordered_bits(keys[starts]), counts[0], counts[1], dropped_bits)


def _coarsened(table: ScoreTable, max_rows: int) -> ScoreTable:
    if table.scores.size <= max_rows:
        return table
    keys, dropped_bits = _ordered_bits(table.scores), table.dropped_bits
    while np.count_nonzero(_is_first(keys >> dropped_bits)) > max_rows:
        dropped_bits += 1
    return _tabulate(keys, table.normal, table.anomalous, dropped_bits)


def _is_first(keys: Int[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
    """Whether a sorted key differs from the one before."""
    return np.concatenate([np.ones(keys[:1].shape, bool), keys[1:] != keys[:-1]])
