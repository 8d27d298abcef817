"""From scores of patches to a map over the original image, and to one number for the image.

Bilinear interpolation and Gaussian smoothing both act on rows and columns apart, so a whole map is
two small matrix products with matrices that depend on sizes only (`map_weights`). They undo
resizing and cropping as well. `anomaly_map` multiplies on the host: originals differ in size, and
compiling for each size takes longer than the products. Read `metrics/table.py` next.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float

from jaxdpmm.images.geometry import Frame
from jaxdpmm.programs import bounded

MOST_WEIGHTS = 32  # matrices that are kept, some megabytes each for a large original
SMOOTHING = 4.0  # sigma in pixels of the original image, what anomalib and AnomalyDINO use


class MapWeights(NamedTuple):
    """How much each row and column of patches counts at each row and column of pixels.

    The map is `rows @ patch_scores @ columns.T`.

    Attributes:
        rows: (H, h); each row sums to one.
        columns: (W, w); each row sums to one.
    """

    rows: Float[np.ndarray, "H h"]
    columns: Float[np.ndarray, "W w"]


def anomaly_map(
    patch_scores: Float[np.ndarray, "h w"] | Float[Array, "h w"],
    frame: Frame,
    sigma: float = SMOOTHING,
) -> Float[np.ndarray, "H W"]:
    """Anomaly score of every pixel of the original image.

    Bilinear between the centres of the patches (torch's `align_corners=False`); outside them, which
    includes what was cropped off, the nearest score holds. Then a Gaussian as in
    `scipy.ndimage.gaussian_filter` (reflected at the edges).

    Args:
        patch_scores: one score per patch, as many as `frame.grid`; fetched from the device.
        frame: how the image was prepared.
        sigma: spread of the Gaussian in pixels of the original image; 0 for none.

    Raises:
        ValueError: the scores do not fit the frame, or sigma is negative.
    """
    if patch_scores.shape != frame.grid:
        raise ValueError(
            f"patch_scores must have shape {frame.grid}, one per patch of the prepared image, got "
            f"{patch_scores.shape}; reshape the scores of one image to its grid."
        )
    scores = np.asarray(patch_scores)
    rows, columns = map_weights(frame, sigma)
    return rows.astype(scores.dtype) @ scores @ columns.T.astype(scores.dtype)


def map_weights(frame: Frame, sigma: float = SMOOTHING) -> MapWeights:
    """Matrices of `anomaly_map`, in float64, for whoever multiplies in a compiled function.

    Args:
        frame: how the image was prepared.
        sigma: spread of the Gaussian in pixels of the original image; 0 for none.

    Raises:
        ValueError: sigma is negative.
    """
    if sigma < 0:
        raise ValueError(f"sigma must not be negative, got {sigma}; use 0 for no smoothing.")
    return MapWeights(*(_pixel_weights(frame, axis, float(sigma)) for axis in (0, 1)))


def image_score(
    patch_scores: Float[Array, "..."], fraction: float = 0.01, exponent: float = 0.0
) -> Float[Array, ""]:
    """Anomaly score of an image: mean over its most anomalous patches, at least one.

    The number of patches is floor(fraction * patches), as in AnomalyDINO. For a batch, `jax.vmap`.

    Scores that are minus logs of p-values grow slowly where they are high, so that their mean tells less of the most
    anomalous patch than that of distances does. With an exponent a it is log(mean(exp(a score))) / a: the mean is
    taken of p^-a. Where a is the shape of the tail of the scores' survival, p^-a grows like the distance itself.

    Args:
        patch_scores: scores of the patches of one image, any shape.
        fraction: which part of the patches counts; static under jit.
        exponent: a, per nat; 0 for the mean of the scores as they are. Static under jit.

    Raises:
        ValueError: fraction is not in (0, 1].

    References:
        Damm et al. (2025), AnomalyDINO, section 3.2.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}; 0.01 is the usual choice.")
    # The small number keeps 0.01 * 300 = 2.9999... from losing a patch.
    num_patches = max(1, int(fraction * patch_scores.size + 1e-9))
    highest = jax.lax.top_k(patch_scores.reshape(-1), num_patches)[0]
    if not exponent:
        return jnp.mean(highest)
    return jax.nn.logsumexp(exponent * highest, b=1 / num_patches) / exponent


def image_scores(
    patch_scores: Float[Array, "B h w"] | Float[np.ndarray, "B h w"],
    fraction: float = 0.01,
    exponent: float = 0.0,
) -> Float[Array, " B"]:
    """`image_score` of each image of a batch; a bounded number of compiled programs is kept."""
    return _image_scores(float(fraction), float(exponent), patch_scores)


@partial(bounded, num_static=2)
def _image_scores(
    fraction: float, exponent: float, patch_scores: Float[Array, "B h w"]
) -> Float[Array, " B"]:
    return jax.vmap(partial(image_score, fraction=fraction, exponent=exponent))(patch_scores)


@lru_cache(maxsize=MOST_WEIGHTS)
def _pixel_weights(frame: Frame, axis: int, sigma: float) -> Float[np.ndarray, "pixels patches"]:
    """How much each row (axis 0) or column (axis 1) of patches counts at each of the pixels."""
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
    weights.setflags(write=False)  # shared by all callers
    return weights
