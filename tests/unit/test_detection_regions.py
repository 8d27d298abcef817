"""AUPRO against the definition written out, F1 and Dice against scikit-learn, intervals against theory."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve, roc_auc_score

from jaxdpmm.detection.metrics import (
    add_scores,
    area_under_pro,
    area_under_roc,
    bootstrap,
    f1_at,
    f1_max,
    region_weights,
    score_table,
    threshold_at_rate,
)


def regions_of(mask):
    """Connected regions by flood fill, neighbours at corners included: sets of pixels."""
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    found = []
    while left:
        front, region = [left.pop()], set()
        while front:
            row, column = front.pop()
            region.add((row, column))
            around = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= around
            front.extend(around)
        found.append(sorted(region))
    return found


def aupro_by_definition(masks, maps, max_rate):
    """Every threshold, every region: mean overlap against false positive rate, straight lines between."""
    normal = np.concatenate([scores[~mask] for mask, scores in zip(masks, maps, strict=True)])
    regions = [
        np.array([scores[pixel] for pixel in region])
        for mask, scores in zip(masks, maps, strict=True)
        for region in regions_of(mask)
    ]
    thresholds = np.unique(np.concatenate([scores.ravel() for scores in maps]))[::-1]
    rates = np.array([0.0] + [np.mean(normal >= t) for t in thresholds])
    overlaps = np.array([0.0] + [np.mean([np.mean(r >= t) for r in regions]) for t in thresholds])
    inside = rates <= max_rate
    last = np.interp(max_rate, rates, overlaps)
    x, y = np.append(rates[inside], max_rate), np.append(overlaps[inside], last)
    return np.trapezoid(y, x) / max_rate


def pictures(seed, side=24, number=3):
    random = np.random.default_rng(seed)
    masks = np.zeros((number, side, side), bool)
    masks[0, 2:9, 3:8] = masks[0, 9:12, 8:12] = masks[1, 15:17, :5] = masks[1, 0, 0] = True
    maps = random.normal(size=masks.shape) + 1.5 * masks
    return masks, maps


def pixel_table(masks, maps, **options):
    table = None
    for mask, scores in zip(masks, maps, strict=True):
        table = add_scores(table, mask, scores, region_weights(mask), **options)
    return table


def test_regions_touch_at_corners():
    masks, _ = pictures(0)
    weights = region_weights(masks[0])
    assert np.count_nonzero(weights == 1 / 47) == 47  # 35 and 12 pixels that touch at a corner
    assert weights.sum() == pytest.approx(len(regions_of(masks[0])))
    assert region_weights(masks[1]).sum() == pytest.approx(2)
    assert not region_weights(masks[2]).any()


@pytest.mark.parametrize("max_rate", [0.3, 0.05, 1.0])
@pytest.mark.parametrize("digits", [6, 1])
def test_aupro_equals_its_definition(max_rate, digits):
    masks, maps = pictures(1)
    maps = maps.round(digits)
    found = area_under_pro(pixel_table(masks, maps), max_rate)
    assert found == pytest.approx(aupro_by_definition(masks, maps, max_rate), abs=1e-12)


def test_aupro_of_a_coarse_table_is_close():
    random = np.random.default_rng(0)
    masks = np.zeros((4, 300, 300), bool)
    for mask in masks[:3]:
        for _ in range(4):
            top, left = random.integers(0, 280, 2)
            mask[top : top + random.integers(3, 20), left : left + random.integers(3, 20)] = True
    maps = (random.normal(size=masks.shape) + 2 * masks).astype(np.float32)
    exact, coarse = (
        pixel_table(masks, maps, max_rows=10**7),
        pixel_table(masks, maps, max_rows=2**16),
    )
    assert exact.dropped_bits == 0 < coarse.dropped_bits
    assert area_under_pro(coarse) == pytest.approx(area_under_pro(exact), abs=1e-4)


def test_aupro_by_hand():
    """One region found whole before any false alarm: 1. Found after all of them: only the end counts."""
    labels = np.array([0, 0, 0, 1])
    table = score_table(labels, np.array([0.0, 1, 2, 3]), np.array([0, 0, 0, 1.0]))
    assert area_under_pro(table) == 1
    last = score_table(labels, np.array([3.0, 2, 1, 0]), np.array([0, 0, 0, 1.0]))
    assert area_under_pro(last) == 0
    with pytest.raises(ValueError, match="must hold the weights of regions for AUPRO, got none"):
        area_under_pro(score_table(labels, np.arange(4.0)))


@pytest.mark.parametrize("digits", [8, 1])
def test_f1_equals_scikit_learn(digits):
    random = np.random.default_rng(2)
    labels = random.random(500) < 0.2
    scores = (random.normal(size=500) + labels).round(digits)
    table = score_table(labels, scores)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    value, threshold = f1_max(table)
    assert value == pytest.approx(f1.max(), abs=1e-12)
    assert threshold == thresholds[np.argmax(f1)]
    for level in (-0.3, 0.512345, 1.7):
        assert f1_at(table, level) == pytest.approx(f1_score(labels, scores >= level), abs=1e-12)
    assert f1_at(table, 99.0) == 0


def test_threshold_keeps_the_rate_on_its_own_scores():
    scores = np.random.default_rng(3).normal(size=1000).round(2)
    table = score_table(np.zeros(1000, bool), scores)
    for rate in (0.1, 0.05, 0.01, 0.0005):
        threshold = threshold_at_rate(table, rate)
        assert np.mean(scores >= threshold) <= rate
        lower = np.max(scores[scores < threshold])
        assert np.mean(scores >= lower) > rate
    with pytest.raises(ValueError, match=r"rate must be between 0 and 1, got 10; 0\.05 is"):
        threshold_at_rate(table, 10)
    with pytest.raises(ValueError, match="must hold normal samples, got none"):
        threshold_at_rate(score_table(np.ones(3), np.arange(3.0)), 0.1)


def image_scores(random, num=40):
    labels = np.arange(num) < num // 2
    return labels, random.normal(size=num) + labels


def test_replicates_of_images_equal_scikit_learn():
    """Weights of a replicate say the same as its images written out."""
    labels, scores = image_scores(np.random.default_rng(4))
    counts = bootstrap.image_counts(labels, scores)
    drawn = np.concatenate([np.arange(0, 10).repeat(2), np.arange(20, 40)])
    weights = np.bincount(drawn, minlength=40)[None].astype(np.float32)
    found = bootstrap.FIGURES["auroc"](*(weights @ column for column in counts[1:]))
    assert found[0] == pytest.approx(roc_auc_score(labels[drawn], scores[drawn]), abs=1e-7)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """AUROC of two normals a standard deviation apart is Phi(1 / sqrt 2) = 0.7602."""
    random, covered = np.random.default_rng(5), 0
    for seed in range(200):
        counts = bootstrap.image_counts(*image_scores(random, 60))
        low, high = bootstrap.intervals(
            counts, bootstrap.FIGURES, seed=seed, level=0.9, num_replicates=200
        )["auroc"]
        covered += low <= 0.7602 <= high
    assert 0.82 <= covered / 200 <= 0.96  # four standard errors, and the bootstrap's own bias


def test_pixel_intervals_hold_the_figures_of_the_table():
    random = np.random.default_rng(6)
    masks = np.zeros((12, 40, 40), bool)
    for mask in masks[:6]:
        mask[5:15, 10:20] = True
    maps = random.normal(size=masks.shape) + 2 * masks + random.normal(size=(12, 1, 1)) / 2
    table = pixel_table(masks, maps)
    pairs = list(zip(masks, maps, strict=True))
    counts = bootstrap.pixel_counts(pairs, bootstrap.bin_edges(table))
    everyone = [column.sum(axis=0, keepdims=True, dtype=float) for column in counts[1:]]
    found = {name: figure(*everyone)[0] for name, figure in bootstrap.PIXEL_FIGURES.items()}
    assert found["auroc"] == pytest.approx(area_under_roc(table), abs=1e-3)
    assert found["aupro"] == pytest.approx(area_under_pro(table), abs=2e-3)
    assert found["f1_max"] == pytest.approx(f1_max(table)[0], abs=3e-3)
    ends = bootstrap.intervals(counts, bootstrap.PIXEL_FIGURES)
    assert ends == bootstrap.intervals(counts, bootstrap.PIXEL_FIGURES)
    for name, (low, high) in ends.items():
        assert low < found[name] < high


def test_bad_bootstrap():
    counts = bootstrap.image_counts(np.array([True, False]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        bootstrap.intervals(counts, bootstrap.FIGURES, level=95)
    with pytest.raises(ValueError, match="must hold normal and anomalous images, got one kind"):
        bootstrap.intervals(counts._replace(is_anomalous=np.ones(2, bool)), bootstrap.FIGURES)
