"""`jaxdpmm update`, `forget` and `drift`, on one folder of images: new files, the old one stays."""

import json
import shutil

import pytest
from PIL import Image
from synthetic import SIDE, surface, texture, write_backbone, write_mvtec

from jaxdpmm import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Normal images that are learned from and others, a model that keeps them, and one that does not."""
    folder = tmp_path_factory.mktemp("line")
    write_backbone(folder / "tiny")
    write_mvtec(folder / "surfaces", num_train=8)
    for kind in ("more", "other"):
        (folder / kind).mkdir()
        for number in range(4):
            pixels = surface(500 + number)[0] if kind == "more" else texture(number)
            Image.fromarray(pixels).save(folder / kind / f"{kind}{number}.png")
    for name, more in (("model", ["--keep-images"]), ("plain", [])):
        places = [str(folder / "surfaces"), "-o", str(folder / name)]
        options = ["--backbone", str(folder / "tiny"), "--short-side", str(SIDE)]
        assert cli.run(["fit", *places, *options, *more]) == 0
    return folder


def run(folder, *arguments, status=0):
    """The result of a command as it writes it."""
    result = folder / "result.json"
    given = [str(folder / one) if (folder / one).exists() else one for one in arguments]
    assert cli.run([*given, "--json", str(result)]) == status
    return json.loads(result.read_text())


def test_a_line_that_goes_on(folder, tmp_path, capsys):
    old = (folder / "model").read_bytes()
    found = run(folder, "update", "model", "more", "-o", str(folder / "newer"))
    assert (found["num_new_images"], found["num_images"], found["num_left_out"]) == (4, 12, 12)
    assert "4 new images, " in capsys.readouterr().out
    moved = shutil.move(folder / "more" / "more3.png", tmp_path)
    assert run(folder, "score", "newer", "more", "-o", str(tmp_path / "run"))["num_skipped"] == 0
    name = str(folder / "more" / "more3.png")  # which is gone
    assert cli.run(["forget", str(folder / "newer"), name, "-o", str(folder / "less")]) == 0
    assert "1 images forgotten, 11 left in" in capsys.readouterr().out
    found = run(folder, "forget", "newer", "more", "-o", str(folder / "back"))
    assert (found["num_forgotten"], found["num_left_out"]) == (4, 8)
    assert (folder / "model").read_bytes() == old
    shutil.move(moved, name)
    found = run(folder, "update", "plain", "more", "-o", str(folder / "plainer"))
    assert (found["num_images"], found["num_left_out"]) == (12, 12)


def test_drift_is_told_and_drawn(folder, tmp_path, capsys):
    picture = tmp_path / "drift.png"
    same = run(folder, "drift", "model", "more", "--rate", "0.02")
    assert not same["is_drift"]
    other = run(folder, "drift", "model", "other", "--picture", str(picture))
    assert other["is_drift"]
    assert other["p_value"] <= 0.05 < same["p_value"]
    told = capsys.readouterr().out
    assert "no drift at a false alarm rate of 2%" in told
    assert "drift at a false alarm rate of 5%: p-value " in told
    with Image.open(picture) as drawn:
        assert drawn.info["Software"] == "jaxdpmm"
    train = folder / "surfaces" / "test" / "good"
    assert not run(folder, "drift", "plain", "more", "--reference", str(train), "--rate", "0.1")[
        "is_drift"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forget", "plain", "more", "-o", "x"], "model must keep its images to forget some"),
        (["forget", "model", "more", "-o", "x"], "must be among the 8 that the model has learned"),
        (["forget", "model", "surfaces", "-o", "x"], "must leave at least one, got all that"),
        (["update", "model", "surfaces/train", "-o", "x"], "must be ones that the model has not"),
        (["update", "model", "more", "-o", "model"], "--output must not be what the command reads"),
        (["drift", "plain", "more"], "drift needs reference images, got none"),
        (["drift", "model", "more", "--rate", "0.001"], "must be enough for a false alarm rate of"),
    ],
)
def test_bad_input_is_one_sentence(folder, arguments, message, capsys):
    capsys.readouterr()
    given = [
        str(folder / one) if (folder / one).exists() or one == "x" else one for one in arguments
    ]
    assert cli.run(given) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "x").exists()
