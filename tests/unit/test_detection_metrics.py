"""AUROC and average precision against scikit-learn, exact with ties, close when coarse."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from jaxdpmm.detection.metrics import (
    ScoreTable,
    add_scores,
    area_under_roc,
    average_precision,
    merge,
    score_table,
)


def samples(num, seed, share=0.3, digits=None, shift=1.0):
    generator = np.random.default_rng(seed)
    labels = generator.random(num) < share
    labels[:2] = (False, True)
    scores = generator.normal(size=num) + shift * labels
    return labels, scores if digits is None else np.round(scores, digits)


def both(table):
    return np.array([area_under_roc(table), average_precision(table)])


def expected(labels, scores):
    return np.array([roc_auc_score(labels, scores), average_precision_score(labels, scores)])


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("num", [2, 7, 1000])
@pytest.mark.parametrize("shift", [1.0, -2.0])
def test_equals_scikit_learn(num, digits, shift):
    for seed in range(5):
        labels, scores = samples(num, seed, digits=digits, shift=shift)
        np.testing.assert_allclose(
            both(score_table(labels, scores)), expected(labels, scores), atol=1e-12
        )


def test_by_hand():
    table = score_table(np.array([0, 1, 0, 1]), np.array([0.0, 1.0, 1.0, 2.0]))
    assert table.scores.tolist() == [0, 1, 2]
    assert (table.normal.tolist(), table.anomalous.tolist()) == ([1, 1, 0], [0, 1, 1])
    assert area_under_roc(table) == 3.5 / 4
    assert average_precision(table) == (1 + 2 / 3) / 2


def test_all_scores_equal():
    table = score_table(np.array([0, 1, 0, 0]), np.full(4, 7.0))
    np.testing.assert_array_equal(both(table), [0.5, 0.25])


def test_zero_has_one_sign():
    table = score_table(np.array([0, 1]), np.array([0.0, -0.0]))
    assert table.scores.size == 1


def test_streamed_is_exact_while_it_fits():
    labels, scores = samples(3000, 0, digits=2)
    table = None
    for start in range(0, 3000, 700):
        table = add_scores(table, labels[start : start + 700], scores[start : start + 700])
    np.testing.assert_array_equal(both(table), both(score_table(labels, scores)))


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (30.0, -1000.0), (0.02, 0.3)])
@pytest.mark.parametrize("share", [0.3, 0.002])
def test_coarse_table_is_close_and_bounded(scale, offset, share):
    """Scores like log densities and like cosine distances, with common and rare anomalies."""
    labels, scores = samples(400_000, 0, share=share, shift=2.0)
    scores = (scores * scale + offset).astype(np.float32)
    table = None
    for part in np.array_split(np.arange(labels.size), 10):
        table = add_scores(table, labels[part], scores[part], max_rows=2**16)
        assert table.scores.size <= 2**16
    assert table.scores.size > 2**15
    assert int(table.normal.sum() + table.anomalous.sum()) == labels.size
    np.testing.assert_allclose(both(table), expected(labels, scores), atol=1e-4)


def test_counts_at_the_thresholds_of_a_coarse_table_are_exact():
    labels, scores = samples(5000, 0)
    table = add_scores(None, labels, scores, max_rows=64)
    found = np.cumsum(table.normal[::-1])[::-1]
    exact = [(scores[~labels] >= threshold).sum() for threshold in table.scores]
    np.testing.assert_array_equal(found, exact)
    assert np.all(np.diff(table.scores) > 0)


def test_merge_is_the_table_of_both():
    labels, scores = samples(4000, 0)
    whole = add_scores(None, labels, scores, max_rows=100)
    fine = score_table(labels[1000:], scores[1000:])
    coarse = ScoreTable(*add_scores(None, labels[:1000], scores[:1000], max_rows=100))
    merged = merge(fine, coarse)
    assert merged.dropped_bits == coarse.dropped_bits
    np.testing.assert_allclose(both(merged), both(whole), atol=0.01)
    assert int(merged.normal.sum()) == int((~labels).sum())


def test_empty_part_changes_nothing():
    labels, scores = samples(50, 0)
    table = score_table(labels, scores)
    again = add_scores(table, labels[:0], scores[:0])
    np.testing.assert_array_equal(table.scores, again.scores)
    assert score_table(labels[:0], scores[:0]).scores.size == 0


@pytest.mark.parametrize("metric", [area_under_roc, average_precision])
def test_one_class_only(metric):
    with pytest.raises(
        ValueError, match=r"both normal and anomalous samples, got 5 normal and 0 an"
    ):
        metric(score_table(np.zeros(5), np.arange(5.0)))


def test_bad_input():
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(2,\); give one label a sc"):
        score_table(np.zeros(3), np.zeros(2))
    with pytest.raises(
        ValueError, match=r"0 \(normal\) or 1 \(anomalous\), got \[0, 255\]; use mask"
    ):
        score_table(np.array([0, 255]), np.zeros(2))
    with pytest.raises(ValueError, match=r"scores must be finite, got 1 of 2 that are not"):
        score_table(np.array([0, 1]), np.array([0.0, np.nan]))
