"""Several scores, or the context, as the one score of a detector: learned, kept, calibrated, exported."""

import dataclasses

import numpy as np
import pytest
from synthetic import SIDE

from jaxdpmm import cli
from jaxdpmm.detection import Detector, DetectorConfig, TrainingPatches, fit_mixture
from jaxdpmm.detection.calibration import calibrate, p_values
from jaxdpmm.detection.diagnosis import examples_of
from jaxdpmm.detection.leaving_out import fuse_scores, leave_images_out, new_scores
from jaxdpmm.detection.scores.joint import COLOUR_LIMITS, compile_score
from jaxdpmm.detection.stored.state import load_detector_model, model_of
from jaxdpmm.export import export_scorer, load_scorer
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.persist import save_model

FRAME = frame_of((112, 112), Preprocessing(112, 14))  # eight rows of eight patches
CENTRES = 10 * np.random.default_rng(0).normal(size=(4, 6))
SCORES = ("cosine", "predictive", "context")
CONFIG = DetectorConfig(num_components=4, num_epochs=3, score=SCORES)


def grid(random):
    """Features of an image in bands of two columns, each of a kind of its own."""
    kinds = np.tile(np.arange(8) // 2, (8, 1))
    return (CENTRES[kinds] + random.normal(size=(8, 8, 6))).astype(np.float32)


def patches_of(grids):
    sources = tuple((f"{number}.png", FRAME.grid) for number in range(len(grids)))
    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in grids])
    return TrainingPatches(rows, len(grids), sources, (FRAME,) * len(grids))


@pytest.fixture(scope="module")
def learned():
    random = np.random.default_rng(1)
    patches = patches_of([grid(random) for _ in range(24)])
    return patches, fit_mixture(patches.features, CONFIG)


@pytest.fixture(scope="module")
def config(backbone):
    return DetectorConfig(backbone=backbone.name, short_side=SIDE, num_components=4, score=SCORES)


def test_what_is_odd_by_its_place_or_by_itself_is_found_by_one_score(learned):
    patches, fitted = learned
    state = leave_images_out(fitted, patches, CONFIG).state
    image = grid(np.random.default_rng(2))
    image[4, 2] = CENTRES[3]  # at home two bands further right
    image[2, 6] = CENTRES[3] + np.array([9, -9, 9, -9, 9, -9])
    found = {score: compile_score(state, score)(image) for score in (SCORES, "cosine")}
    order = {score: np.argsort(-grid.ravel()).tolist() for score, grid in found.items()}
    assert set(order[SCORES][:2]) == {4 * 8 + 2, 2 * 8 + 6}
    assert order["cosine"].index(4 * 8 + 2) > 10
    both = compile_score(state, SCORES)(np.stack([image, image[:, ::-1]]))
    np.testing.assert_allclose(both[0], found[SCORES], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(both[1], found[SCORES][:, ::-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("of", [leave_images_out, fuse_scores])
def test_fused_scores_of_new_normal_patches_are_exponential(learned, of):
    """Minus the log of a uniform p-value, whether all images are left out or some, and within images too."""
    patches, fitted = learned
    found = of(fitted, patches, CONFIG)
    state = found if of is fuse_scores else found.state
    random = np.random.default_rng(3)
    scores = compile_score(state, SCORES)(np.stack([grid(random) for _ in range(60)]))
    for share in (0.5, 0.1, 0.02):
        assert abs(np.mean(scores >= -np.log(share)) - share) < 0.35 * share
    low, high = COLOUR_LIMITS
    assert abs(np.median(scores) - low) < 0.2
    assert np.mean(scores > (low + high) / 2) < 0.005


def test_thresholds_from_the_images_that_the_fusion_is_learned_from_hold():
    random, rate, called = np.random.default_rng(4), 1 / 20, []
    config = dataclasses.replace(CONFIG, score=("euclidean", "predictive"), num_epochs=1)
    for _ in range(6):
        patches = patches_of([grid(random) for _ in range(19)])
        left_out = leave_images_out(fit_mixture(patches.features, config), patches, config)
        normal = calibrate(left_out.images, 0.0).image
        new = patches_of([grid(random) for _ in range(60)])
        scores = new_scores(left_out.state, new, config)
        called.append(np.mean(p_values(normal, scores) <= rate))
    assert 0.01 <= np.mean(called) <= 2 * rate


def test_a_detector_of_several_scores_is_kept_and_scores_alike(data, config, backbone, tmp_path):
    detector = Detector.fit(data.train, config, backbone=backbone)
    assert detector.state.facts.num_left_out == len(data.train)
    assert detector.colour_limits == COLOUR_LIMITS
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", backbone=backbone)
    assert again.config.score == SCORES
    first, second = (list(one.score(data.test)) for one in (detector, again))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.patch_scores, other.patch_scores)
        assert detector.p_value(one) == again.p_value(other)
    assert detector.evaluate(data.test)["image_auroc"] > 0.6
    assert len(detector.explain(data.test[0])) == 5
    with pytest.raises(
        ValueError, match=r"score must be of a patch and the mix.* alone to be exported, got cosi"
    ):
        export_scorer(detector.model, tmp_path / "scorer")
    export_scorer(detector.model, tmp_path / "scorer", score="cosine")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fusion/each/knots", lambda one: one[:2], "a fusion that is none of 3 scores"),
        ("fusion/total/scale", lambda one: -one, "a fusion that is none of 3 scores"),
        ("context/columns", lambda one: one + 4, "a context that is none of 4 components"),
        ("context/ends", lambda one: one[::-1], "a context that is none of 4 components"),
        ("context/prior", lambda one: 0 * one, "a context that is none of 4 components"),
        ("context/", None, "the parts of other scores than cosine and predictive and context"),
        ("fusion/", None, "the parts of other scores than cosine and predictive and context"),
    ],
)
def test_a_file_with_other_parts_is_refused(learned, tmp_path, name, change, message):
    patches, fitted = learned
    state = fuse_scores(fitted, patches, CONFIG)
    state = state._replace(examples=examples_of(state, patches), backbone_sha256="0" * 64)
    model = model_of(CONFIG, state)
    arrays = {key: one for key, one in model.arrays.items() if change or not key.startswith(name)}
    arrays |= {name: change(arrays[name])} if change else {}
    save_model(tmp_path / "model", model)
    assert load_detector_model(tmp_path / "model")[1].context.exponent == state.context.exponent
    save_model(tmp_path / "model", model._replace(arrays=arrays))
    with pytest.raises(ValueError, match=f"must be a model file .*, got one with {message}"):
        load_detector_model(tmp_path / "model")


