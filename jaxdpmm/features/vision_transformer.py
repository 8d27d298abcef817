"""The vision transformer of DINOv2 and DINOv3 in Flax: any published variant, any image size, any layer.

The configuration says which: learned positions that are resized (DINOv2) or rotary ones (DINOv3),
with or without registers, a plain or a gated MLP, and which layers have a bias.

Written in linen, not nnx: a frozen feature extractor is a pure function of a dictionary of arrays,
which linen's `apply` is. The numbers equal those of the PyTorch models of transformers
(`tests/reference/test_dinov2_torch.py`, `tests/reference/test_dinov3_torch.py`).

Dropout, stochastic depth, augmented positions and masked patches are left out: this port is for
inference. Weights come from `weights.py`; image normalisation and patch grids from `extractor.py`,
which is what to read next.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm.features.attention import Rotation, dot_product_attention, rotary_positions, rotate
from jaxdpmm.features.config import BackboneConfig
from jaxdpmm.features.interpolation import resize_position_embeddings

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": partial(nn.gelu, approximate=False),
    "silu": nn.silu,
}


class VisionTransformer(nn.Module):
    """The whole network, from normalised pixels to tokens.

    Attributes:
        config: Sizes and switches.

    References:
        Oquab et al. (2023), DINOv2: Learning robust visual features without supervision.
        Darcet et al. (2023), Vision transformers need registers.
        Simeoni et al. (2025), DINOv3.
    """

    config: BackboneConfig

    @nn.compact
    def __call__(
        self, pixels: Float[Array, "B H W 3"], layers: tuple[int, ...] | None = None
    ) -> tuple[Float[Array, "B T D"], ...]:
        """Tokens after some of the layers, each through the final norm.

        Args:
            pixels: Normalised images. What exceeds a multiple of the patch size at the
                lower and right border is not seen, as in PyTorch.
            layers: How many blocks to run before each output, in any order: 0 is the embeddings,
                and `num_hidden_layers`, the default, gives transformers' `last_hidden_state`.

        Returns:
            One float32 array for each of `layers`, of shape (B, 1 + registers + patches, D): the
            class token, the registers, then the patches row by row.
        """
        config = self.config
        wanted = (config.num_hidden_layers,) if layers is None else layers
        norm = nn.LayerNorm(config.layer_norm_eps, name="layernorm")
        tokens = Embeddings(config, name="embeddings")(pixels)
        rotation = _rotation(config, pixels.shape[1:3])
        after = {0: norm(tokens)} if 0 in wanted else {}
        for number in range(1, max(wanted) + 1):
            tokens = Block(config, name=f"layer_{number - 1}")(tokens, rotation)
            if number in wanted:
                after[number] = norm(tokens)
        return tuple(after[number] for number in wanted)


class Embeddings(nn.Module):
    """Pixels to tokens: patches of a strided convolution, class token, positions, registers."""

    config: BackboneConfig

    @nn.compact
    def __call__(self, pixels: Float[Array, "B H W 3"]) -> Float[Array, "B T D"]:
        """Tokens before the first block."""
        config, zeros = self.config, nn.initializers.zeros
        patches = _PatchProjection(config, name="patch_embeddings")(pixels)
        batch, height, width, hidden = patches.shape
        patches = patches.reshape(batch, height * width, hidden)
        cls = self.param("cls_token", zeros, (1, 1, hidden), jnp.float32)
        if config.native_side is not None:
            shape = (1, config.native_side**2 + 1, hidden)
            position = self.param("position_embeddings", zeros, shape, jnp.float32)
            position = resize_position_embeddings(
                position, height, width, antialias=config.antialias
            )
            cls, patches = cls + position[:, :1], patches + position[:, 1:]
        prefix = jnp.broadcast_to(cls, (batch, 1, hidden))
        if config.num_register_tokens == 0:
            return jnp.concatenate([prefix, patches], axis=1)
        shape = (1, config.num_register_tokens, hidden)
        registers = self.param("register_tokens", zeros, shape, jnp.float32)
        registers = jnp.broadcast_to(registers, (batch, *shape[1:]))
        return jnp.concatenate([prefix, registers, patches], axis=1)


class Block(nn.Module):
    """One transformer layer: attention and MLP, each normed before and scaled after."""

    config: BackboneConfig

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "B T D"], rotation: Rotation | None
    ) -> Float[Array, "B T D"]:
        """The residual stream after this layer, in float32."""
        config = self.config
        mlp = GatedMlp if config.is_gated else Mlp
        attention = partial(Attention(config, name="attention"), rotation=rotation)
        for number, branch in enumerate((attention, mlp(config, name="mlp")), start=1):
            normed = nn.LayerNorm(config.layer_norm_eps, name=f"norm{number}")(tokens)
            change = branch(normed).astype(jnp.float32)
            tokens = tokens + _LayerScale(name=f"layer_scale{number}")(change)
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention, of queries and keys that are turned where positions are rotary."""

    config: BackboneConfig

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "B T D"], rotation: Rotation | None
    ) -> Float[Array, "B T D"]:
        """Attention of every token to every token."""
        config = self.config
        batch, length, hidden = tokens.shape
        heads = (batch, length, config.num_attention_heads, hidden // config.num_attention_heads)
        query, key, value = (
            _dense(config, hidden, name, kind=name)(tokens).reshape(heads)
            for name in ("query", "key", "value")
        )
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        mixed = dot_product_attention(query, key, value).reshape(tokens.shape)
        return _dense(config, hidden, "output", kind="output")(mixed)


class Mlp(nn.Module):
    """Two dense layers with a nonlinearity between them."""

    config: BackboneConfig

    @nn.compact
    def __call__(self, tokens: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The same function of every token."""
        config = self.config
        hidden = _ACTIVATIONS[config.activation](_dense(config, config.mlp_size, "fc1")(tokens))
        return _dense(config, config.hidden_size, "fc2")(hidden)


class GatedMlp(nn.Module):
    """The gated MLP of the larger models, SwiGLU (Shazeer 2020, GLU variants improve transformer)."""

    config: BackboneConfig

    @nn.compact
    def __call__(self, tokens: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The same function of every token."""
        config = self.config
        hidden = _dense(config, 2 * config.mlp_size, "weights_in")(tokens)
        gate, value = jnp.split(hidden, 2, axis=-1)
        hidden = _ACTIVATIONS[config.activation](gate) * value
        return _dense(config, config.hidden_size, "weights_out")(hidden)


class _PatchProjection(nn.Module):
    config: BackboneConfig

    @nn.compact
    def __call__(self, pixels: Any) -> Any:
        """Pixels (B, H, W, 3) to float32 patches (B, h, w, D)."""
        side = (self.config.patch_size, self.config.patch_size)
        projection = nn.Conv(
            self.config.hidden_size,
            side,
            side,
            "VALID",
            dtype=self.config.compute_dtype,
            name="projection",
        )
        return projection(pixels).astype(jnp.float32)


class _LayerScale(nn.Module):
    @nn.compact
    def __call__(self, change: Any) -> Any:
        """Each coordinate times its learned factor."""
        factor = self.param("lambda1", nn.initializers.ones, (change.shape[-1],), jnp.float32)
        return change * factor[None, None]


def _dense(config: BackboneConfig, features: int, name: str, kind: str = "mlp") -> nn.Dense:
    return nn.Dense(features, use_bias=kind in config.biased, dtype=config.compute_dtype, name=name)


def _rotation(config: BackboneConfig, size: tuple[int, ...]) -> Rotation | None:
    """How tokens of an image of this height and width are turned; None where positions are learned."""
    if config.rope_theta is None:
        return None
    rows, columns = (side // config.patch_size for side in size)
    width = config.hidden_size // config.num_attention_heads
    return rotary_positions((rows, columns), width, config.rope_theta, config.num_prefix_tokens)
