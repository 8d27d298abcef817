"""The shape of a DINOv3 ViT: everything about it that is not an array.

`Dinov3Config` is read from the `config.json` of a Hugging Face folder and checked here, once; it is hashable, and
therefore static under `jax.jit`. Not here: the layers (`vision_transformer.py`, read next), the weights
(`weights.py`) and the ConvNeXt variants of DINOv3, which have no patches.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxdpmm.features import config_checks as checks
from jaxdpmm.features.config_checks import IMAGENET_MEAN, IMAGENET_STD
from jaxdpmm.storage.descriptions import shown

DINOV3_TYPE = "dinov3_vit"

_SIZES = {
    "hidden_size": (1, 2**14),
    "num_hidden_layers": (1, 100),
    "num_attention_heads": (1, 2**10),
    "intermediate_size": (1, 2**16),
    "patch_size": (1, 2**8),
    "num_register_tokens": (0, 2**10),
}
"""Least and largest size; the published 7B has 4096, 40, 32, 8192, 16 and 4."""
_REQUIRED = tuple(name for name in _SIZES if name != "num_register_tokens")
_BIASES = ("query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias")
_ACTIVATIONS = ("gelu", "silu")


@dataclasses.dataclass(frozen=True)
class Dinov3Config:
    """Sizes and switches of one DINOv3 ViT (Simeoni et al. 2025), under the names of its `config.json`.

    Attributes:
        hidden_size: Width D of a token; 384, 768, 1024, 1280 and 4096 in the published ViT-S to ViT-7B.
        num_hidden_layers: Number of transformer blocks.
        num_attention_heads: Heads per block; 4 times it divides `hidden_size`, as rotary positions turn pairs of
            coordinates on two axes.
        intermediate_size: Hidden width of the MLP.
        patch_size: Side of a patch in pixels.
        layer_norm_eps: Epsilon of every layer norm.
        rope_theta: Base of the periods of the rotary positions.
        hidden_act: "gelu" or "silu", the nonlinearity of the MLP.
        use_gated_mlp: Gated MLP (S+, H+, 7B) instead of two dense layers.
        query_bias: Whether the queries have a bias.
        key_bias: Whether the keys have a bias; in the published networks it was masked in training, and they have none.
        value_bias: Whether the values have a bias.
        proj_bias: Whether the output of the attention has a bias.
        mlp_bias: Whether the layers of the MLP have biases.
        num_register_tokens: Extra tokens between the class token and the patches; 4 in the published networks.
        image_mean: Mean of red, green and blue that pixels are normalised with. Like `image_std` from the
            `preprocessor_config.json` beside the weights, as the networks for satellite images have others than
            those for photographs, which have ImageNet's.
        image_std: Standard deviation of red, green and blue that pixels are normalised with.
        compute_dtype: "float32" or "bfloat16", for the matrix products; the residual stream, the norms, the rotation
            and the softmax are float32 in both. Ours, not in `config.json`.
    """

    hidden_size: int = 384
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    intermediate_size: int = 1536
    patch_size: int = 16
    layer_norm_eps: float = 1e-5
    rope_theta: int | float = 100.0
    hidden_act: str = "gelu"
    use_gated_mlp: bool = False
    query_bias: bool = True
    key_bias: bool = False
    value_bias: bool = True
    proj_bias: bool = True
    mlp_bias: bool = True
    num_register_tokens: int = 0
    image_mean: tuple[float, float, float] = dataclasses.field(default=IMAGENET_MEAN, repr=False)
    image_std: tuple[float, float, float] = dataclasses.field(default=IMAGENET_STD, repr=False)
    compute_dtype: str = "float32"

    # The same in every DINOv3, which has no learned positions that could be resized.
    model_type: ClassVar[str] = DINOV3_TYPE
    native_side: ClassVar[int | None] = None
    antialias: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.check_compute_dtype(self.compute_dtype)
        _check_values(vars(self))

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, compute_dtype: str = "float32"
    ) -> "Dinov3Config":
        """Check and take over the entries of a Hugging Face `config.json`.

        Args:
            values: The parsed file, or `to_dict()` of a transformers configuration, and `image_mean` and `image_std`
                of the `preprocessor_config.json` beside it where there is one; entries that do not change the
                features (dropout, augmented positions, ...) are ignored.
            compute_dtype: See the class.

        Raises:
            ValueError: The entries describe no DINOv3 that this port computes, or some are missing.
        """
        if values.get("model_type") != DINOV3_TYPE:
            raise ValueError(
                f"model_type must be {DINOV3_TYPE!r}, got {shown(values.get('model_type'))}; give the config.json of "
                "a DINOv3 ViT checkpoint."
            )
        checks.check_present(values, _REQUIRED)
        checks.check_only(values, "num_channels", (3,), "DINOv3")
        fields = {field.name for field in dataclasses.fields(cls)} - {"compute_dtype"}
        chosen = {name: values[name] for name in sorted(fields & set(values))}
        chosen["patch_size"] = checks.square_side("patch_size", values["patch_size"])
        chosen |= checks.colours(values)
        _check_values(_DEFAULTS | chosen)
        return cls(**chosen, compute_dtype=compute_dtype)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the first patch: the class token and the registers."""
        return 1 + self.num_register_tokens

    # What `vision_transformer.py` asks of every architecture under one name.

    @property
    def mlp_size(self) -> int:
        """Hidden width of the MLP."""
        return self.intermediate_size

    @property
    def is_gated(self) -> bool:
        """Whether the MLP is gated."""
        return self.use_gated_mlp

    @property
    def activation(self) -> str:
        """The nonlinearity of the MLP."""
        return self.hidden_act

    @property
    def biased(self) -> frozenset[str]:
        """Which of the layers "query", "key", "value", "output" and "mlp" have a bias."""
        layers = ("query", "key", "value", "output", "mlp")
        return frozenset(
            layer for layer, name in zip(layers, _BIASES, strict=True) if getattr(self, name)
        )


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Dinov3Config)}


def _check_values(values: Mapping[str, Any]) -> None:
    """Refuse sizes and switches that no DINOv3 has, before anything is traced with them."""
    checks.check_sizes(values, _SIZES)
    checks.check_number("layer_norm_eps", values["layer_norm_eps"], 0, 1e-2)
    checks.check_number("rope_theta", values["rope_theta"], 1, 1e6)
    checks.check_switches(values, (*_BIASES, "use_gated_mlp"))
    checks.check_only(values, "hidden_act", _ACTIVATIONS, "DINOv3")
    checks.check_heads(values["hidden_size"], values["num_attention_heads"], multiple=4)
    checks.check_colours(values)
