"""Settings tried on synthetic anomalies: which pixels count, which settings are tried, and which is chosen and why."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from synthetic import SIDE, write_backbone, write_mvtec

from jaxdpmm import cli
from jaxdpmm.cli.settings import options_of
from jaxdpmm.detection import DetectorConfig, ImagePatches, fit_mixture
from jaxdpmm.detection.choosing import trials
from jaxdpmm.detection.choosing.choose import decide, settings_to_try
from jaxdpmm.detection.choosing.trials import (
    FIGURE,
    Material,
    Trial,
    figures_of,
    pixel_counts,
    pixels_of_patches,
)
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.detection.settings import DetectorSettings
from jaxdpmm.detection.state import FitFacts
from jaxdpmm.detection.stored.state import load_detector_model
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord

BASE = DetectorConfig(layers=(12,))
FACTS = FitFacts(1, 0, False, False, None, within_over_between=0.5)


def test_every_pixel_that_is_left_after_the_crop_is_one_of_a_patch():
    frame = frame_of((100, 150), Preprocessing(short_side=70, patch_size=14))
    mask = np.random.default_rng(0).random((100, 150)) < 0.3
    normal, anomalous = pixels_of_patches(mask, frame)
    assert normal.shape == frame.grid
    top, left, bottom, right = frame.box_of(2, 3)
    assert anomalous[2, 3] == mask[top:bottom, left:right].sum()
    assert normal[2, 3] == (~mask[top:bottom, left:right]).sum()
    assert (normal + anomalous).sum() <= mask.size
    first, last = frame.box_of(0, 0), frame.box_of(frame.grid[0] - 1, frame.grid[1] - 1)
    assert anomalous.sum() == mask[first[0] : last[2], first[1] : last[3]].sum()


def test_figures_are_those_of_pixels_with_the_scores_of_their_patches():
    random = np.random.default_rng(1)
    frame = frame_of((70, 84), Preprocessing(short_side=70, patch_size=14))
    images, truth, scores, labels = [], [], [], []
    for number in range(6):
        mask = np.zeros((70, 84), bool)
        mask[20:40, 10:30] = number > 2
        grid = random.normal(size=(5, 6)) + 2.0 * mask[7::14, 7::14]
        record = ImageRecord(Path(f"{number}"), int(number > 2))
        images.append(ScoredImage(record, frame, grid, float(grid.max()), 0.0, 0.0))
        truth.append(pixels_of_patches(mask, frame))
        scores.append(np.kron(grid, np.ones((14, 14))))
        labels.append(mask)
    found = figures_of(images, pixel_counts(images, truth))
    every = np.ravel(labels), np.ravel(scores)
    assert found["pixel_aupr"] == pytest.approx(average_precision_score(*every), rel=1e-6)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(*every), rel=1e-6)
    whole = [image.score for image in images]
    assert found["image_auroc"] == roc_auc_score([0, 0, 0, 1, 1, 1], whole)


def test_what_is_tried_starts_from_the_settings_and_keeps_what_is_given():
    tried = settings_to_try(BASE)
    assert tried[0] == BASE
    assert len(tried) == len(set(tried)) >= 20
    assert {one.layers for one in tried} == {(12,), (11,), (10, 11, 12)}
    assert {one.rotations for one in tried} == {1, 4}
    assert {one.foreground for one in tried} == {False, True}
    given = settings_to_try(BASE, ("score", "rotations", "num_components"))
    assert {(one.score, one.rotations, one.share) for one in given} == {("cosine", 1, 0.01)}
    assert {one.covariance for one in given} == {"spherical", "low_rank"}
    several = DetectorConfig(layers=(11, 12))
    assert {one.layers for one in settings_to_try(several)} == {(11, 12)}
    assert {one.layers for one in settings_to_try(DetectorConfig(layers=(1,)))} == {(1,)}


def trial(figure: float, num_bytes: int, noise: float = 0.0, **changes) -> Trial:
    """A trial with noise of its own beside that of the images, which all share."""
    shared = 0.1 * np.random.default_rng(99).normal(size=200)
    own = noise * np.random.default_rng(num_bytes).normal(size=200)
    config = DetectorConfig(layers=(12,), **changes)
    drawn = figure + shared + own
    recipes = {"faint": figure}
    return Trial(config, {FIGURE: figure}, recipes, drawn, num_bytes, 10, 1.0, FACTS)


USUAL = trial(0.5, 100)


def test_settings_that_differ_in_the_score_alone_share_a_fit(monkeypatch):
    random = np.random.default_rng(3)
    frame = frame_of((56, 56), Preprocessing(56, 14))

    def images(number):
        grids = random.normal(size=(number, *frame.grid, 3)).astype(np.float32)
        records = (ImageRecord(Path(f"{place}.png"), 0) for place in range(number))
        return [
            ImagePatches(*pair, 0.0) for pair in zip(records, [frame] * number, grids, strict=True)
        ]

    fitted, states = [], []

    def fit_noted(features, config):
        fitted.append(config)
        states.append(states[0] if states else fit_mixture(features, config))  # one fit will do
        return states[0]

    monkeypatch.setattr(trials, "fit_mixture", fit_noted)
    material = Material((2,), images(16), 2, images(3), [])
    plain = DetectorConfig(layers=(2,), share=0.1)
    configs = [
        plain,
        dataclasses.replace(plain, score="euclidean"),
        dataclasses.replace(plain, score=("cosine", "euclidean")),
        dataclasses.replace(plain, rotations=2),
    ]
    tried = list(trials.fits(material, configs))
    assert [len(one.images.learned) for one in tried] == [8, 8, 8, 16]
    assert [one.state.fusion is None for one in tried] == [True, True, False, True]
    assert len(fitted) == 2


def test_the_settings_as_they_are_are_left_for_clearly_better_ones_alone():
    noisy = trial(0.58, 101, noise=0.05, share=0.02)
    found = decide([USUAL, noisy])
    assert found.chosen is found.usual is USUAL
    assert "standard error; the best is so by 0.080 with a standard error of" in found.reason
    assert decide([USUAL, trial(0.508, 101, share=0.02)]).chosen is USUAL
    clear = trial(0.7, 300, noise=0.02, share=0.03)
    found = decide([USUAL, noisy, clear])
    assert found.chosen is clear
    assert 0.015 < found.errors[0] < 0.025
    assert "it is the best, which is so by 0.200 with a standard error of 0.0" in found.reason


def test_of_those_as_good_as_the_best_the_smallest_is_chosen():
    best = trial(0.7, 300, noise=0.02, share=0.02)
    near, far = trial(0.69, 200, share=0.03), trial(0.66, 50, share=0.04)
    assert decide([USUAL, best, near, far]).chosen is near
    assert "the smallest of those that are as good" in decide([USUAL, best, near, far]).reason
    assert decide([USUAL, best, far]).chosen is best
    assert decide([USUAL]).chosen is USUAL


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choose")
    write_mvtec(folder / "surfaces", num_train=12)
    write_backbone(folder / "tiny")
    return folder


def arguments_of(folder, *more):
    data, weights = str(folder / "surfaces"), str(folder / "tiny")
    few = ["--num-components", "3", "--score", "cosine", "--layer", "2", "--rotations", "1"]
    fewer = ["--covariance", "spherical", "--short-side", str(SIDE)]
    return ["choose", data, "--backbone", weights, *few, *fewer, *more]


def test_choose_says_which_command_to_run_and_writes_what_it_has_tried(folder, capsys):
    outputs = {"json": folder / "c.json", "picture": folder / "c.png", "fit": folder / "model"}
    options = [word for name, path in outputs.items() for word in (f"--{name}", str(path))]
    assert cli.run(arguments_of(folder, *options)) == 0
    out = capsys.readouterr().out
    result = json.loads(outputs["json"].read_text())
    assert "learned from 9 of 12 normal images, judged by 3 others and 64 synthetic" in out
    assert result["reason"] in out
    assert len(result["trials"]) == 2
    assert result["trials"][0]["settings"] == {}
    assert all(0 < one[FIGURE] <= 1 for one in result["trials"])
    assert all(one["within_over_between"] > 0 for one in result["trials"])
    with Image.open(outputs["picture"]) as picture:
        assert picture.info["Software"] == "jaxdpmm"
    command = next(line for line in out.splitlines() if line.startswith("jaxdpmm fit")).split()
    assert command[:3] == ["jaxdpmm", "fit", str(folder / "surfaces")]
    given = arguments_of(folder)[2:]
    assert {*given} - {*command} == set()
    assert {*command[3:]} - {*given} == {"--output", "model.jaxdpmm", *chosen_words(result)}
    config, _ = load_detector_model(outputs["fit"])
    assert {name: getattr(config, name) for name in result["chosen"]} == result["chosen"]


def chosen_words(result):
    return options_of(DetectorSettings, result["chosen"])


def test_what_was_tried_before_an_interrupt_is_written(folder, monkeypatch, capsys):
    def interrupted(material, configs):
        del material, configs
        yield USUAL
        yield trial(0.7, 300, share=0.03)
        raise KeyboardInterrupt

    nothing = Material((2,), [], 1, [], [])
    monkeypatch.setattr("jaxdpmm.detection.choosing.choose.prepare", lambda *_, **__: nothing)
    monkeypatch.setattr("jaxdpmm.detection.choosing.trials.trials", interrupted)
    output = folder / "part.json"
    assert cli.run(arguments_of(folder, "--json", str(output))) == 130
    assert [one[FIGURE] for one in json.loads(output.read_text())["trials"]] == [0.5, 0.7]
    assert "interrupted" in capsys.readouterr().err


def test_choose_with_too_few_images(folder, capsys):
    write_mvtec(folder / "few", num_train=4)
    assert cli.run(["choose", str(folder / "few"), "--backbone", str(folder / "tiny")]) == 2
    assert "records must hold at least 8 normal images, got 4; give more" in capsys.readouterr().err
