"""What the tensors of a checkpoint are called: in published files, by transformers in memory, and here.

One table per architecture. Parameters here have the same names in every architecture, so that `vision_transformer.py`
need not know which one it computes. Read next: `conversion.py`.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxdpmm.features.config import BackboneConfig, Dinov3Config


class _Names(NamedTuple):
    """Names of one architecture, as regular expressions and what they are replaced with.

    Attributes:
        published: From our module, joined by dots, to the published one.
        variants: From names that transformers gives in memory, or in checkpoints with a classifier, to published ones.
        gate_and_value: The published name of the matrix that holds both layers of a gated MLP, the gate first.
        unused: Tensors that only training reads.
    """

    published: tuple[tuple[str, str], ...]
    variants: tuple[tuple[str, str], ...]
    gate_and_value: str
    unused: tuple[str, ...] = ("embeddings.mask_token",)


_CLASSIFIER = ("dinov2.", "dinov2_with_registers.")  # prefixes of checkpoints with a classifier

_DINOV2 = _Names(
    published=(
        (r"^layer_(\d+)", r"encoder.layer.\1"),
        (r"\.attention\.(query|key|value)$", r".attention.attention.\1"),
        (r"\.attention\.output$", ".attention.output.dense"),
    ),
    variants=(
        (rf"^({'|'.join(map(re.escape, _CLASSIFIER))})", ""),
        (r"\.attention\.q_proj\.", ".attention.attention.query."),
        (r"\.attention\.k_proj\.", ".attention.attention.key."),
        (r"\.attention\.v_proj\.", ".attention.attention.value."),
        (r"\.attention\.o_proj\.", ".attention.output.dense."),
        (r"\.mlp\.down_proj\.", ".mlp.weights_out."),
    ),
    gate_and_value="weights_in",
)

_DINOV3 = _Names(
    published=(
        (r"^layer_(\d+)", r"layer.\1"),
        (r"\.attention\.(q|k|v)(uery|ey|alue)$", r".attention.\1_proj"),
        (r"\.attention\.output$", ".attention.o_proj"),
        (r"\.mlp\.fc1$", ".mlp.up_proj"),
        (r"\.mlp\.weights_in$", ".mlp.gate_up_proj"),
        (r"\.mlp\.(fc2|weights_out)$", ".mlp.down_proj"),
        (r"^embeddings\.patch_embeddings\.projection$", "embeddings.patch_embeddings"),
        (r"^layernorm$", "norm"),
    ),
    variants=((r"^model\.layer\.", "layer."),),
    gate_and_value="gate_up_proj",
)


def published_name(config: BackboneConfig, path: tuple[str, ...]) -> str:
    """What published files call the parameter at a path here, such as ("layer_0", "norm1", "scale")."""
    *modules, leaf = path
    name = _renamed(".".join(modules), _names(config).published)
    return f"{name}.{'weight' if leaf in ('kernel', 'scale') else leaf}"


def under_published_names(
    config: BackboneConfig, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The tensors that features depend on, under their published names, the two layers of a gated MLP as one.

    Args:
        config: Of the architecture that they belong to.
        tensors: As found, in torch layout. Those of unknown names come back under these.
    """
    names = _names(config)
    has_classifier = any(key.startswith(_CLASSIFIER) for key in tensors)
    renamed: dict[str, np.ndarray] = {}
    for key, value in tensors.items():
        name = _renamed(key, names.variants)
        if name in names.unused or (has_classifier and name.startswith("classifier.")):
            continue
        if name == "embeddings.register_tokens" and value.size == 0:  # a network without registers
            continue
        renamed[name] = value
    return _gates_joined(renamed, names.gate_and_value)


def _gates_joined(tensors: dict[str, np.ndarray], joined: str) -> dict[str, np.ndarray]:
    """The same with each pair of gate and value as one tensor; pairs that do not fit stay, and are unknown then."""
    for gate in [name for name in tensors if ".mlp.gate_proj." in name]:
        up = gate.replace(".gate_proj.", ".up_proj.")
        parts = [tensors[name] for name in (gate, up) if name in tensors]
        if (
            len(parts) == 2
            and all(part.ndim for part in parts)
            and parts[0].shape[1:] == parts[1].shape[1:]
        ):
            del tensors[gate], tensors[up]
            tensors[gate.replace(".gate_proj.", f".{joined}.")] = np.concatenate(parts)
    return tensors


def _names(config: BackboneConfig) -> _Names:
    return _DINOV3 if isinstance(config, Dinov3Config) else _DINOV2


def _renamed(name: str, replacements: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in replacements:
        name = re.sub(pattern, replacement, name)
    return name
