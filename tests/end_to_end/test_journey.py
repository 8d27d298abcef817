"""Images on disk -> command line -> metrics, on twelve synthetic images and a tiny random backbone."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, TINY_DINOV3, surface, write_backbone, write_elpv, write_mvtec

from jaxdpmm import cli
from jaxdpmm.images.data_sets import elpv

pytestmark = pytest.mark.optimised


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set, a backbone, and the model that `jaxdpmm fit` makes of them."""
    folder = tmp_path_factory.mktemp("journey")
    write_mvtec(folder / "surfaces")
    write_backbone(folder / "tiny")
    places = [str(folder / "surfaces"), "--output", str(folder / "model.safetensors")]
    sizes = ["--short-side", str(SIDE), "--num-components", "5", "--layer", "1", "--layer", "2"]
    report = ["--json", str(folder / "fit.json")]
    assert cli.run(["fit", *places, "--backbone", str(folder / "tiny"), *sizes, *report]) == 0
    return folder


def read_image(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_fit_reports_what_it_did(folder):
    result = json.loads((folder / "fit.json").read_text())
    assert (result["num_images"], result["num_patches"], result["num_skipped"]) == (6, 216, 0)
    assert result["config"]["layers"] == [1, 2]
    assert 1 <= result["num_components"] <= 5
    assert (result["num_left_out"], result["num_held_out"], result["num_trimmed"]) == (6, 0, 0)
    scores = [image["score"] for image in result["training_images"]]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert result["model_bytes"] == (folder / "model.safetensors").stat().st_size


def test_score_writes_table_maps_and_pictures(folder, capsys):
    output = folder / "scores"
    images = folder / "surfaces" / "test"
    arguments = [str(folder / "model.safetensors"), str(images), "--output", str(output)]
    assert cli.run(["score", *arguments, "--json", str(folder / "score.json")]) == 0
    assert "scores.csv: 6 images" in capsys.readouterr().out
    with (output / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "score", "width", "height", "p_value", "anomalous"]
    assert {(row["width"], row["height"]) for row in rows} == {(str(SIDE), str(SIDE))}
    by_kind = {
        kind: [
            float(row["score"]) for row in rows if f"/{kind}/" in row["path"].replace(os.sep, "/")
        ]
        for kind in ("good", "square")
    }
    assert min(by_kind["square"]) > max(by_kind["good"])
    pixels = np.load(output / "maps" / "square" / "00.png.npy")
    mask = read_image(folder / "surfaces/ground_truth/square/00_mask.png")
    assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE), np.float32)
    assert pixels[mask].mean() > pixels[~mask].mean()
    assert read_image(output / "overlays" / "square" / "00.png.png").shape[1] > 3 * 200
    report = json.loads((folder / "score.json").read_text())
    assert [row["score"] for row in report["images"]] == [float(row["score"]) for row in rows]


