"""From images to patch features: normalise, run the backbone, take the patches of some layers.

Images come in as `jaxdpmm.images` delivers them, RGB in [0, 1] or bytes, already resized and
cropped to multiples of the patch size; the normalisation that the backbone was trained with happens
here, inside the jitted function. What the features are used for is no business of this file. Read
next: `vision_transformer.py`.
"""

import dataclasses
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.checks import check_choice
from jaxdpmm.choices import JOINS
from jaxdpmm.features.config import BackboneConfig, GivenFeatures
from jaxdpmm.features.config_checks import IMAGENET_MEAN, IMAGENET_STD
from jaxdpmm.features.vision_transformer import VisionTransformer
from jaxdpmm.features.weights import Backbone
from jaxdpmm.programs import bounded

_SLACK = 0.5  # a bicubic resize may overshoot [0, 1] a little


@dataclasses.dataclass(frozen=True)
class PatchExtractor:
    """Which features to take: configuration only, to be stored beside a fitted model.

    Attributes:
        layers: The block or blocks after which the tokens are read, 1 to `num_hidden_layers` (0:
            the embeddings). An int stands for one block.
        normalize: Divide each layer's feature by its Euclidean norm. (Several layers concatenated:
            the whole has norm sqrt(number of layers).)
        join: "concatenate", in the order given, or "mean" of the layers, of the size of one.

    Example:
        >>> PatchExtractor(8)
        PatchExtractor(layers=(8,), normalize=True, join='concatenate')
    """

    layers: tuple[int, ...]
    normalize: bool = True
    join: str = "concatenate"

    def __init__(self, layers: Any, normalize: bool = True, join: str = "concatenate"):
        check_choice("join", join, JOINS)
        several = tuple(layers) if isinstance(layers, list | tuple) else (layers,)
        if not several or any(
            not isinstance(layer, int | np.integer) or layer < 0 for layer in several
        ):
            raise ValueError(
                f"layers must be one or several layer numbers from 0 on, got {layers!r}; use for "
                "example layers=8."
            )
        object.__setattr__(self, "layers", tuple(int(layer) for layer in several))
        object.__setattr__(self, "normalize", bool(normalize))
        object.__setattr__(self, "join", join)

    def num_features(self, config: BackboneConfig | GivenFeatures) -> int:
        """Features per patch: the hidden size, times the number of layers where they are concatenated."""
        return config.hidden_size * (len(self.layers) if self.join == "concatenate" else 1)

    def extract(self, backbone: Backbone, images: Any) -> Float[Array, "B h w D"]:
        """The patch features of a batch of images of one size.

        Compiled once for each image size and batch size, and kept for 32 of them: where images have
        more sizes than that, a program is compiled again, and memory does not grow (`programs.bounded`).

        Args:
            backbone: From `load_backbone`.
            images: Array of shape (B, H, W, 3), RGB: uint8, or floating point in [0, 1]; not yet
                normalised. H and W are multiples of the patch size.

        Returns:
            float32 array of shape (B, H / patch, W / patch, D), without class token and registers,
            on the device.

        Raises:
            ValueError: The shape, the range or a layer is wrong.
        """
        config = backbone.config
        if max(self.layers) > config.num_hidden_layers:
            raise ValueError(
                f"layers must be at most {config.num_hidden_layers} for {backbone.name!r}, got "
                f"{self.layers}; choose a layer that the backbone has."
            )
        _check_images(images, config.patch_size)
        return _extract(config, self, backbone.params, images)


@partial(bounded, num_static=2)
def _extract(config: BackboneConfig, extractor: PatchExtractor, params: Any, images: Any) -> Any:
    pixels = normalize_images(images, config.image_mean, config.image_std)
    tokens: Any = VisionTransformer(config).apply({"params": params}, pixels, extractor.layers)
    patches = [layer[:, config.num_prefix_tokens :] for layer in tokens]
    if extractor.normalize:
        patches = [
            layer / jnp.linalg.norm(layer, axis=-1, keepdims=True).clip(1e-12) for layer in patches
        ]
    grid = (pixels.shape[1] // config.patch_size, pixels.shape[2] // config.patch_size)
    is_mean = extractor.join == "mean"
    joined = sum(patches) / len(patches) if is_mean else jnp.concatenate(patches, axis=-1)
    return joined.reshape(joined.shape[0], *grid, joined.shape[-1])


def normalize_images(
    images: Any,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Float[Array, "B H W 3"]:
    """Normalised pixels, (x - mean) / std per channel, of bytes or of values in [0, 1].

    Args:
        images: (B, H, W, 3).
        mean: Of red, green and blue; ImageNet's unless given.
        std: Standard deviation of red, green and blue; ImageNet's unless given.
    """
    images = jnp.asarray(images)
    scale = 255.0 if images.dtype == jnp.uint8 else 1.0
    middle, spread = (jnp.asarray(value, jnp.float32)[None, None, None] for value in (mean, std))
    return (images.astype(jnp.float32) / scale - middle) / spread


def _check_images(images: Any, patch_size: int) -> None:
    shape, dtype = np.shape(images), getattr(images, "dtype", None)
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(
            f"images must have shape (batch, height, width, 3), got {shape}; add a batch axis with "
            "image[None] and convert grey or RGBA images to RGB."
        )
    if shape[1] % patch_size or shape[2] % patch_size:
        raise ValueError(
            f"height and width of images must be multiples of the patch size {patch_size}, got "
            f"{shape[1]} x {shape[2]}; crop them, for example to {_crop(shape[1], patch_size)} x "
            f"{_crop(shape[2], patch_size)}."
        )
    if dtype == np.uint8:
        return
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"images must be uint8 or floating point in [0, 1], got {dtype}; convert 16-bit images "
            "to [0, 1]."
        )
    low, high = np.min(images), np.max(images)
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # also refuses nan
        raise ValueError(
            f"floating-point images must lie in [0, 1], got values from {low:g} to {high:g}; "
            "divide bytes by 255 and leave the normalisation to the extractor."
        )


def _crop(side: int, patch_size: int) -> int:
    return max(side // patch_size, 1) * patch_size
