"""The shape of a DINOv2: everything about it that is not an array.

`Dinov2Config` is read from the `config.json` of a Hugging Face folder and checked here, once; it is
hashable, and therefore static under `jax.jit`. Not here: the layers (`vision_transformer.py`, read
next) and the weights (`weights.py`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxdpmm.features import config_checks as checks
from jaxdpmm.features.config_checks import IMAGENET_MEAN, IMAGENET_STD
from jaxdpmm.storage.descriptions import shown

_PLAIN, _REGISTERS = "dinov2", "dinov2_with_registers"
DINOV2_TYPES = (_PLAIN, _REGISTERS)
_REQUIRED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")
_SIZES = {
    "hidden_size": (1, 2**14),
    "num_hidden_layers": (1, 100),
    "num_attention_heads": (1, 2**10),
    "image_size": (1, 2**13),
    "patch_size": (1, 2**8),
    "num_register_tokens": (0, 2**10),
}
"""Least and largest size; the published giant has 1536, 40, 24, 518, 14 and 4."""


@dataclasses.dataclass(frozen=True)
class Dinov2Config:
    """Sizes and switches of one DINOv2 (Oquab et al. 2023), under the names of its `config.json`.

    Attributes:
        model_type: "dinov2" or "dinov2_with_registers" (Darcet et al. 2023); the latter also
            antialiases when it resizes its position embeddings.
        hidden_size: Width D of a token; 384, 768, 1024 and 1536 in the published small to giant.
        num_hidden_layers: Number of transformer blocks.
        num_attention_heads: Heads per block; divides `hidden_size`.
        mlp_ratio: Hidden width of the MLP over `hidden_size` (SwiGLU takes two thirds of it).
        image_size: Side in pixels of the square images that the position embeddings belong to.
        patch_size: Side of a patch in pixels.
        layer_norm_eps: Epsilon of every layer norm.
        qkv_bias: Whether query, key and value have a bias.
        use_swiglu_ffn: SwiGLU instead of the GELU MLP (giant).
        num_register_tokens: Extra tokens between the class token and the patches.
        compute_dtype: "float32" or "bfloat16", for the matrix products; the residual stream, the
            norms and the softmax are float32 in both. Ours, not in `config.json`.
        image_mean: Mean of red, green and blue that pixels are normalised with. Like `image_std` from
            the `preprocessor_config.json` beside the weights; ImageNet's in the published networks,
            others in some that were trained anew, such as those for radiographs.
        image_std: Standard deviation of red, green and blue that pixels are normalised with.
    """

    model_type: str = _PLAIN
    hidden_size: int = 384
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    mlp_ratio: int | float = 4
    image_size: int = 518
    patch_size: int = 14
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True
    use_swiglu_ffn: bool = False
    num_register_tokens: int = 0
    compute_dtype: str = "float32"
    image_mean: tuple[float, float, float] = dataclasses.field(default=IMAGENET_MEAN, repr=False)
    image_std: tuple[float, float, float] = dataclasses.field(default=IMAGENET_STD, repr=False)

    # The same in every DINOv2, which has no rotary positions.
    rope_theta: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        checks.check_compute_dtype(self.compute_dtype)
        _check_values(vars(self))

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, compute_dtype: str = "float32"
    ) -> "Dinov2Config":
        """Check and take over the entries of a Hugging Face `config.json`.

        Args:
            values: The parsed file, or `to_dict()` of a transformers configuration, and `image_mean`
                and `image_std` of the `preprocessor_config.json` beside it where there is one;
                entries that do not change the features (dropout, ...) are ignored.
            compute_dtype: See the class.

        Raises:
            ValueError: The entries describe no DINOv2 that this port computes, or some are missing.
        """
        _check_supported(values)
        fields = {field.name for field in dataclasses.fields(cls)} - {"compute_dtype"}
        chosen = {name: values[name] for name in sorted(fields & set(values))}
        chosen |= {
            name: checks.square_side(name, values[name]) for name in ("image_size", "patch_size")
        }
        chosen |= checks.colours(values)
        if values["model_type"] == _PLAIN:
            chosen["num_register_tokens"] = 0
        else:
            chosen.setdefault("num_register_tokens", 4)  # what transformers assumes
        _check_values(_DEFAULTS | chosen)
        return cls(**chosen, compute_dtype=compute_dtype)

    @property
    def antialias(self) -> bool:
        """Whether the position embeddings are resized with antialiasing."""
        return self.model_type == _REGISTERS

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the first patch: the class token and the registers."""
        return 1 + self.num_register_tokens

    @property
    def mlp_size(self) -> int:
        """Hidden width of the MLP; for SwiGLU two thirds of it, rounded up to a multiple of 8."""
        size = int(self.hidden_size * self.mlp_ratio)
        return (int(size * 2 / 3) + 7) // 8 * 8 if self.use_swiglu_ffn else size

    # What `vision_transformer.py` asks of every architecture under one name.

    @property
    def native_side(self) -> int:
        """Patches per side of the grid that the learned position embeddings belong to."""
        return self.image_size // self.patch_size

    @property
    def is_gated(self) -> bool:
        """Whether the MLP is gated."""
        return self.use_swiglu_ffn

    @property
    def activation(self) -> str:
        """The nonlinearity of the MLP."""
        return "silu" if self.use_swiglu_ffn else "gelu"

    @property
    def biased(self) -> frozenset[str]:
        """Which of the layers "query", "key", "value", "output" and "mlp" have a bias."""
        return frozenset(
            {"output", "mlp"} | ({"query", "key", "value"} if self.qkv_bias else set())
        )


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Dinov2Config)}


def _check_supported(values: Mapping[str, Any]) -> None:
    if values.get("model_type") not in DINOV2_TYPES:
        raise ValueError(
            f"model_type must be {_PLAIN!r} or {_REGISTERS!r}, got {shown(values.get('model_type'))}; "
            "give the config.json of a DINOv2 checkpoint."
        )
    checks.check_present(values, _REQUIRED)
    checks.check_only(values, "hidden_act", ("gelu",), "DINOv2")
    checks.check_only(values, "num_channels", (3,), "DINOv2")


def _check_values(values: Mapping[str, Any]) -> None:
    """Refuse sizes and switches that no DINOv2 has, before anything is traced with them."""
    checks.check_sizes(values, _SIZES)
    checks.check_number("mlp_ratio", values["mlp_ratio"], 1 / 4, 64)
    checks.check_number("layer_norm_eps", values["layer_norm_eps"], 0, 1e-2)
    checks.check_switches(values, ("qkv_bias", "use_swiglu_ffn"))
    if values["patch_size"] > values["image_size"]:
        raise ValueError(
            f"patch_size must be at most image_size={values['image_size']}, got {values['patch_size']}; correct the "
            "configuration."
        )
    checks.check_heads(values["hidden_size"], values["num_attention_heads"])
    checks.check_colours(values)
