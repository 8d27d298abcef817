"""Files whose digests are right and whose values are not: each is refused for the reason that is its own.

The random search for others is in `../properties/test_hostile_files.py`.
"""

import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dinov2_random import write_checkpoint
from hostile_base import GOLDEN
from hostile_folders import TINY
from mutations import DEEP, Tensors, digest_of, json_text, read_tensors, write_tensors, zipped
from synthetic import write_backbone, write_mvtec

from jaxdpmm import cli
from jaxdpmm.detection.stored.state import load_detector_model
from jaxdpmm.export import export_scorer, load_scorer
from jaxdpmm.features import load_backbone
from jaxdpmm.persist import load_model


def rewritten(source: Path, target: Path, change) -> Path:
    """A model file after `change(description, arrays)`, with the right digest where one can be computed."""
    tensors = read_tensors(source.read_bytes())
    header = tensors.metadata["jaxdpmm"]
    change(header["model"], tensors.arrays)
    header["sha256"] = digest_of(header["model"], tensors.arrays)
    target.write_bytes(write_tensors(Tensors({"jaxdpmm": header}, tensors.arrays)))
    return target


def put(*path, value):
    """A change of one value of a description."""

    def change(description, _):
        for name in path[:-1]:
            description = description[name]
        description[path[-1]] = value

    return change


def scaled(name, factor):
    def change(_, arrays):
        arrays[name] = arrays[name] * np.asarray(factor, arrays[name].dtype)

    return change


def swapped(first, second):
    def change(_, arrays):
        arrays[first], arrays[second] = arrays[second], arrays[first]

    return change


FIELDS = ("family", "fields")
WRONG_MODELS = {
    "negative dim": (put(*FIELDS, "dim", value=-1), "dim must be a whole number of at least 1"),
    "dim True": (put(*FIELDS, "dim", value=True), "Expected `int`, got `bool`"),
    "dim a float": (put(*FIELDS, "dim", value=2.0), "Expected `int`, got `float`"),
    "dim a list": (put(*FIELDS, "dim", value=[2]), "Expected `int`, got `array`"),
    "dim enormous": (put(*FIELDS, "dim", value=10**12), "numbers in all arrays of GaussianFull"),
    "another dim": (put(*FIELDS, "dim", value=3), r"of shape \(2, 2\) in place of \(2, 3\)"),
    "no dim": (put("family", "fields", value={}), "missing required"),
    "new field": (put(*FIELDS, "rank", value=1), "unknown field 'rank'"),
    "a function": (put("family", "class", value="gaussian_case"), "no such class"),
    "a base class": (put("family", "class", value="Gaussian"), "no such class"),
    "no family": (put("family", "class", value="DirichletProcess"), "no such class"),
    "a name of python": (put("family", "class", value="__class__"), "no such class"),
    "lines": (put("family", "class", value="a\nb"), "no such class"),
    "other family": (put("family", "class", value="GaussianDiagonal"), "in place of"),
    "built_in a number": (put("family", "built_in", value=1), "Expected `bool`, got `int`"),
    "sticks a list": (put("sticks", value=[]), r"Expected `object`, got `array` - at `\$.sticks`"),
    "flag a number": (put("sticks", "fields", "infer_concentration", value=1), "Expected `bool`"),
    "K True": (put("num_components", value=True), "Expected `int`, got `bool`"),
    "K zero": (put("num_components", value=0), "Expected `int` >= 1"),
    "K enormous": (put("num_components", value=10**9), r"counts of shape \(2,\) for 1000000000"),
    "settings a list": (put("settings", value=[1]), "Expected `object`, got `array`"),
    "new entry": (put("extra", value=1), "unknown field `extra`"),
    "counts below zero": (scaled("posterior/counts", -1), "negative counts or fractions"),
    "sticks below zero": (scaled("posterior/sticks/a", -1), "negative counts or fractions"),
    "not finite": (scaled("posterior/components/first", np.nan), "not all finite"),
    "no Wishart": (scaled("posterior/components/second", -1), "components of the posterior that"),
    "no dof": (scaled("posterior/components/dof", 1e-3), "components of the posterior that"),
    "wrong prior": (scaled("prior/component/second", -1), "components of the prior that"),
    "swapped": (swapped("prior/concentration/rate", "posterior/components/dof"), "in place of"),
}


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_model_file_with_the_right_digest_and_a_wrong_value(name, tmp_path):
    change, message = WRONG_MODELS[name]
    path = rewritten(GOLDEN / "model.safetensors", tmp_path / "m", change)
    with pytest.raises(ValueError, match=message) as error:
        load_model(path)
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text


