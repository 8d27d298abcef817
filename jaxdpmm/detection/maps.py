"""From scores of patches to a map over the original image, and to one number for the image.

Bilinear interpolation and Gaussian smoothing both act on rows and columns apart, so a whole map is
two small matrix products with matrices that depend on sizes only: `row_weights @ scores @
column_weights.T`. They undo resizing and cropping as well. Read `metrics.py` next.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float

from jaxdpmm.images.geometry import Frame

SMOOTHING = 4.0  # sigma in pixels of the original image, what anomalib and AnomalyDINO use


def anomaly_map(
    patch_scores: Float[Array, "h w"], frame: Frame, sigma: float = SMOOTHING
) -> Float[Array, "H W"]:
    """Anomaly score of every pixel of the original image.

    Bilinear between the centres of the patches (torch's `align_corners=False`); outside them, which
    includes what was cropped off, the nearest score holds. Then a Gaussian as in
    `scipy.ndimage.gaussian_filter` (reflected at the edges).

    Args:
        patch_scores: one score a patch, as many as `frame.grid`.
        frame: how the image was prepared.
        sigma: spread of the Gaussian in pixels of the original image; 0 for none.

    Raises:
        ValueError: the scores do not fit the frame, or sigma is negative.
    """
    if patch_scores.shape != frame.grid:
        raise ValueError(
            f"patch_scores must have shape {frame.grid}, one a patch of the prepared image, got "
            f"{patch_scores.shape}; reshape the scores of one image to its grid."
        )
    if sigma < 0:
        raise ValueError(f"sigma must not be negative, got {sigma}; use 0 for no smoothing.")
    rows, columns = (
        jnp.asarray(_pixel_weights(frame, axis, float(sigma)), patch_scores.dtype)
        for axis in (0, 1)
    )
    smoothed = jnp.matmul(rows, patch_scores, precision="highest")
    return jnp.matmul(smoothed, columns.T, precision="highest")


def image_score(patch_scores: Float[Array, "..."], fraction: float = 0.01) -> Float[Array, ""]:
    """Anomaly score of an image: mean over its most anomalous patches, at least one.

    The number of patches is floor(fraction * patches), as in AnomalyDINO. For a batch, `jax.vmap`.

    Args:
        patch_scores: scores of the patches of one image, any shape.
        fraction: which part of the patches counts; static under jit.

    Raises:
        ValueError: fraction is not in (0, 1].

    References:
        Damm et al. (2025), AnomalyDINO, section 3.2.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}; 0.01 is the usual choice.")
    # The small number keeps 0.01 * 300 = 2.9999... from losing a patch.
    num_patches = max(1, int(fraction * patch_scores.size + 1e-9))
    return jnp.mean(jax.lax.top_k(patch_scores.reshape(-1), num_patches)[0])


@lru_cache(maxsize=256)
def _pixel_weights(frame: Frame, axis: int, sigma: float) -> Float[np.ndarray, "pixels patches"]:
    """How much each patch of a row (axis 1) or column (axis 0) counts at each original pixel."""
    num_patches, num_pixels = frame.grid[axis], frame.original[axis]
    centres = np.arange(num_pixels) + 0.5
    in_crop = centres * frame.resized[axis] / num_pixels - frame.corner[axis]
    position = np.clip(in_crop / frame.patch_size - 0.5, 0, num_patches - 1)
    below = np.minimum(np.floor(position).astype(int), max(num_patches - 2, 0))
    above = np.minimum(below + 1, num_patches - 1)
    weights = np.zeros((num_pixels, num_patches))
    pixels = np.arange(num_pixels)
    np.add.at(weights, (pixels, below), 1 - (position - below))
    np.add.at(weights, (pixels, above), position - below)
    if sigma > 0:
        weights = scipy.ndimage.gaussian_filter1d(weights, sigma, axis=0)
    return weights
