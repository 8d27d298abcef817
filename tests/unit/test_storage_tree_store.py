"""What JSON and safetensors may be, and the files of version 1, which every later version reads."""

import dataclasses
import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from jaxdpmm.detection.stored.state import load_detector_model, model_of
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.inference import checkpoint as checkpoints
from jaxdpmm.persist import Model, load_model, save_model
from jaxdpmm.storage import descriptions, tree_store

GOLDEN = Path(__file__).parents[1] / "reference" / "golden" / "version_1"


@dataclasses.dataclass(frozen=True)
class Whole:
    number: int


KIND = tree_store.TreeFormat("test", 1, "a file of the tests", "write it again")


def header_of(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    (text,) = json.loads(content[8 : 8 + length])["__metadata__"].values()
    return json.loads(text)


def write(path, description, **arrays):
    safetensors.numpy.save_file(arrays, path, tree_store.metadata_of(KIND, description, arrays))


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "1e999", "{'a': 1}", "", "1 2"])
def test_what_is_no_json(text):
    with pytest.raises(ValueError, match=r"JSON|Number|truncated"):
        descriptions.parse_json(text)


def test_depth_has_a_limit_and_no_recursion():
    limit = descriptions.MAX_DEPTH
    assert descriptions.parse_json("[" * limit + "]" * limit)
    for depth in (limit + 2, 900, 100_000):
        for opening, closing in ("[]", ('{"a":', "}")):
            text = opening * depth + ("1" if opening != "[" else "") + closing * depth
            with pytest.raises(ValueError, match="nested deeper than 64 levels"):
                descriptions.parse_json(text)


def test_large_json_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptions, "MAX_BYTES", 10)
    (tmp_path / "large").write_text('"' + "x" * 20 + '"')
    with pytest.raises(ValueError, match="22 bytes, more than 10"):
        descriptions.read_json(tmp_path / "large")


@pytest.mark.parametrize("fields", [{"number": True}, {"number": 1.0}, {}, {"number": 1, "x": 2}])
def test_types_are_strict_and_fields_known(fields):
    with pytest.raises(ValueError, match=r"Expected `int`, got|missing required|unknown field 'x'"):
        descriptions.as_type(fields, Whole)


def test_round_trip(tmp_path):
    arrays = {"scalar": np.array(3), "empty": np.zeros((0, 2)), "flag": np.array([True])}
    write(tmp_path / "file", {"a": [1, 0.1, None]}, **arrays)
    description, found = tree_store.read_tree(tmp_path / "file", KIND)
    assert description == {"a": [1, 0.1, None]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)


def test_every_bit_of_the_arrays_and_of_the_description_counts(tmp_path):
    write(tmp_path / "file", {"a": "text"}, x=np.arange(4, dtype=np.float32))
    whole = (tmp_path / "file").read_bytes()
    places = [*range(whole.index(b"text"), whole.index(b"text") + 4), *range(-16, 0)]
    for place in places:
        for bit in range(8):
            altered = bytearray(whole)
            altered[place] ^= 1 << bit
            (tmp_path / "file").write_bytes(altered)
            with pytest.raises(ValueError, match="must be a file of the tests, got"):
                tree_store.read_tree(tmp_path / "file", KIND)


def test_numbers_that_json_has_not_are_not_written():
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            tree_store.metadata_of(KIND, {"a": value}, {})


@pytest.mark.parametrize(
    ("kind", "shape", "size", "message"),
    [
        ("F8_E4M3", [4], 4, "type F8_E4M3"),
        ("F32", [1] * 100, 4, "shape"),
        ("F32", [0, 2**60], 0, "shape"),
        ("F32", [2**62, 4], 16, "overflow"),
        ("F32", [2**40], 16, "invalid shape"),
    ],
)
def test_sizes_are_looked_at_before_arrays_are_made(tmp_path, kind, shape, size, message):
    header = {"a": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    (tmp_path / "file").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    with pytest.raises(ValueError, match=rf"must be a file of the tests, got .*{message}"):
        tree_store.read_tree(tmp_path / "file", KIND)


def test_header_that_claims_more_than_there_is(tmp_path):
    for length in (2**20, 2**40, 2**63):
        (tmp_path / "file").write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises(ValueError, match="must be a file of the tests, got"):
            tree_store.read_tree(tmp_path / "file", KIND)


def test_models_of_version_1_are_read_and_written_again_bit_for_bit(tmp_path):
    names = ("model", "full", "diagonal", "low-rank", "directions", "detector")
    for name in names:
        path = GOLDEN / f"{name}.safetensors"
        model = load_model(path)
        save_model(tmp_path / name, model)
        old, new = header_of(path), header_of(tmp_path / name)
        for header in (old, new):
            del header["sha256"], header["model"]["jax_version"]
        assert old == new
        arrays = safetensors.numpy.load_file(path)
        again = safetensors.numpy.load_file(tmp_path / name)
        assert set(arrays) == set(again)
        for array in arrays:
            np.testing.assert_array_equal(arrays[array], again[array])


def test_what_the_model_of_version_1_means():
    model = load_model(GOLDEN / "model.safetensors")
    assert repr(model.mixture) == (
        "Mixture(family=GaussianFull(dim=2), num_components=2, sticks=DirichletProcess(infer_concentration=False))"
    )
    assert model.settings["name"] == "model of version 1"
    np.testing.assert_array_equal(model.arrays["threshold/image"], [1.5, np.inf])
    assert float(model.posterior.counts.sum()) == pytest.approx(40)


def test_detector_and_store_of_version_1():
    config, state = load_detector_model(GOLDEN / "detector.safetensors")
    assert (config.num_principal, config.num_components) == (3, 2)
    assert (config.family, config.backend) == ("gaussian", "cavi")
    assert state.calibration.image.num_images == state.facts.num_held_out == 1
    assert state.reduction.axes.shape == (state.num_inputs, 3)
    stored, again = load_model(GOLDEN / "detector.safetensors"), model_of(config, state)
    assert set(again.arrays) == set(stored.arrays)
    for name, array in stored.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
    settings = json.loads(json.dumps(again.settings))
    assert settings | {"detector": settings["detector"] | stored.settings["detector"]} == settings
    since = {"num_left_out": 0, "num_trimmed": 0, "training_images": [], "radius": None}
    since |= {"contested": None, "within_over_between": None}
    assert stored.settings | {"detector": settings["detector"], **since} == settings
    store = FeatureStore(GOLDEN / "store")
    assert store.shape == (33, 2)
    assert [name for name, _ in store.named_rows()] == ["a", "b", "c"]


def test_checkpoint_of_version_1_is_whole_and_told_to_be_of_that_version():
    path, kind = GOLDEN / "checkpoint" / checkpoints.FILE_NAME, checkpoints.CHECKPOINT_FILE
    description, arrays = tree_store.read_tree(path, kind._replace(version=1))
    assert [number for number, *_ in description["history"]] == [1, 2]
    assert arrays["key"].dtype == np.uint32
    with pytest.raises(ValueError, match=r"must have format version 2, got 1; read it with"):
        tree_store.read_tree(path, kind)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_no_fit_gives_is_not_saved(tmp_path, value):
    model = load_model(GOLDEN / "model.safetensors")
    counts = model.posterior.counts.at[0].set(value)
    wrong = Model(model.mixture, model.prior, model.posterior._replace(counts=counts), {})
    with pytest.raises(
        ValueError, match=r"posterior must be what fit returned, got posterior/counts"
    ):
        save_model(tmp_path / "m", wrong)
    assert not list(tmp_path.iterdir())
