"""Two mixtures: a planted kind of patch has its log ratio, and more images make it surer."""

import numpy as np
import pytest

from jaxdpmm.detection import DetectorConfig, fit_mixture
from jaxdpmm.detection.scores.beside import compile_ratio
from jaxdpmm.detection.scores.discrepancy import discrepancy_scores, fit_discrepancy
from jaxdpmm.scoring import nearest_predictive, score
from jaxdpmm.scoring.ratio import hypotheses_of_all

CONFIG = DetectorConfig(num_components=4, num_epochs=10, num_principal=3)
ODD = np.array([8.0, 0, 0, 0])


def images(number, seed, num_odd=0):
    random = np.random.default_rng(seed)
    found = random.normal(size=(number, 6, 6, 4))
    found.reshape(number, 36, 4)[:, :num_odd] += ODD
    return list(found.astype(np.float32))


@pytest.fixture(scope="module")
def normal():
    grids = images(12, 0)
    return grids, fit_mixture(np.concatenate(grids).reshape(-1, 4), CONFIG)


def test_a_kind_that_unlabelled_images_add_has_a_large_ratio_of_known_sign(normal):
    grids, state = normal
    found = fit_discrepancy(state, CONFIG, grids, images(8, 1, num_odd=9))
    x = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    usual, odd = (discrepancy_scores(found, one) for one in (x, x + ODD.astype(np.float32)))
    # 72 of 720 patches are odd: the density of the others falls to nine tenths
    assert np.median(usual.mean) == pytest.approx(np.log(0.9), abs=0.15)
    assert np.median(odd.lower) > 5
    assert (odd.lower <= odd.mean).all()
    assert (odd.upper - odd.lower).mean() > 0


def test_few_unlabelled_images_are_refused(normal):
    grids, state = normal
    with pytest.raises(
        ValueError, match=r"unlabelled must be at least 2 images .* got 12 and 1; g"
    ):
        fit_discrepancy(state, CONFIG, grids, images(1, 1))
    with pytest.raises(ValueError, match="num_draws must be at least 1, got 0; the default is 20"):
        fit_discrepancy(state, CONFIG, grids, images(3, 1), num_draws=0)


def test_the_ratio_is_that_of_the_two_mixtures_side_by_side_to_the_normal_one(normal):
    _, state = normal
    others = fit_mixture(
        np.concatenate(images(4, 1, num_odd=9)).reshape(-1, 4), CONFIG, beside=state
    )
    x = images(1, 2, num_odd=3)[0]
    mean, axes = map(np.asarray, state.reduction)
    reduced = (x.reshape(-1, 4) - mean) @ axes
    ours, theirs = (
        score(nearest_predictive(one.mixture), one.posterior, reduced).reshape(x.shape[:2])
        for one in (state, others)
    )
    expected = np.log((np.exp(-theirs) + 3 * np.exp(-ours)) / 4) + ours
    ratio = compile_ratio(state, others.posterior, hypotheses_of_all((), (), 0.25))
    np.testing.assert_allclose(ratio(x, ours), expected, rtol=1e-3, atol=1e-3)
    assert ratio(x, ours).ravel()[:3].min() > ratio(x, ours).ravel()[3:].max()
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 1; give the number"):
        hypotheses_of_all((), (), 1)
