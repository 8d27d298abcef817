"""Distinct scores with how many normal and anomalous samples have each: all that a metric needs.

A table is exact for as long as it is small; beyond a given size it keeps fewer digits of the scores, so the pixels of
any number of images fit into bounded memory. That holds for AUPRO too: the overlap averaged over regions is the share
of anomalous pixels found when each weighs one over the size of its region, so a table with those weights summed a row
is all it needs. Read `figures.py` next.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int, Shaped

MAX_ROWS = 2**18  # 8 MB; a table just made coarser keeps at least half of it


class ScoreTable(NamedTuple):
    """Distinct scores and how often each was seen.

    Attributes:
        scores: ascending. Of a coarse table, the lower edge of the range that a row stands for, so
            that counts of samples with at least this score are exact.
        normal: number of normal samples a row.
        anomalous: number of anomalous samples a row.
        regions: sum of the weights of the anomalous samples a row; zeros where none were given.
        dropped_bits: how many of the last bits of a float64 score are ignored.
    """

    scores: Float[np.ndarray, " T"]
    normal: Int[np.ndarray, " T"]
    anomalous: Int[np.ndarray, " T"]
    regions: Float[np.ndarray, " T"]
    dropped_bits: int = 0


def score_table(
    labels: Shaped[np.ndarray, "..."],
    scores: Float[np.ndarray, "..."],
    regions: Float[np.ndarray, "..."] | None = None,
) -> ScoreTable:
    """Exact table of labelled scores, for example one of each image.

    Args:
        labels: 1 or True for anomalous, 0 or False for normal.
        scores: anomaly scores of the same shape, larger for more abnormal.
        regions: weights of the same shape, from `region_weights`; needed for AUPRO only.

    Raises:
        ValueError: shapes differ, a label is neither 0 nor 1, or a score is not finite.
    """
    anomalous, values = _checked(labels, scores)
    weights = np.zeros(values.shape) if regions is None else np.asarray(regions, float).reshape(-1)
    return _tabulate(_ordered_bits(values), (~anomalous, anomalous, weights), 0)


def add_scores(
    table: ScoreTable | None,
    labels: Shaped[np.ndarray, "..."],
    scores: Float[np.ndarray, "..."],
    regions: Float[np.ndarray, "..."] | None = None,
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
        regions: as in `score_table`.
        max_rows: largest number of rows to keep.

    Raises:
        ValueError: see `score_table`.
    """
    added = score_table(labels, scores, regions)
    return _coarsened(added if table is None else merge(table, added), max_rows)


def merge(first: ScoreTable, second: ScoreTable) -> ScoreTable:
    """Table of the samples of both, as coarse as the coarser one."""
    dropped_bits = max(first.dropped_bits, second.dropped_bits)
    keys = np.concatenate([_ordered_bits(first.scores), _ordered_bits(second.scores)])
    columns = tuple(np.concatenate(pair) for pair in zip(first[1:4], second[1:4], strict=True))
    return _tabulate(keys, columns, dropped_bits)


def region_weights(mask: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """One over the size of the connected region a pixel belongs to, 0 outside of all.

    Pixels that touch at a corner are connected, as in the evaluation code of MVTec AD.
    """
    labels, num_regions = scipy.ndimage.label(mask, np.ones((3, 3), int))
    sizes = np.bincount(labels.reshape(-1), minlength=num_regions + 1).astype(float)
    sizes[0] = np.inf  # the background
    return (1 / sizes)[labels]


def upper_edge(table: ScoreTable) -> float:
    """Lowest score beyond all that a table, of at least one row, has counted."""
    last = _ordered_bits(table.scores[-1:]) + np.int64(2**table.dropped_bits)
    return float(_from_ordered_bits(last)[0])


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


def _ordered_bits(scores: Float[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    """Bits of float64 numbers as integers of the same order (negative ones run backwards)."""
    bits = (scores + 0.0).view(np.int64)  # + 0.0 makes -0.0 equal to 0.0
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def _from_ordered_bits(bits: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits).view(np.float64)


def _tabulate(
    keys: Int[np.ndarray, " T"], columns: tuple[np.ndarray, ...], dropped_bits: int
) -> ScoreTable:
    """Table with one row for each distinct key after dropping its last bits."""
    order = np.argsort(keys, kind="stable")
    keys = (keys[order] >> dropped_bits) << dropped_bits
    starts = np.flatnonzero(_is_first(keys))
    if not starts.size:
        nothing = np.zeros(0, np.int64)
        return ScoreTable(np.zeros(0), nothing, nothing, np.zeros(0), dropped_bits)
    normal, anomalous, regions = (
        np.add.reduceat(column[order], starts, dtype=kind)
        for column, kind in zip(columns, (np.int64, np.int64, np.float64), strict=True)
    )
    scores = _from_ordered_bits(keys[starts])
    return ScoreTable(scores, normal, anomalous, regions, dropped_bits)


def _coarsened(table: ScoreTable, max_rows: int) -> ScoreTable:
    if table.scores.size <= max_rows:
        return table
    keys, dropped_bits = _ordered_bits(table.scores), table.dropped_bits
    while np.count_nonzero(_is_first(keys >> dropped_bits)) > max_rows:
        dropped_bits += 1
    return _tabulate(keys, table[1:4], dropped_bits)


def _is_first(keys: Int[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
    """Whether a sorted key differs from the one before."""
    return np.concatenate([np.ones(keys[:1].shape, bool), keys[1:] != keys[:-1]])
