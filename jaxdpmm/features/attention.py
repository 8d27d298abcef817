"""Softmax attention, and the rotation of queries and keys by where their patches lie.

Read next: `vision_transformer.py`.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Rotation(NamedTuple):
    """Rotary positions of T tokens for heads of width E.

    Attributes:
        cos: (T, E / 2), cosine of the angle by which a pair of coordinates is turned.
        sin: (T, E / 2), its sine.
    """

    cos: Float[np.ndarray, "T F"]
    sin: Float[np.ndarray, "T F"]


def rotary_positions(
    grid: tuple[int, int], head_width: int, theta: float, num_prefix_tokens: int
) -> Rotation:
    """How far the tokens of a grid of patches are turned; tokens before the first patch are not.

    The centre of a patch has coordinates (y, x) from -1 to 1 on either side of the image, whatever its size and shape.
    With F = E / 4, angle f of y is 2 pi y theta^(-f / F), and likewise of x; angles of y come first.

    Args:
        grid: Rows and columns of patches.
        head_width: E, a multiple of 4.
        theta: Base of the periods, 100 in the published networks.
        num_prefix_tokens: Tokens before the first patch.

    References:
        Simeoni et al. (2025), DINOv3; Su et al. (2021), RoFormer, equation 34.
    """
    rows, columns = (2 * (np.arange(side) + 0.5) / side - 1 for side in grid)
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    frequencies = theta ** -(np.arange(head_width // 4) / (head_width // 4))
    angles = 2 * np.pi * (centres[:, :, None] * frequencies).reshape(len(centres), -1)
    angles = np.pad(angles, ((num_prefix_tokens, 0), (0, 0)))  # angle 0: left as they are
    return Rotation(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))


def rotate(tensor: Float[Array, "B T N E"], rotation: Rotation) -> Float[Array, "B T N E"]:
    """Queries or keys with coordinates e and e + E / 2 of each head turned as a pair.

    Returns:
        Array shaped like `tensor`, of its dtype. The products are float32.
    """
    cos, sin = (part[None, :, None] for part in rotation)
    first, second = jnp.split(tensor.astype(jnp.float32), 2, axis=-1)
    turned = first * cos - second * sin, second * cos + first * sin
    return jnp.concatenate(turned, axis=-1).astype(tensor.dtype)


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
