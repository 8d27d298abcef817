"""Loading a backbone from folders: what it gives, and one clear sentence for everything wrong with one."""

import json

import chex
import jax
import numpy as np
import pytest
from dinov2_random import VARIANTS, random_tensors, write_checkpoint
from safetensors.numpy import save_file

from jaxdpmm.features import load_backbone

PLAIN = VARIANTS["plain"]


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(PLAIN)


def same_params(ours, theirs):
    chex.assert_trees_all_equal(ours.params, theirs.params)


def test_folder_as_path_and_as_text(tmp_path):
    folder = write_checkpoint(tmp_path / "model", PLAIN)
    backbone = load_backbone(folder)
    assert backbone.name == str(folder)
    assert backbone.config.hidden_size == 64
    same_params(load_backbone(str(folder)), backbone)


def test_kernels_are_laid_out_for_flax(tmp_path, tensors):
    params = load_backbone(write_checkpoint(tmp_path, PLAIN, tensors)).params
    name = "encoder.layer.1.attention.attention.key"
    np.testing.assert_array_equal(
        params["layer_1"]["attention"]["key"]["kernel"], tensors[f"{name}.weight"].T
    )
    np.testing.assert_array_equal(
        params["layer_1"]["attention"]["key"]["bias"], tensors[f"{name}.bias"]
    )
    kernel = params["embeddings"]["patch_embeddings"]["projection"]["kernel"]
    assert kernel.shape == (14, 14, 3, 64)
    assert (
        kernel[2, 5, 1, 7] == tensors["embeddings.patch_embeddings.projection.weight"][7, 1, 2, 5]
    )


def test_shards_named_by_an_index(tmp_path, tensors):
    whole = load_backbone(write_checkpoint(tmp_path / "whole", PLAIN, tensors))
    folder = write_checkpoint(tmp_path / "shards", PLAIN, tensors)
    (folder / "model.safetensors").unlink()
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    where = {name: files[i % 2] for i, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({name: tensors[name] for name in where if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    same_params(load_backbone(folder), whole)
    (folder / files[1]).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"all 2 shards .* none called {files[1]}; download"
    ):
        load_backbone(folder)


def test_classifier_prefix_and_mask_token_are_accepted(tmp_path, tensors):
    whole = load_backbone(write_checkpoint(tmp_path / "plain", PLAIN, tensors))
    prefixed = {f"dinov2.{name}": value for name, value in tensors.items()}
    prefixed |= {
        "dinov2.embeddings.mask_token": np.zeros((1, 64), np.float32),
        "classifier.weight": np.zeros((10, 128), np.float32),
    }
    same_params(load_backbone(write_checkpoint(tmp_path / "prefixed", PLAIN, prefixed)), whole)


def test_half_precision_files_load_as_float32(tmp_path, tensors):
    halves = {name: value.astype(np.float16) for name, value in tensors.items()}
    backbone = load_backbone(write_checkpoint(tmp_path, PLAIN, halves))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(backbone.params)} == {"float32"}
    np.testing.assert_array_equal(
        backbone.params["layernorm"]["scale"], halves["layernorm.weight"].astype(np.float32)
    )


def test_bfloat16_files_load_as_float32(tmp_path, tensors):
    halves = {name: value.astype(jax.numpy.bfloat16) for name, value in tensors.items()}
    backbone = load_backbone(write_checkpoint(tmp_path, PLAIN, halves))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(backbone.params)} == {"float32"}
    np.testing.assert_array_equal(
        backbone.params["layernorm"]["scale"], halves["layernorm.weight"].astype(np.float32)
    )


def test_all_wrong_tensors_are_listed_in_one_error(tmp_path, tensors):
    wrong = dict(tensors)
    del wrong["layernorm.bias"], wrong["encoder.layer.2.mlp.fc1.weight"]
    wrong["encoder.layer.3.norm1.weight"] = np.ones(64, np.float32)
    wrong["classifier.weight"] = np.ones((2, 128), np.float32)
    wrong["embeddings.cls_token"] = np.ones((1, 1, 32), np.float32)
    with pytest.raises(ValueError, match="5 that differ") as caught:
        load_backbone(write_checkpoint(tmp_path, PLAIN, wrong))
    message = str(caught.value)
    assert "missing layernorm.bias (64,)" in message
    assert "missing encoder.layer.2.mlp.fc1.weight (256, 64)" in message
    assert "unknown encoder.layer.3.norm1.weight (64,)" in message
    assert "unknown classifier.weight (2, 128)" in message
    assert "misshapen embeddings.cls_token, expected (1, 1, 64) and found (1, 1, 32)" in message
    assert message.endswith("Use the config.json that belongs to the weights.")


def test_weights_of_another_variant_are_refused(tmp_path, tensors):
    with pytest.raises(ValueError, match=r"missing embeddings.register_tokens \(1, 4, 64\)"):
        load_backbone(write_checkpoint(tmp_path, VARIANTS["registers"], tensors))


def test_cut_weights(tmp_path, tensors):
    folder = write_checkpoint(tmp_path, PLAIN, tensors)
    whole = (folder / "model.safetensors").read_bytes()
    for length in (0, 5, 1000, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=r"model.safetensors' must be a complete .* cut short .*; download"
        ):
            load_backbone(folder)


def test_absent_parts(tmp_path, tensors):
    with pytest.raises(FileNotFoundError, match="nowhere', which is not a folder; give"):
        load_backbone(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"empty' must hold a config.json, got none; download"
    ):
        load_backbone(tmp_path / "empty")
    folder = write_checkpoint(tmp_path / "model", PLAIN, tensors)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"must hold model.safetensors or .*, got neither; "
    ):
        load_backbone(folder)
    with pytest.raises(FileNotFoundError, match=r"config.json', which is not a folder"):
        load_backbone(folder / "config.json")


@pytest.mark.parametrize("text", ['{"model_type": "din', "\udcff", "[1]"])
def test_broken_config(tmp_path, tensors, text):
    folder = write_checkpoint(tmp_path, PLAIN, tensors)
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        ValueError,
        match=r"config.json' must be (JSON|a JSON object), got .*; download the file again",
    ):
        load_backbone(folder)


def test_other_source_and_dtype(tmp_path, tensors):
    with pytest.raises(TypeError, match="a folder or a transformers model, got int; try"):
        load_backbone(7)
    folder = write_checkpoint(tmp_path, PLAIN, tensors)
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, got 'int8'"):
        load_backbone(folder, dtype="int8")
