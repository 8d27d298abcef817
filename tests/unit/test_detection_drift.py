"""Drift: what is planted is found and named, images of the same source raise no alarm more often than stated."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from jaxdpmm.detection import DetectorConfig, ImagePatches, TrainingPatches
from jaxdpmm.detection.learning import learn
from jaxdpmm.detection.line.drift import Looks, compare_looks, looks_beside_kept, looks_of_kept
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.pictures import draw_drift


def looks(random, number, weights=(6, 3, 1, 1, 0.2), shift=0.0):
    """Shares of components that differ between images, and scores."""
    shares = random.dirichlet(np.array(weights), number)
    return Looks(random.normal(size=number) + shift, shares)


def test_new_images_are_looked_at_by_mixtures_of_as_many_images_as_kept_ones():
    """So that an image looks as it did, where it is the one that is left out for itself."""
    random, frame, number = np.random.default_rng(4), frame_of((56, 56), Preprocessing(56, 14)), 6
    features = (5 * random.integers(0, 3, (number * 16, 1)) + random.normal(size=(96, 3))).astype(
        np.float32
    )
    sources = tuple((f"{place}.png", frame.grid) for place in range(number))
    config = DetectorConfig(
        num_components=4, score="predictive", keep_images=True, thresholds="none"
    )
    state = learn(TrainingPatches(features, number, sources, (frame,) * number), config).state
    images = [
        ImagePatches(ImageRecord(Path(name)), frame, part.reshape(4, 4, 3), 0.0)
        for (name, _), part in zip(sources, np.split(features, number), strict=True)
    ]
    order = np.random.default_rng(config.seed).permutation(number)
    found = looks_beside_kept(state, config, [images[place] for place in order])
    kept = looks_of_kept(state, state.kept)
    np.testing.assert_allclose(found.scores, kept.scores[order], rtol=1e-5)
    np.testing.assert_array_equal(found.shares, kept.shares[order])
    turned = looks_beside_kept(state, config, [images[place] for place in np.roll(order, 1)])
    assert (turned.scores < np.roll(found.scores, 1)).mean() > 0.5  # learned from, so more normal


def test_rate_holds_for_images_of_one_source():
    random = np.random.default_rng(0)
    called = [
        compare_looks(looks(random, 12), looks(random, 6), 0.1, seed).is_drift
        for seed in range(400)
    ]
    assert stats.binomtest(sum(called), len(called), 0.1, "greater").pvalue > 0.01
    assert sum(called) > 5  # the two tests are not the same, so that it is not far below


def test_what_has_changed_is_found_and_named():
    random = np.random.default_rng(1)
    before = looks(random, 30)
    found = compare_looks(before, looks(random, 10, (2, 3, 1, 5, 0.2)), 0.01)
    assert found.is_drift
    assert found.p_scores > 0.01
    named = {one.component: one.deviations > 0 for one in found.shifts if one.stands_out}
    assert named == {0: False, 3: True}
    assert found.shifts[0].new == pytest.approx(5 / 11.2, abs=0.1) or found.shifts[0].component == 0
    louder = compare_looks(before, looks(random, 10, shift=2.0))
    assert louder.is_drift
    assert louder.p_scores < 0.01 < louder.p_components
    axes = draw_drift(Figure().add_subplot(), found)
    assert {text.get_text() for text in axes.texts} == {"0", "3"}


def test_deviations_are_those_of_random_assignments():
    """Against the spread of all assignments of eight images, one component at a time."""
    import itertools

    random = np.random.default_rng(2)
    before, new = looks(random, 5), looks(random, 3)
    shares = np.concatenate([before.shares, new.shares])
    differences = []
    for chosen in itertools.combinations(range(8), 3):
        is_new = np.isin(np.arange(8), chosen)
        differences.append(shares[is_new].mean(axis=0) - shares[~is_new].mean(axis=0))
    spread = np.std(differences, axis=0)
    for one in compare_looks(before, new, 0.2).shifts:
        right = (one.new - one.reference) / spread[one.component]
        assert one.deviations == pytest.approx(right)


def test_too_few_images_for_a_rate():
    random = np.random.default_rng(3)
    with pytest.raises(ValueError, match=r"rate of 0\.05, got 6 of the reference and 1 new ones"):
        compare_looks(looks(random, 6), looks(random, 1))
    with pytest.raises(ValueError, match=r"rate must be between 0 and 1, got 2; 0\.05 is"):
        compare_looks(looks(random, 6), looks(random, 6), 2.0)
