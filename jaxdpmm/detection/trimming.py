"""A fit that training images which look anomalous are left out of, chosen by the mixture itself.

Each round fits the images that are still in, scores each of them with itself left out and each of the others as a new
image, and keeps those of lowest score for the next round; it ends when the same images stay. Left out by statistics
(`leaving_out.py`), an image cannot vouch for itself, which is what hides anomalies in a memory bank. An anomaly that
many training images share looks normal to every method without labels, this one too.

Where the share is known, so many images are left out in every round. Where it is not ("auto"), anomalies that vouch for
each other would hide most of themselves: so the rounds first keep the half of lowest score, which holds hardly any
anomaly as long as most images are normal, and what stands out from a fit of that half is left out in the end.

Thresholds of a trimmed fit are too low if normal images were trimmed, since the images that are left are typical ones.
Next file to read: `detector.py`.

References:
    Rousseeuw and Van Driessen (1999), A fast algorithm for the minimum covariance determinant estimator: rounds that
    keep the share of lowest distances never raise the objective; outliers are those far from the fit of a half.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxdpmm.detection.config import AUTO, MOST_CONTAMINATION, DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.leaving_out import chosen_images, leave_images_out, new_scores
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches
from jaxdpmm.detection.scores.unlabelled import with_unlabelled
from jaxdpmm.detection.state import DetectorState

MOST_ROUNDS = 3
NUM_DEVIATIONS = 3.0  # above the median, from which on an image stands out
TENTH = 1.2816  # standard deviations from the 10 % quantile of a normal distribution to its median


class Trimmed(NamedTuple):
    """A fit without some of its images.

    Attributes:
        fitted: what `fit_mixture` returned for the images that were kept.
        patches: of those.
        is_kept: which ones, (I,).
        scores: of all images, each under a mixture that has not learned from it, (I,).
    """

    fitted: DetectorState
    patches: TrainingPatches
    is_kept: Bool[np.ndarray, " I"]
    scores: Float[np.ndarray, " I"]


def fit_trimmed(
    patches: TrainingPatches,
    config: DetectorConfig,
    *,
    progress: bool = False,
    anomalies: Sequence[ImagePatches] = (),
    unlabelled: Sequence[Float[np.ndarray, "h w D"]] = (),
) -> Trimmed:
    """Fit without the images that look anomalous.

    Args:
        patches: with frames.
        config: settings; `contamination` is the share of the images to leave out, or "auto" for those that stand out
            from the most typical half of them.
        progress: show bars on standard error.
        anomalies: as of `learning.learn`.
        unlabelled: features of the images that are `unlabelled` there.

    Raises:
        ValueError: fewer than two images, or patches of unknown images.
    """
    # The same number of components in all rounds, so that they share what is compiled
    if not config.is_adaptive:
        number = config.truncation(len(patches.features))
        config = dataclasses.replace(config, num_components=number)
    everything = np.ones(len(patches.sources) // config.rotations, bool)
    options: dict[str, Any] = {"anomalies": anomalies, "unlabelled": unlabelled}
    found = _round(patches, everything, config, progress, **options)
    is_auto = config.contamination == AUTO
    share = MOST_CONTAMINATION if is_auto else float(config.contamination)
    for _ in range(1, MOST_ROUNDS):
        wanted = _lowest(found.scores, share)
        if np.array_equal(wanted, found.is_kept):
            break
        found = _round(patches, wanted, config, progress, **options)
    if is_auto:
        found = _round(patches, ~stands_out(found.scores), config, progress, **options)
    return found


def stands_out(scores: Float[np.ndarray, " I"]) -> Bool[np.ndarray, " I"]:
    """Which image scores lie three standard deviations above the median.

    The deviation is that of the lower scores, between the 10 % quantile and the median, which anomalies hardly move.

    Args:
        scores: of images.
    """
    low, middle = np.quantile(scores, [0.1, 0.5])
    return scores > middle + NUM_DEVIATIONS / TENTH * (middle - low)


def _round(
    patches: TrainingPatches,
    is_kept: np.ndarray,
    config: DetectorConfig,
    progress: bool,
    *,
    anomalies: Sequence[ImagePatches],
    unlabelled: Sequence[Float[np.ndarray, "h w D"]],
) -> Trimmed:
    """A fit of some images, and what it says of all of them."""
    part = chosen_images(patches, is_kept, config.rotations)
    fitted = fit_mixture(part.features, config, progress=progress)
    fitted = with_unlabelled(fitted, config, part, unlabelled)
    left_out = leave_images_out(fitted, part, config, progress=progress, anomalies=anomalies)
    fitted = left_out.state
    scores = np.zeros(len(is_kept))
    scores[is_kept] = [image.score for image in left_out.images]
    others = chosen_images(patches, ~is_kept, config.rotations)
    scores[~is_kept] = new_scores(fitted, others, config)
    return Trimmed(fitted, part, is_kept, scores)


def _lowest(scores: np.ndarray, share: float) -> np.ndarray:
    """All images but a share of them, rounded down, those of highest score."""
    number = int(share * len(scores) + 1e-9)
    is_kept = np.ones(len(scores), bool)
    is_kept[np.argsort(-scores, kind="stable")[:number]] = False
    return is_kept