def test_dinov3_goes_the_same_way(folder):
    """Patches of 16 pixels, rotary positions and registers, from the configuration of the backbone alone."""
    model, output = folder / "dinov3.safetensors", folder / "dinov3-scores"
    weights = write_backbone(folder / "tiny-dinov3", TINY_DINOV3)
    arguments = [str(folder / "surfaces"), "--output", str(model), "--backbone", str(weights)]
    sizes = ["--short-side", str(SIDE), "--num-components", "3", "--json", str(folder / "v3.json")]
    assert cli.run(["fit", *arguments, *sizes]) == 0
    patches_per_image = (SIDE // 16) ** 2
    assert json.loads((folder / "v3.json").read_text())["num_patches"] == 6 * patches_per_image
    wide = folder / "dinov3-images" / "wide.png"
    wide.parent.mkdir()
    Image.fromarray(surface(50, defective=True)[0]).resize((2 * SIDE, SIDE)).save(wide)
    assert cli.run(["score", str(model), str(wide.parent), "--output", str(output)]) == 0
    pixels = np.load(output / "maps" / "wide.png.npy")
    assert pixels.shape == (SIDE, 2 * SIDE)
    assert np.isfinite(pixels).all()
    mask = np.repeat(surface(50, defective=True)[1], 2, axis=1)
    assert pixels[mask].mean() > pixels[~mask].mean()


def test_score_takes_one_image_of_any_size(folder):
    wide = folder / "wide.png"
    Image.fromarray(surface(50)[0]).resize((3 * SIDE, SIDE)).save(wide)
    output = folder / "one"
    arguments = [str(folder / "model.safetensors"), str(wide), "--output", str(output)]
    assert cli.run(["score", *arguments]) == 0
    assert np.load(output / "maps" / "wide.png.npy").shape == (SIDE, 3 * SIDE)


def test_evaluate_prints_mixture_and_bank_side_by_side(folder, capsys):
    arguments = [str(folder / "model.safetensors"), str(folder / "surfaces")]
    assert cli.run(["evaluate", *arguments, "--json", str(folder / "evaluate.json")]) == 0
    printed = capsys.readouterr().out
    for word in (
        "image AUROC",
        "pixel AUPR",
        "pixel AUPRO",
        "image F1-max",
        "backbone ms",
        "mixture, ",
        "memory bank, 216 patches",
    ):
        assert word in printed
    result = json.loads((folder / "evaluate.json").read_text())
    assert (result["num_train"], result["num_test"], result["num_skipped"]) == (6, 6, 0)
    for name in ("mixture", "bank"):
        assert result[name]["image_auroc"] == 1.0
        assert result[name]["pixel_auroc"] > 0.8
        assert result[name]["backbone_ms"] > 0
        assert result[name]["scoring_ms"] > 0
    assert result["bank"]["model_bytes"] == 216 * 64 * 4
    assert result["mixture"]["model_bytes"] < result["bank"]["model_bytes"]


def test_evaluate_fits_a_mixture_anew_beside_the_model(folder, capsys):
    """`--method mixture` learns from the training images; the model of the file stays beside it."""
    arguments = [str(folder / "model.safetensors"), str(folder / "surfaces"), "--method", "mixture"]
    assert cli.run(["evaluate", *arguments, "--json", str(folder / "anew.json")]) == 0
    assert "mixture anew, " in capsys.readouterr().out
    result = json.loads((folder / "anew.json").read_text())
    assert "bank" not in result
    assert result["mixture-anew"]["image_auroc"] == 1.0
    assert result["mixture-anew"]["scoring_ms"] != result["mixture"]["scoring_ms"]


def test_calibrate_then_score_calls_images_anomalous(folder, capsys):
    """Normal images that the model has not seen set the threshold; defective ones lie beyond it."""
    normal, model = folder / "normal", str(folder / "calibrated.safetensors")
    normal.mkdir()
    for number in range(19):
        Image.fromarray(surface(500 + number)[0]).save(normal / f"{number:02d}.png")
    arguments = [str(folder / "model.safetensors"), str(normal), "--output", model]
    report = ["--json", str(folder / "calibrate.json")]
    assert cli.run(["calibrate", *arguments, *report]) == 0
    assert "at most 5% false positives, from 19 held-out normal images" in capsys.readouterr().out
    result = json.loads((folder / "calibrate.json").read_text())
    assert (result["num_held_out"], result["num_skipped"], result["rate"]) == (19, 0, 0.05)
    output = folder / "called"
    images = str(folder / "surfaces" / "test" / "square")
    assert cli.run(["score", model, images, "--output", str(output)]) == 0
    assert "3 called anomalous" in capsys.readouterr().out
    with (output / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(float(row["p_value"]), row["anomalous"]) for row in rows] == [(0.05, "True")] * 3
    assert all(float(row["score"]) > result["image_threshold"] for row in rows)


def test_explain_prints_the_patches_of_the_defect(folder, capsys):
    image = folder / "surfaces" / "test" / "square" / "00.png"
    report = ["--json", str(folder / "explain.json"), "--num-patches", "2"]
    assert cli.run(["explain", str(folder / "model.safetensors"), str(image), *report]) == 0
    printed = capsys.readouterr().out
    assert "component" in printed
    assert ".png " in printed
    first, second = json.loads((folder / "explain.json").read_text())["patches"]
    assert first["score"] >= second["score"]
    top, left, bottom, right = first["box"]
    mask = read_image(folder / "surfaces/ground_truth/square/00_mask.png")
    assert mask[top:bottom, left:right].any()


def test_demo_runs_the_same_way(folder, capsys, monkeypatch):
    monkeypatch.setattr(elpv, "_fetched_folder", lambda: write_elpv(folder / "cells"))
    picture, report = folder / "demo.png", folder / "demo.json"
    sizes = ["--num-train", "5", "--num-test", "6", "--backbone", str(folder / "tiny")]
    arguments = ["--json", str(report), "--picture", str(picture), *sizes]
    assert cli.run(["demo", *arguments]) == 0
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out
    result = json.loads(report.read_text())
    assert (result["num_train"], result["num_test"]) == (5, 6)
    assert result["weights"].endswith("tiny, layer 2")
    wanted = {"image_auroc", "model_bytes", "backbone_ms", "scoring_ms"}
    assert wanted | {"fit_seconds", "num_components"} <= set(result["mixture"])
    assert wanted <= set(result["bank"])
    assert read_image(picture).shape[1] > 600


def test_a_second_run_takes_the_place_of_the_first(folder, capsys):
    """Every output of before is known for what it is."""
    model, images = str(folder / "model.safetensors"), str(folder / "surfaces/test/square")
    output = str(folder / "twice")
    commands = [
        ["score", model, images, "--output", output, "--json", str(folder / "twice.json")],
        ["report", output],
        ["export", model, str(folder / "twice.scorer"), "--platform", "cpu"],
    ]
    for command in commands * 2:
        assert cli.run(command) == 0, capsys.readouterr().err


STUCK = """
import ctypes
from jaxdpmm.cli import score
row = score._row
def stuck_at_the_third(scored):
    if scored.record.path.name == "002.png":
        lock, library = ctypes.create_string_buffer(256), ctypes.CDLL(None)
        for _ in range(2):
            library.pthread_mutex_lock(lock)
    return row(scored)
score._row = stuck_at_the_third
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")
@pytest.mark.parametrize(
    ("number", "before", "word"),
    [(signal.SIGINT, "", "interrupted"), (signal.SIGTERM, STUCK, "terminated")],
    ids=["Ctrl-C at work", "SIGTERM in native code"],
)
def test_signals_lose_nothing_and_leave_nothing_half_written(folder, number, before, word):
    images, output = folder / "many", folder / word
    if not images.exists():
        images.mkdir()
        for name in range(400):
            Image.fromarray(surface(name % 3)[0]).save(images / f"{name:03d}.png")
    # A shell's background jobs ignore Ctrl-C, and so would what they start
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}\n{before}\nimport jaxdpmm.cli; jaxdpmm.cli.main()"
    arguments = [str(folder / "model.safetensors"), str(images), "--output", str(output)]
    command = [sys.executable, "-c", code, "score", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        limit = time.monotonic() + 120
        while len(list(output.glob("overlays/*.png"))) < 2 and time.monotonic() < limit:
            time.sleep(0.02)
        run.send_signal(number)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert f"{word}; every file written so far is complete" in errors
    assert "Traceback" not in errors
    rows = (output / "scores.csv").read_text().splitlines()[1:]
    assert 0 < len(rows) < 400
    assert len(json.loads((output / "run.json").read_text())["images"]) == len(rows)
    for row in rows:
        name = row.split(",")[0].rsplit(os.sep, 1)[1]
        np.load(output / "maps" / f"{name}.npy")
        read_image(output / "overlays" / f"{name}.png")
    assert not list(output.rglob(".*"))
