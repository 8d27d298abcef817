"""Tensors under the names of the Hugging Face hub, checked and laid out as Flax parameters.

The table of what must be there comes from the network itself: the shapes of its parameters, each
under the name that PyTorch gives it. Read next: `weights.py`, which brings the tensors.
"""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdpmm.features.config import BackboneConfig
from jaxdpmm.features.naming import published_name, under_published_names
from jaxdpmm.features.vision_transformer import VisionTransformer
from jaxdpmm.storage.descriptions import shown

# Axes of a dense and of a convolution kernel, by rank; every other tensor is laid out alike.
_KERNEL_TO_FLAX = {2: (1, 0), 4: (2, 3, 1, 0)}
_KERNEL_TO_TORCH = {2: (1, 0), 4: (3, 2, 0, 1)}

MOST_LISTED = 50  # tensors in one message


def convert_tensors(
    config: BackboneConfig, tensors: Mapping[str, np.ndarray], name: str = "tensors"
) -> dict[str, Any]:
    """The parameters of `VisionTransformer` from tensors in torch layout.

    Args:
        config: The network that they must fit, exactly.
        tensors: Under their Hugging Face names, with or without the prefix "dinov2." of a
            classification checkpoint, whose classifier is left out; so is the mask token, which
            only training reads.
        name: What to call them in an error.

    Raises:
        ValueError: Some are unknown, missing, misshapen, not of a floating type or not finite; the message lists them,
            up to `MOST_LISTED`.
    """
    tensors = under_published_names(config, tensors)
    expected = expected_tensors(config)
    if problems := _problems({key: shape for key, (_, shape) in expected.items()}, tensors):
        listed = "; ".join(problems[:MOST_LISTED]) + "; ..." * (len(problems) > MOST_LISTED)
        raise ValueError(
            f"the tensors of {name!r} must be exactly those of its {config.model_type} "
            f"configuration, got {len(problems)} that differ: {listed}. Use the "
            "config.json that belongs to the weights."
        )
    paths = {key: path for key, (path, _) in expected.items()}
    return unflatten_dict(
        {path: _to_flax(path, tensors[key], config.compute_dtype) for key, path in paths.items()}
    )


@lru_cache(maxsize=16)
def expected_tensors(
    config: BackboneConfig,
) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Every tensor that a checkpoint of this configuration has.

    Returns:
        Its name on the hub -> (its path in the Flax parameters, its shape in torch layout).
    """
    one_layer = dataclasses.replace(config, num_hidden_layers=1)  # all others are like it
    image = jax.ShapeDtypeStruct((1, config.patch_size, config.patch_size, 3), jnp.float32)
    params = jax.eval_shape(VisionTransformer(one_layer).init, jax.random.key(0), image)["params"]
    table = {}
    for first, leaf in flatten_dict(params).items():
        axes = _KERNEL_TO_TORCH[leaf.ndim] if first[-1] == "kernel" else range(leaf.ndim)
        shape = tuple(leaf.shape[axis] for axis in axes)
        for layer in range(config.num_hidden_layers if first[0] == "layer_0" else 1):
            path = (f"layer_{layer}", *first[1:]) if first[0] == "layer_0" else first
            table[published_name(config, path)] = (path, shape)
    return table


def _problems(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray]
) -> list[str]:
    missing = [f"missing {key} {shape}" for key, shape in expected.items() if key not in found]
    unknown = [
        f"unknown {_printable(key)} {value.shape}"
        for key, value in found.items()
        if key not in expected
    ]
    misshapen = [
        f"misshapen {key}, expected {shape} and found {found[key].shape}"
        for key, shape in expected.items()
        if key in found and found[key].shape != shape
    ]
    wrong = [
        f"wrong {key}, expected finite numbers of a floating type and found {_kind(found[key])}"
        for key in expected
        if key in found and not _is_finite(found[key])
    ]
    return missing + unknown + misshapen + wrong


def _is_finite(tensor: np.ndarray) -> bool:
    """Whether a tensor holds floating-point numbers alone, all finite."""
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        return False
    wide = tensor if tensor.dtype.kind == "f" else tensor.astype(np.float32)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return bool(np.isfinite(np.sum(wide, dtype=np.float64)))


def _kind(tensor: np.ndarray) -> str:
    is_floating = jnp.issubdtype(tensor.dtype, jnp.floating)
    return f"{tensor.dtype}, not all finite" if is_floating else str(tensor.dtype)


def _printable(name: str) -> str:
    return name if name.isprintable() and len(name) < 200 else shown(name)


def _to_flax(path: tuple[str, ...], tensor: np.ndarray, compute_dtype: str) -> jax.Array:
    if path[-1] != "kernel":
        return jnp.array(tensor, dtype=jnp.float32)  # a copy: torch may change its own
    kernel = tensor.transpose(_KERNEL_TO_FLAX[tensor.ndim])
    return jnp.array(np.ascontiguousarray(kernel), dtype=compute_dtype)
