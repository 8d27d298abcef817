"""DINOv2 in Flax: plain and register variants, GELU MLP or SwiGLU, any image size, any layer.

Written in linen, not nnx: a frozen feature extractor is a pure function of a dictionary of arrays,
which linen's `apply` is. The numbers equal those of the PyTorch models of transformers
(`tests/reference/test_dinov2_torch.py`).

Dropout, stochastic depth and masked patches are left out: this port is for inference. Weights come
from `weights.py`; image normalisation and patch grids from `extractor.py`, which is what to read
next.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm.features.config import Dinov2Config
from jaxdpmm.features.interpolation import resize_position_embeddings


class Dinov2(nn.Module):
    """The whole network, from normalised pixels to tokens.

    Attributes:
        config: Sizes and switches.

    References:
        Oquab et al. (2023), DINOv2: Learning robust visual features without supervision.
        Darcet et al. (2023), Vision transformers need registers.
    """

    config: Dinov2Config

    @nn.compact
    def __call__(
        self, pixels: Float[Array, "B H W 3"], layers: tuple[int, ...] | None = None
    ) -> tuple[Float[Array, "B T D"], ...]:
        """Tokens after some of the layers, each through the final norm.

        Args:
            pixels: ImageNet-normalised images. What exceeds a multiple of the patch size at the
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
        after = {0: norm(tokens)} if 0 in wanted else {}
        for number in range(1, max(wanted) + 1):
            tokens = Block(config, name=f"layer_{number - 1}")(tokens)
            if number in wanted:
                after[number] = norm(tokens)
        return tuple(after[number] for number in wanted)


class Embeddings(nn.Module):
    """Pixels to tokens: patches of a strided convolution, class token, positions, registers."""

    config: Dinov2Config

    @nn.compact
    def __call__(self, pixels: Float[Array, "B H W 3"]) -> Float[Array, "B T D"]:
        """Tokens before the first block."""
        config, zeros = self.config, nn.initializers.zeros
        patches = _PatchProjection(config, name="patch_embeddings")(pixels)
        batch, height, width, hidden = patches.shape
        cls = self.param("cls_token", zeros, (1, 1, hidden), jnp.float32)
        native = (config.image_size // config.patch_size) ** 2
        position = self.param("position_embeddings", zeros, (1, native + 1, hidden), jnp.float32)
        position = resize_position_embeddings(position, height, width, antialias=config.antialias)
        prefix = jnp.broadcast_to(cls + position[:, :1], (batch, 1, hidden))
        patches = patches.reshape(batch, height * width, hidden) + position[:, 1:]
        if config.num_register_tokens == 0:
            return jnp.concatenate([prefix, patches], axis=1)
        shape = (1, config.num_register_tokens, hidden)
        registers = self.param("register_tokens", zeros, shape, jnp.float32)
        registers = jnp.broadcast_to(registers, (batch, *shape[1:]))
        return jnp.concatenate([prefix, registers, patches], axis=1)


class Block(nn.Module):
    """One transformer layer: attention and MLP, each normed before and scaled after."""

    config: Dinov2Config

    @nn.compact
    def __call__(self, tokens: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The residual stream after this layer, in float32."""
        config = self.config
        branches = ("attention", Attention), ("mlp", SwiGlu if config.use_swiglu_ffn else Mlp)
        for number, (name, module) in enumerate(branches, start=1):
            normed = nn.LayerNorm(config.layer_norm_eps, name=f"norm{number}")(tokens)
            change = module(config, name=name)(normed).astype(jnp.float32)
            tokens = tokens + _LayerScale(name=f"layer_scale{number}")(change)
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention."""

    config: Dinov2Config

    @nn.compact
    def __call__(self, tokens: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Attention of every token to every token."""
        config = self.config
        batch, length, hidden = tokens.shape
        heads = (batch, length, config.num_attention_heads, hidden // config.num_attention_heads)
        query, key, value = (
            _dense(config, hidden, name, use_bias=config.qkv_bias)(tokens).reshape(heads)
            for name in ("query", "key", "value")
        )
        mixed = dot_product_attention(query, key, value).reshape(tokens.shape)
        return _dense(config, hidden, "output")(mixed)


class Mlp(nn.Module):
    """Two dense layers with the exact GELU between them."""

    config: Dinov2Config

    @nn.compact
    def __call__(self, tokens: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The same function of every token."""
        config = self.config
        hidden = nn.gelu(_dense(config, config.mlp_size, "fc1")(tokens), approximate=False)
        return _dense(config, config.hidden_size, "fc2")(hidden)


class SwiGlu(nn.Module):
    """The gated MLP of the giant model (Shazeer 2020, GLU variants improve transformer)."""

    config: Dinov2Config

    @nn.compact
    def __call__(self, tokens: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The same function of every token."""
        config = self.config
        hidden = _dense(config, 2 * config.mlp_size, "weights_in")(tokens)
        gate, value = jnp.split(hidden, 2, axis=-1)
        return _dense(config, config.hidden_size, "weights_out")(nn.silu(gate) * value)


def dot_product_attention(
    query: Float[Array, "B T N E"], key: Float[Array, "B T N E"], value: Float[Array, "B T N E"]
) -> Float[Array, "B T N E"]:
    """Softmax attention, softmax(q k' / sqrt(E)) v, of N heads of width E over T tokens.

    The platform is chosen when the computation is lowered, not when it is traced, so that a program
    exported on a CPU for a GPU gets the GPU's version.

    Returns:
        Array shaped like `query`, of its dtype. The softmax runs in float32.
    """
    return jax.lax.platform_dependent(
        query, key, value, cpu=_attention_head_by_head, default=_attention_at_once
    )


def _attention_at_once(query: Any, key: Any, value: Any) -> Any:
    # jax's own mixes bfloat16 and float32 inside, which strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(query, key, value)


def _attention_head_by_head(query: Any, key: Any, value: Any) -> Any:
    """One head of one image at a time, so that its T x T scores stay in the processor's cache."""
    batch, length, num_heads, width = query.shape

    def one_head(head: Any) -> Any:
        query, key, value = head
        scores = jnp.einsum(
            "qe,ke->qk", query * width**-0.5, key, preferred_element_type=jnp.float32
        )
        return nn.softmax(scores).astype(value.dtype) @ value

    heads = tuple(
        jnp.moveaxis(tensor, 2, 1).reshape(batch * num_heads, length, width)
        for tensor in (query, key, value)
    )
    mixed = jax.lax.map(one_head, heads).reshape(batch, num_heads, length, width)
    return jnp.moveaxis(mixed, 1, 2)


class _PatchProjection(nn.Module):
    config: Dinov2Config

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


def _dense(config: Dinov2Config, features: int, name: str, use_bias: bool = True) -> nn.Dense:
    return nn.Dense(features, use_bias=use_bias, dtype=config.compute_dtype, name=name)