WRONG_DETECTORS = {
    "dtype": (put("settings", "detector", "dtype", value="float8"), "dtype must be one of"),
    "sigma": (put("settings", "detector", "sigma", value=1e9), "sigma must be from 0 to 1024, got"),
    "short side": (put("settings", "detector", "short_side", value=10**9), "short_side must be"),
    "layers": (put("settings", "detector", "layers", value=[True]), "Expected `int`, got `bool`"),
    "unknown": (put("settings", "detector", "x", value=1), "unknown field 'x'"),
    "no settings": (put("settings", "detector", value=[]), "Expected `object`, got `array`"),
    "digest": (put("settings", "backbone_sha256", value="x"), "matching regex"),
    "colours": (put("settings", "colour_limits", value=[1.0, 0.5]), "that do not ascend"),
    "colours of three": (put("settings", "colour_limits", value=[0.0, 1.0, 2.0]), "length 2"),
    "no images": (put("settings", "images", value=[]), "examples out of other images than its 0"),
    "shares": (scaled("arrays/calibration/pixel/shares", 2.0), "a calibration of pixel scores"),
    "no survival": (scaled("arrays/calibration/image/scores", -1.0), "a calibration of image"),
    "axes": (scaled("arrays/principal/axes", np.nan), "principal axes of shapes"),
    "distances": (scaled("arrays/examples/distances", -1.0), "distances of examples"),
}


@pytest.mark.parametrize("name", WRONG_DETECTORS)
def test_detector_file_with_the_right_digest_and_a_wrong_value(name, tmp_path):
    change, message = WRONG_DETECTORS[name]
    path = rewritten(GOLDEN / "detector.safetensors", tmp_path / "d", change)
    with pytest.raises(ValueError, match=message) as error:
        load_detector_model(path)
    assert str(path) in str(error.value)
    load_model(path)  # the mixture in it is as it was


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 1_000_000}, "patch_size must be an integer from 1 to 256, got 1000000"),
        ({"patch_size": 0}, "patch_size must be an integer from 1 to 256, got 0"),
        ({"patch_size": True}, "patch_size must be an integer from 1 to 256, got True"),
        ({"patch_size": 16}, "patch_size must be at most image_size=8, got 16"),
        ({"patch_size": float("nan")}, "must be JSON, got text that is not"),
        ({"hidden_size": 10**9}, "hidden_size must be an integer from 1 to 16384"),
        ({"hidden_size": 8}, "misshapen"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers must be an integer from 1 to 100"),
        ({"num_hidden_layers": 100}, "1782 that differ: missing encoder.layer.1"),
        ({"mlp_ratio": "4"}, "mlp_ratio must be a number from 0.25 to 64"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps must be a number"),
        ({"qkv_bias": 1}, "qkv_bias must be true or false, got 1"),
        ({"image_size": [[8], [8]]}, r"image_size must be an integer from 1 to 8192, got \[8\]"),
        ({"image_size": []}, r"image_size must be square, got \[\]"),
        ({"model_type": {"a": DEEP}}, "nested deeper than 64"),
    ],
)
def test_configuration_of_no_network(change, message, tmp_path):
    folder = write_checkpoint(tmp_path / "tiny", TINY)
    (folder / "config.json").write_text(json_text(TINY | change))
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message) as error:
        load_backbone(folder)
    assert str(folder) in str(error.value)
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ([], "Expected `object`, got `array`"),
        ({"a": 1}, "Expected `str`, got `int`"),
        (None, "Expected `object`, got `null`"),
        ({"a": "../model.safetensors"}, r"names .safetensors files of its folder, got '../model"),
        ({"a": "/etc/passwd"}, "files of its folder, got '/etc/passwd'"),
        ({"a": "model.bin"}, "files of its folder, got 'model.bin'"),
    ],
)
def test_index_of_weights_that_is_none(weight_map, message, tmp_path):
    folder = write_checkpoint(tmp_path / "tiny", TINY)
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match=message) as error:
        load_backbone(folder)
    assert "model.safetensors.index.json" in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full(4, np.nan, np.float32), "wrong layernorm.weight, .* found float32, not all"),
        (np.ones(4, np.int32), "wrong layernorm.weight, expected finite .* and found int32"),
        (np.ones((4, 1), np.float32), "misshapen layernorm.weight"),
    ],
)
def test_weights_that_are_none(value, message, tmp_path):
    folder = write_checkpoint(tmp_path / "tiny", TINY)
    arrays = read_tensors((folder / "model.safetensors").read_bytes()).arrays
    content = write_tensors(Tensors({}, {**arrays, "layernorm.weight": value}))
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_backbone(folder)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    path = tmp_path_factory.mktemp("scorer") / "scorer"
    export_scorer(load_model(GOLDEN / "model.safetensors"), path, platforms=("cpu",))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": True}, "Expected `int`, got `bool`"),
        ({"platforms": "cpu"}, "Expected `array`, got `str`"),
        ({"platforms": ["abacus"]}, "Invalid enum value 'abacus'"),
        ({"shape": ["N", -2]}, "Expected `int` >= 1"),
        ({"shape": ["N", 5]}, "takes other features than its description says"),
        ({"shape": 2}, "Expected `array`, got `int`"),
        ({"sha256": "0" * 64}, "its SHA-256 does not match"),
        ({"family": DEEP}, "nested deeper than 64"),
        ({"x": 1}, "unknown field `x`"),
    ],
)
def test_exported_scorer_with_a_description_that_is_none(change, message, scorer, tmp_path):
    with zipfile.ZipFile(scorer) as archive:
        about, program = json.loads(archive.read("about.json")), archive.read("scorer.bin")
    text = json_text(about | change).encode()
    (tmp_path / "scorer").write_bytes(zipped({"about.json": text, "scorer.bin": program}))
    with pytest.raises(ValueError, match=message) as error:
        load_scorer(tmp_path / "scorer")
    assert str(tmp_path / "scorer") in str(error.value)


