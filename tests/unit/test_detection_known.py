"""Few known anomalies: odds against normal patches, learned from masks or without, kept and told of in sentences."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from synthetic import SIDE

from jaxdpmm import cli
from jaxdpmm.detection import Detector, DetectorConfig, ImagePatches, TrainingPatches, fit_mixture
from jaxdpmm.detection.leaving_out import fuse_scores
from jaxdpmm.detection.scores.joint import compile_score
from jaxdpmm.detection.scores.known import anomalous_patches, compile_odds, learn_known
from jaxdpmm.detection.state import Known
from jaxdpmm.detection.stored.state import load_detector_model
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.scoring import nearest_predictive, score

FRAME = frame_of((56, 56), Preprocessing(56, 14))  # four rows of four patches
CONFIG = DetectorConfig(num_components=3, num_epochs=3, score="odds")
ODD = np.array([6.0, 0, 0, 0, 0])


def grid(random, num_odd=0):
    features = random.normal(size=(4, 4, 5))
    features.reshape(16, 5)[:num_odd] += ODD
    return features.astype(np.float32)


def anomaly(random, num_odd=3):
    return ImagePatches(ImageRecord("odd.png", 1), FRAME, grid(random, num_odd), 0.0)


@pytest.fixture(scope="module")
def learned():
    random = np.random.default_rng(1)
    grids = [grid(random) for _ in range(30)]
    rows = np.concatenate([one.reshape(-1, 5) for one in grids])
    sources = tuple((f"{number}.png", FRAME.grid) for number in range(30))
    patches = TrainingPatches(rows, 30, sources, (FRAME,) * 30)
    return patches, fit_mixture(rows, CONFIG)


def test_kinds_that_are_known_score_higher_and_unknown_ones_are_still_found(learned):
    patches, fitted = learned
    random = np.random.default_rng(2)
    state = fuse_scores(fitted, patches, CONFIG, anomalies=[anomaly(random) for _ in range(4)])
    assert state.known.num_images == 4
    image = grid(random)
    image[0, 0], image[1, 1], image[2, 2] = ODD, ODD * 0.7, [0, 0, -8, 0, 0]  # the last unknown
    found = compile_score(state, "odds")(image)
    plain = compile_score(fitted, "nearest_predictive")(image)
    assert set(np.argsort(-found.ravel())[:3].tolist()) == {0, 5, 10}
    kind = image[0, 0] * np.array(
        [0.5, 1, 1, 1, 1], np.float32
    )  # halfway, where both are as probable
    assert np.isfinite(compile_score(state, "odds")(kind[None, None]))
    assert np.sum(plain > plain[1, 1]) >= np.sum(found > found[1, 1])


def test_without_known_anomalies_the_odds_have_the_order_of_the_density(learned):
    """Their weight is that of no image: only the density of unknown anomalies is left."""
    _, fitted = learned
    x = np.random.default_rng(3).normal(size=(200, 5)).astype(np.float32)
    density = score(nearest_predictive(fitted.mixture), fitted.posterior, x)
    odds = compile_odds(fitted, Known(fitted.posterior, 0, -20.0))(x, density)
    assert stats.spearmanr(odds, density).statistic > 0.9999


def test_patches_are_those_that_are_marked_or_else_those_that_stand_out(data):
    anomalous = next(one for one in data.test if one.label)
    frame = frame_of((SIDE, SIDE), Preprocessing(SIDE, 14))
    features = np.arange(np.prod(frame.grid)).reshape(*frame.grid, 1).astype(np.float32)
    image = ImagePatches(anomalous, frame, features, 0.0)
    marked = anomalous_patches(image, np.zeros(frame.grid))
    assert 1 <= len(marked) < features.size / 2
    image = image._replace(record=ImageRecord("x.png", 1))
    excess = np.full(frame.grid, -1.0)
    excess[0, 1] = -0.5
    np.testing.assert_array_equal(anomalous_patches(image, excess), [[1.0]])
    excess[1, :2] = 2
    assert len(anomalous_patches(image, excess)) == 2


def test_a_detector_with_known_anomalies_and_unlabelled_images_is_kept(data, backbone, tmp_path):
    folder = data.train[0].path.parents[2]
    options = ["--short-side", str(SIDE), "--num-components", "4", "--backbone", backbone.name]
    beside = ["--anomalies", str(folder), "--unlabelled", str(folder)]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["fit", str(folder), *beside, "--output", str(tmp_path / "one"), *options])
    config, state = load_detector_model(tmp_path / "one")
    assert config.score == ("cosine", "odds", "discrepancy")
    assert state.known.num_images == sum(one.label for one in data.test)
    beside = state.unlabelled
    assert (beside.num_unlabelled, beside.num_normal) == (len(data.test), state.facts.num_images)
    first, second = (Detector.load(tmp_path / "one", backbone=backbone) for _ in range(2))
    second.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    scored = list(first.score(data.test))
    assert min(one.score for one in scored if one.record.label) > np.median(
        [one.score for one in scored if not one.record.label]
    )


def test_bad_input_is_told_in_a_sentence(data, backbone, learned):
    config = DetectorConfig(backbone=backbone.name, short_side=SIDE, num_components=4)
    with pytest.raises(
        ValueError, match=r"anomalies must be at least one anomalous image .* got no"
    ):
        Detector.fit(data.train, dataclasses.replace(config, score="odds"), backbone=backbone)
    with pytest.raises(
        ValueError, match="anomalies must be anomalous images, got 1 normal ones, f"
    ):
        Detector.fit(data.train, config, backbone=backbone, anomalies=[ImageRecord("x.png", 0)])
    _, fitted = learned
    one = learn_known(fitted, CONFIG, [anomaly(np.random.default_rng(5), 1)], np.zeros(200))
    assert len(one.posterior.counts) >= 1
