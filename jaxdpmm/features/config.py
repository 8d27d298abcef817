"""The shapes of all backbones: which architecture a `config.json` describes.

An architecture is a frozen dataclass without arrays that answers what `vision_transformer.py` asks; a further one is
added here and, with the names of its tensors, in `naming.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxdpmm.features.config_checks import IMAGENET_MEAN, IMAGENET_STD
from jaxdpmm.features.dinov2_config import DINOV2_TYPES, Dinov2Config
from jaxdpmm.features.dinov3_config import DINOV3_TYPE, Dinov3Config
from jaxdpmm.storage.descriptions import shown

BackboneConfig = Dinov2Config | Dinov3Config

_ARCHITECTURES: dict[str, type[Dinov2Config] | type[Dinov3Config]] = {
    **dict.fromkeys(DINOV2_TYPES, Dinov2Config),
    DINOV3_TYPE: Dinov3Config,
}


@dataclass(frozen=True)
class GivenFeatures:
    """What stands where a backbone has its shape, for features that were made elsewhere (`given.py`).

    Attributes:
        name: of the features.
        hidden_size: numbers per patch.
    """

    name: str
    hidden_size: int
    patch_size: ClassVar[int] = 1
    num_hidden_layers: ClassVar[int] = 0
    image_mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    image_std: ClassVar[tuple[float, float, float]] = IMAGENET_STD


def backbone_config(values: Mapping[str, Any], *, compute_dtype: str = "float32") -> BackboneConfig:
    """The configuration that the entries of a `config.json` describe.

    Args:
        values: See `Dinov2Config.from_dict` and `Dinov3Config.from_dict`.
        compute_dtype: "float32" or "bfloat16", for the matrix products.

    Raises:
        ValueError: They describe no network that this port computes, or some are missing.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in _ARCHITECTURES:
        raise ValueError(
            f"model_type must be one of {', '.join(map(repr, _ARCHITECTURES))}, got {shown(kind)}; give the "
            "config.json of a DINOv2 or of a DINOv3 ViT checkpoint."
        )
    return _ARCHITECTURES[kind].from_dict(values, compute_dtype=compute_dtype)
