"""The shape of a DINOv2: everything about it that is not an array.

`Dinov2Config` is read from the `config.json` of a Hugging Face folder and checked here, once; it is
hashable, and therefore static under `jax.jit`. Not here: the layers (`dinov2.py`, read next) and
the weights (`weights.py`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

COMPUTE_DTYPES = ("float32", "bfloat16")

_PLAIN, _REGISTERS = "dinov2", "dinov2_with_registers"
_REQUIRED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")


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

    def __post_init__(self):
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise ValueError(
                f"dtype must be one of {', '.join(COMPUTE_DTYPES)}, got {self.compute_dtype!r}; "
                "choose float32 on CPU and bfloat16 for speed on an accelerator."
            )
        for name in _REQUIRED:
            _check_positive(name, getattr(self, name))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                "hidden_size must be a multiple of "
                f"num_attention_heads={self.num_attention_heads}, got {self.hidden_size}; correct "
                "the configuration."
            )

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, compute_dtype: str = "float32"
    ) -> "Dinov2Config":
        """Check and take over the entries of a Hugging Face `config.json`.

        Args:
            values: The parsed file, or `to_dict()` of a transformers configuration; entries that do
                not change the features (dropout, initialisation, ...) are ignored.
            compute_dtype: See the class.

        Raises:
            ValueError: The entries describe no DINOv2 that this port computes, or some are missing.
        """
        _check_supported(values)
        fields = {field.name for field in dataclasses.fields(cls)} - {"compute_dtype"}
        chosen = {name: values[name] for name in sorted(fields & set(values))}
        chosen |= {name: _square(name, values[name]) for name in ("image_size", "patch_size")}
        for name in _REQUIRED:
            _check_positive(name, chosen[name])
        if values["model_type"] == _PLAIN:
            chosen["num_register_tokens"] = 0
        else:
            chosen.setdefault("num_register_tokens", 4)  # what transformers assumes
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


def _check_supported(values: Mapping[str, Any]) -> None:
    if values.get("model_type") not in (_PLAIN, _REGISTERS):
        raise ValueError(
            f"model_type must be {_PLAIN!r} or {_REGISTERS!r}, got {values.get('model_type')!r}; "
            "give the config.json of a DINOv2 checkpoint."
        )
    if missing := [name for name in _REQUIRED if name not in values]:
        raise ValueError(
            f"config.json must hold {', '.join(_REQUIRED)}, got one without {', '.join(missing)}; "
            "download it again from the same place as the weights."
        )
    for name, only in (("hidden_act", "gelu"), ("num_channels", 3)):
        if values.get(name, only) != only:
            raise ValueError(
                f"{name} must be {only!r}, got {values[name]!r}; use one of the published DINOv2 "
                "checkpoints."
            )


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{name} must be a positive integer, got {value!r}; correct the configuration."
        )


def _square(name: str, value: Any) -> Any:
    """A side from 14, [14, 14] or (14, 14)."""
    if isinstance(value, list | tuple):
        if len(set(value)) != 1:
            raise ValueError(
                f"{name} must be square, got {value!r}; use a checkpoint trained on square images."
            )
        return value[0]
    return value