def test_scores_of_patches_alone_are_exported_with_their_fusion(data, config, backbone, tmp_path):
    two = dataclasses.replace(config, score=SCORES[:2], thresholds="none")
    detector = Detector.fit(data.train, two, backbone=backbone)
    assert detector.calibration is None
    export_scorer(detector.model, tmp_path / "scorer", platforms=("cpu",))
    x = np.random.default_rng(0).normal(size=(20, detector.state.num_inputs)).astype(np.float32)
    expected = detector.score_patches(x)
    found = load_scorer(tmp_path / "scorer")(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_one_name_costs_nothing_more(learned):
    patches, _ = learned
    config = dataclasses.replace(CONFIG, score=("cosine",))
    assert config == dataclasses.replace(CONFIG, score="cosine")
    state = leave_images_out(fit_mixture(patches.features, config), patches, config).state
    assert (state.fusion, state.context) == (None, None)


def test_one_score_as_p_values(learned):
    """In the same order as the score, and of normal patches an exponential variable of mean one."""
    patches, _ = learned
    config = dataclasses.replace(CONFIG, score="cosine", p_values=True)
    assert config.score == ("cosine",)
    assert DetectorConfig.from_dict(config.to_dict()) == config
    assert dataclasses.replace(config, p_values=False).score == "cosine"
    state = leave_images_out(fit_mixture(patches.features, config), patches, config).state
    images = np.stack([grid(np.random.default_rng(seed)) for seed in range(50, 80)])
    images[0, 0] *= -3
    raw, found = (np.asarray(compile_score(state, one)(images)) for one in ("cosine", ("cosine",)))
    order = np.argsort(raw, axis=None)
    assert np.diff(found.ravel()[order]).min() >= 0
    assert found[0, 0].min() > 2 * found[1:].mean() + 5
    assert np.mean(found[1:]) == pytest.approx(1, abs=0.15)
    with pytest.raises(
        ValueError, match=r"with keep_images, got cosine as p-values; name one witho"
    ):
        dataclasses.replace(config, keep_images=True)


def test_the_option_is_given_once_per_score(data, backbone, tmp_path):
    scores = [part for name in SCORES for part in ("--score", name)]
    sizes = ["--short-side", str(SIDE), "--num-components", "4", "--backbone", backbone.name]
    arguments = ["fit", str(data.train[0].path.parent), "--output", str(tmp_path / "model")]
    with pytest.raises(SystemExit, match="0"):
        cli.main([*arguments, *sizes, *scores])
    config, state = load_detector_model(tmp_path / "model")
    assert config.score == SCORES
    assert state.context.counts.centres.sum() == state.facts.num_patches


def test_bad_input_is_told_in_a_sentence(learned):
    patches, fitted = learned
    with pytest.raises(ValueError, match=r"score must be names that differ, got cosine, cosine; g"):
        DetectorConfig(score=("cosine", "cosine"))
    with pytest.raises(ValueError, match=r"score must be names that differ, got none; give each"):
        DetectorConfig(score=())
    with pytest.raises(
        ValueError, match=r"score must be one of predictive, .*context, odds, discrepancy, got 'od"
    ):
        DetectorConfig(score=("cosine", "odd"))
    with pytest.raises(
        ValueError, match=r"score must be one of a patch alone where .*, got contex"
    ):
        compile_score(fitted, "context")
    with pytest.raises(ValueError, match=r"score must be one score .* one training image, got co"):
        fuse_scores(fitted, patches_of([grid(np.random.default_rng(0))]), CONFIG)
    with pytest.raises(ValueError, match="patches must tell how their images were prepared"):
        fuse_scores(fitted, TrainingPatches(patches.features, 24), CONFIG)
