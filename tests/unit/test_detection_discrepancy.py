"""Unlabelled images: a planted kind of patch has its log ratio, and more images make it surer."""

import dataclasses

import numpy as np
import pytest

from jaxdpmm import cli
from jaxdpmm.detection import DetectorConfig, fit_mixture
from jaxdpmm.detection.scores.beside import compile_ratio
from jaxdpmm.detection.scores.discrepancy import (
    discrepancy_scores,
    fit_discrepancy,
    with_unlabelled,
)
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


def test_the_score_is_the_log_ratio_of_the_two_mixtures_side_by_side_to_the_normal_one(normal):
    _, state = normal
    found = with_unlabelled(state, CONFIG, images(4, 1, num_odd=9))
    assert found.unlabelled.share == 4 / 16
    x = images(1, 2, num_odd=3)[0]
    mean, axes = map(np.asarray, state.reduction)
    reduced = (x.reshape(-1, 4) - mean) @ axes
    second = dataclasses.replace(
        state.mixture, num_components=len(found.unlabelled.posterior.counts)
    )
    ours, theirs = (
        score(nearest_predictive(mixture), posterior, reduced).reshape(x.shape[:2])
        for mixture, posterior in (
            (state.mixture, state.posterior),
            (second, found.unlabelled.posterior),
        )
    )
    expected = np.log((np.exp(-theirs) + 3 * np.exp(-ours)) / 4) + ours
    ratio = compile_ratio(state, found.unlabelled.posterior, hypotheses_of_all((), (), 0.25))
    np.testing.assert_allclose(ratio(x, ours), expected, rtol=1e-3, atol=1e-3)
    assert ratio(x, ours).ravel()[:3].min() > ratio(x, ours).ravel()[3:].max()
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 1; give the number"):
        hypotheses_of_all((), (), 1)


def test_unlabelled_images_that_cannot_be_used_are_told_in_a_sentence(data, tmp_path, capsys):
    folder = data.train[0].path.parents[2]
    one = str(data.test[0].path)
    for more, reason in (
        (["--score", "discrepancy"], "unlabelled must be at least one further image for the score"),
        (["--unlabelled", one], "unlabelled must be at least 2 images, got 1, "),
        *(
            ([f"--{name}", str(data.train[0].path.parent)], f"{name} must be other images than the")
            for name in ("anomalies", "unlabelled")
        ),
        (["--unlabelled", one, "--products"], "--unlabelled must be left out with --products, got"),
    ):
        assert cli.run(["fit", str(folder), "--output", str(tmp_path / "model"), *more]) == 2
        (sentence,) = (line for line in capsys.readouterr().err.splitlines() if reason in line)
        assert sentence.count(".") >= 1
