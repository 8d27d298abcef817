"""What tells one backbone from another: a digest of its configuration and weights."""

import hashlib

import jax
import numpy as np

from jaxdpmm.features.config_checks import IMAGENET_MEAN, IMAGENET_STD
from jaxdpmm.features.weights import Backbone


def backbone_digest(backbone: Backbone) -> str:
    """SHA-256 of a backbone's configuration and weights, so that a model never meets others unseen."""
    config = backbone.config
    digest = hashlib.sha256(repr(config).encode())
    colours = (config.image_mean, config.image_std)
    if colours != (
        IMAGENET_MEAN,
        IMAGENET_STD,
    ):  # others came later; ImageNet's keep the digests of older files
        digest.update(repr(colours).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(backbone.params)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
