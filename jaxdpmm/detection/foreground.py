"""Which patches show the object: a mask from the first principal component of an image's own patch features.

AnomalyDINO leaves the background of test images out (never that of the references), since what lies there is no defect.
It cuts raw tokens at a fixed value; features here may have unit norm and come from any layer, so the cut is Otsu's,
which has no number to choose, and where the two sides do not separate clearly, everything is foreground (textures).

References:
    Damm et al. (2025), AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection. WACV, section 3.1.
    Otsu (1979), A threshold selection method from gray-level histograms. IEEE Trans. Systems, Man, Cybernetics.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

CENTRE = 0.35  # the object is the side that holds at least this share of the middle of the image
SEPARATION = 0.78  # share of the variance between two clear sides; 0.64 of a normal, 0.75 of a uniform variable


def foreground_mask(features: Float[np.ndarray, "h w D"]) -> Bool[np.ndarray, "h w"]:
    """Patches of the object, holes closed and one patch wider; all of them when there is no clear background.

    Args:
        features: of the patches of one image.
    """
    grid = features.shape[:2]
    scores = _principal_scores(features.reshape(-1, features.shape[-1])).reshape(grid)
    cut, separation = _otsu(scores)
    if separation < SEPARATION:
        return np.ones(grid, bool)
    mask = scores > cut
    if _middle(mask).mean() <= CENTRE:
        mask = ~mask
    around = np.ones((3, 3), bool)
    closed = scipy.ndimage.binary_closing(np.pad(mask, 1, mode="edge"), around)[1:-1, 1:-1]
    return scipy.ndimage.binary_dilation(closed | mask, around)


def in_foreground(
    patch_scores: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Scores in which the background is as normal as the most normal patch of the object."""
    return np.where(mask, patch_scores, patch_scores[mask].min())


def _principal_scores(x: Float[np.ndarray, "P D"]) -> Float[np.ndarray, " P"]:
    """Coordinates along the direction of largest variance."""
    centred = x - x.mean(axis=0, keepdims=True)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return centred @ direction


def _otsu(scores: Float[np.ndarray, "h w"]) -> tuple[float, float]:
    """The cut with the largest variance between its sides, and the share that this is of all variance."""
    values = np.sort(scores.reshape(-1).astype(np.float64))
    variance = values.var()
    if variance == 0:
        return float(values[0]), 0.0
    low = np.cumsum(values)[:-1]
    number = np.arange(1, len(values))
    rest = len(values) - number
    gap = low / number - (values.sum() - low) / rest
    between = number * rest * gap**2 / len(values) ** 2
    best = int(np.argmax(between))
    return float((values[best] + values[best + 1]) / 2), float(between[best] / variance)


def _middle(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    return mask[height // 4 : height - height // 4, width // 4 : width - width // 4]
