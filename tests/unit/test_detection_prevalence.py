"""Unlabelled images: a kind of patch that several of them have, and normal ones do not, is evidence."""

import numpy as np
import pytest
from scipy.special import digamma

from jaxdpmm import cli
from jaxdpmm.detection import DetectorConfig, TrainingPatches, fit_mixture
from jaxdpmm.detection.diagnosis import examples_of
from jaxdpmm.detection.leaving_out import fuse_scores
from jaxdpmm.detection.scores.joint import compile_score
from jaxdpmm.detection.scores.prevalence import compile_evidence, evidence
from jaxdpmm.detection.scores.unlabelled import with_unlabelled
from jaxdpmm.detection.state import Unlabelled
from jaxdpmm.detection.stored.state import load_detector_model, model_of
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.persist import save_model

FRAME = frame_of((112, 112), Preprocessing(112, 14))  # eight rows of eight patches
CONFIG = DetectorConfig(num_components=12, score=("cosine", "discrepancy"))
NUM_NORMAL, NUM_UNLABELLED = 20, 16
CENTRES = 40 * np.eye(6) + 20
SPREAD = np.array([1, 1, 1, 0.1, 0.1, 0.1])  # so that usual kinds alone have several components
ALONE, SHARED, RARE = 3, 4, 5  # kinds: of one unlabelled image, of eight, of one normal image


def image(random, *more):
    """Features of an image of three kinds, and of four patches of each further one."""
    kinds = random.integers(0, 3, 64)
    for place, kind in enumerate(more):
        kinds[4 * place : 4 * place + 4] = kind
    noise = SPREAD[kinds, None] * random.normal(size=(64, 6))
    return (CENTRES[kinds] + noise).astype(np.float32).reshape(8, 8, 6)


@pytest.fixture(scope="module")
def learned():
    """A mixture of normal images, with unlabelled ones beside it."""
    random = np.random.default_rng(0)
    normal = [image(random, *[RARE] * (number == 7)) for number in range(NUM_NORMAL)]
    beside = [
        image(random, *[SHARED] * (number < 8), *[ALONE] * (number == 8))
        for number in range(NUM_UNLABELLED)
    ]
    sources = tuple((f"{number}.png", FRAME.grid) for number in range(NUM_NORMAL))
    rows = np.concatenate(normal).reshape(-1, 6)
    patches = TrainingPatches(rows, NUM_NORMAL, sources, (FRAME,) * NUM_NORMAL)
    state = fit_mixture(rows, CONFIG)
    return patches, with_unlabelled(state, CONFIG, patches, beside)


def test_a_kind_is_evidence_by_the_number_of_images_that_have_it(learned):
    _, state = learned
    score = compile_evidence(state, state.unlabelled)
    x = CENTRES + SPREAD[:, None] * np.random.default_rng(1).normal(size=(10, 6, 6))
    found = score(x.astype(np.float32), None)
    of_normal = digamma(0.5) - digamma(NUM_NORMAL + 1)
    for kind, number in ((SHARED, 8), (ALONE, 1)):
        expected = digamma(number + 0.5) - digamma(NUM_UNLABELLED + 1) - of_normal
        np.testing.assert_allclose(found[:, kind], expected)
    others = [kind for kind in range(6) if kind not in (SHARED, ALONE)]
    assert found[:, others].max() < 0.5


def test_a_normal_image_that_is_left_out_is_not_counted():
    found = Unlabelled(None, np.array([3, 3, 1, 0]), np.array([1, 4, 0, 1]), 10, 20)
    usual, left_out = evidence(found), evidence(found, 1)
    of_unlabelled = digamma(3.5) - digamma(11)
    np.testing.assert_allclose(usual[0], of_unlabelled - digamma(1.5) + digamma(21))
    np.testing.assert_allclose(left_out[0], of_unlabelled - digamma(0.5) + digamma(20))
    np.testing.assert_allclose(usual[1], of_unlabelled - digamma(4.5) + digamma(21))
    np.testing.assert_array_equal([usual[3], left_out[3]], 0)
    counts = np.array([[8, 8, 8], [5, 10, 20]])
    shares = evidence(Unlabelled(None, *counts, 10, 20))
    assert shares[0] > shares[1] > shares[2] == 0


def test_evidence_is_added_to_the_p_value_of_the_other_score_and_kept(learned, tmp_path):
    patches, state = learned
    state = fuse_scores(state, patches, CONFIG)
    state = state._replace(examples=examples_of(state, patches), backbone_sha256="0" * 64)
    model = model_of(CONFIG, state)
    save_model(tmp_path / "model", model)
    _, again = load_detector_model(tmp_path / "model")
    x = image(np.random.default_rng(2), SHARED)
    scores = compile_score(again, CONFIG.score)(x)
    np.testing.assert_array_equal(scores, compile_score(state, CONFIG.score)(x))
    without = again._replace(unlabelled=None)
    higher = scores.ravel() - compile_score(without, CONFIG.score)(x).ravel()
    assert higher[:4].min() > 0.5
    assert higher.max() < 10
    np.testing.assert_allclose(np.median(higher[4:]), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": np.array(0.5)}, "unlabelled images by the ratio of two densities, which is"),
        ({"num_normal": np.array(3)}, "unlabelled images that are none"),
        ({"among_normal": np.zeros(2, int)}, "unlabelled images that are none"),
    ],
)
def test_a_file_of_other_unlabelled_images_is_refused(learned, tmp_path, changes, message):
    patches, state = learned
    state = fuse_scores(state, patches, CONFIG)
    state = state._replace(examples=examples_of(state, patches), backbone_sha256="0" * 64)
    model = model_of(CONFIG, state)
    arrays = model.arrays | {f"unlabelled/{name}": one for name, one in changes.items()}
    save_model(tmp_path / "model", model._replace(arrays=arrays))
    with pytest.raises(ValueError, match=f"got one with {message}"):
        load_detector_model(tmp_path / "model")


def test_unlabelled_images_that_cannot_be_used_are_told_in_a_sentence(data, tmp_path, capsys):
    folder = data.train[0].path.parents[2]
    one, several = str(data.test[0].path), str(folder)
    for more, reason in (
        (["--score", "discrepancy"], "unlabelled must be at least one further image for the score"),
        (["--unlabelled", one], "unlabelled must be at least 2 images, got 1, "),
        (
            ["--unlabelled", several, "--score", "discrepancy"],
            "score must name another score beside 'discrepancy', which is zero for most patches",
        ),
        *(
            ([f"--{name}", str(data.train[0].path.parent)], f"{name} must be other images than the")
            for name in ("anomalies", "unlabelled")
        ),
        (["--unlabelled", one, "--products"], "--unlabelled must be left out with --products, got"),
    ):
        assert cli.run(["fit", str(folder), "--output", str(tmp_path / "model"), *more]) == 2
        (sentence,) = (line for line in capsys.readouterr().err.splitlines() if reason in line)
        assert sentence.count(".") >= 1
