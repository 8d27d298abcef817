"""Drift: what is planted is found and named, images of the same source raise no alarm more often than stated."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from jaxdpmm.detection.line.drift import Looks, compare_looks
from jaxdpmm.pictures import draw_drift


def looks(random, number, weights=(6, 3, 1, 1, 0.2), shift=0.0):
    """Shares of components that differ between images, and scores."""
    shares = random.dirichlet(np.array(weights), number)
    return Looks(random.normal(size=number) + shift, shares)


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
