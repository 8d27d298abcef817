"""DINOv2 and DINOv3 checkpoints whose every parameter is random, made by numpy from a seed.

Shared by the parity tests and by the script that stores their golden outputs, so that the weights
need not be stored: a tensor depends on nothing but the seed, its name and its shape.
"""

import json
import zlib

import numpy as np
from safetensors.numpy import save_file

from jaxdpmm.features.config import backbone_config
from jaxdpmm.features.conversion import expected_tensors

_SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 518,
    "patch_size": 14,
    "mlp_ratio": 4,
}
_PLAIN = {"model_type": "dinov2"} | _SIZES
_REGISTERS = {"model_type": "dinov2_with_registers", "num_register_tokens": 4} | _SIZES

VARIANTS = {
    "plain": _PLAIN,
    "registers": _REGISTERS,
    "swiglu": _PLAIN | {"use_swiglu_ffn": True},
    "registers-swiglu": _REGISTERS | {"use_swiglu_ffn": True},
    "without-qkv-bias": _PLAIN | {"qkv_bias": False, "layerscale_value": 0.5},
}

_DINOV3 = {
    "model_type": "dinov3_vit",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 224,
    "patch_size": 16,
    "num_register_tokens": 4,
}
_GATED = {"use_gated_mlp": True, "hidden_act": "silu"}

DINOV3_VARIANTS = {
    "small": _DINOV3,
    "gated": _DINOV3
    | _GATED
    | {"hidden_size": 48, "num_attention_heads": 3, "intermediate_size": 80},
    "gated-without-biases": _DINOV3
    | _GATED
    | {"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 4}
    | {"query_bias": False, "value_bias": False},
    "key-bias-alone": _DINOV3
    | {"query_bias": False, "key_bias": True, "value_bias": False, "proj_bias": False}
    | {"mlp_bias": False, "num_register_tokens": 0, "rope_theta": 50.0, "layer_norm_eps": 1e-6},
}


def random_tensors(values: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Every tensor of a checkpoint of this configuration, in torch layout, none at a default."""
    table = expected_tensors(backbone_config(values))
    tensors = {name: _random_tensor(name, shape, seed) for name, (_, shape) in table.items()}
    for name in [name for name in tensors if ".gate_up_proj." in name]:  # two in the files
        for part, half in zip(("gate", "up"), np.split(tensors.pop(name), 2), strict=True):
            tensors[name.replace("gate_up", part)] = half
    return tensors


def _random_tensor(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
    if name.endswith(".weight") and len(shape) > 1:
        noise /= np.sqrt(np.prod(shape[1:]))  # unit variance in, unit variance out
    elif name.endswith(".weight") or name.endswith(".lambda1"):
        noise = 1 + 0.3 * noise
    return noise.astype(np.float32)


def write_checkpoint(folder, values: dict, tensors: dict[str, np.ndarray] | None = None):
    """A folder in Hugging Face format; random tensors unless others are given."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(values) if tensors is None else tensors
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def random_pixels(height: int, width: int, batch: int = 1) -> np.ndarray:
    """Normalised pixels (batch, height, width, 3), one standard normal number each."""
    generator = np.random.default_rng([height, width])
    return generator.standard_normal((batch, height, width, 3), np.float32)