def test_exported_scorer_that_unpacks_to_more_than_there_is_room_for(scorer, tmp_path):
    bomb = zipped({"about.json": b" " * 2**21, "scorer.bin": b""})
    (tmp_path / "bomb").write_bytes(bomb)
    with pytest.raises(ValueError, match=r"about\.json of 2097152 bytes"):
        load_scorer(tmp_path / "bomb")


def test_exported_scorer_without_a_digest_of_its_own_is_read(scorer, tmp_path):
    with zipfile.ZipFile(scorer) as archive:
        about, program = json.loads(archive.read("about.json")), archive.read("scorer.bin")
    del about["sha256"]
    text = json.dumps(about).encode()
    (tmp_path / "old").write_bytes(zipped({"about.json": text, "scorer.bin": program}))
    x = np.zeros((3, 2), np.float32)
    np.testing.assert_array_equal(load_scorer(tmp_path / "old")(x), load_scorer(scorer)(x))


def test_commands_answer_in_one_sentence(tmp_path, capsys):
    data = write_mvtec(tmp_path / "data", 1, 1, 0) / "train" / "good"
    tiny, broken = write_backbone(tmp_path / "tiny"), write_backbone(tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"patch_size": float("nan")}))
    detector = GOLDEN / "detector.safetensors"
    commands = [
        ["score", detector, data, "-o", tmp_path / "o", "--backbone", broken],
        ["explain", detector, data / "00.png", "--backbone", broken],
        ["fit", data, "-o", tmp_path / "new", "--backbone", broken],
    ]
    for number, (change, _) in enumerate([*WRONG_MODELS.values()][::4]):
        path = rewritten(GOLDEN / "model.safetensors", tmp_path / f"m{number}", change)
        commands.append(["export", path, tmp_path / "scorer"])
    for number, (change, _) in enumerate([*WRONG_DETECTORS.values()][::3]):
        path = rewritten(detector, tmp_path / f"d{number}", change)
        commands.append(["calibrate", path, data, "-o", tmp_path / "new", "--backbone", tiny])
    for command in commands:
        assert cli.run(list(map(str, command))) == 2, command
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
        assert " must " in line
    assert not (tmp_path / "scorer").exists()
    assert not (tmp_path / "new").exists()
