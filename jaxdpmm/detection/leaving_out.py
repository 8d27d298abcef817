"""Every training image scored as if it had not been there: thresholds from all images, and which of them are atypical.

All patches of an image, rotated ones included, are one group of `../leave_out.py`. Next file to read: `trimming.py`,
which fits again without the images that look anomalous.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.parts import local_step_of
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import ScoredImage, compile_scorer, score_images
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.inference import LocalStep
from jaxdpmm.leave_out import GroupSums, posterior_without, scores_without, sum_groups
from jaxdpmm.model import Posterior, empty_stats
from jaxdpmm.scoring import SCORERS


class LeftOut(NamedTuple):
    """Training images, each scored without itself.

    Attributes:
        posterior: of all of them, after one more sweep: what each is left out of.
        images: their scores, in order, computed as they are asked for.
    """

    posterior: Posterior
    images: Iterator[ScoredImage]


def leave_images_out(
    fitted: DetectorState,
    patches: TrainingPatches,
    config: DetectorConfig,
    *,
    progress: bool = False,
) -> LeftOut:
    """Scores of training images, each under the posterior without it.

    Args:
        fitted: what `fit_mixture` returned for these patches.
        patches: with frames.
        config: settings of the fit, and the score.
        progress: show a bar on standard error.

    Raises:
        ValueError: fewer than two images, or patches of unknown images.
    """
    if not patches.frames:
        raise ValueError(
            "patches must tell how their images were prepared, got none of their frames; use those that stack_patches "
            "or a cache gives."
        )
    groups = _Images(fitted, patches, config)
    step = local_step_of(config, fitted.mixture)
    sums = sum_groups(fitted.mixture, fitted.posterior, groups, step)
    nothing = empty_stats(fitted.posterior)
    posterior = posterior_without(fitted.mixture, fitted.prior, sums, nothing)
    return LeftOut(posterior, _scored(fitted, groups, sums, step, progress))


def chosen_images(patches: TrainingPatches, chosen: np.ndarray, rotations: int) -> TrainingPatches:
    """Patches of some of the images, in memory.

    Args:
        patches: of all images.
        chosen: which images, (I,) bool.
        rotations: copies of each.
    """
    if chosen.all():
        return patches
    kept = np.flatnonzero(np.repeat(chosen, rotations))
    ends = _ends(patches)
    features = np.zeros((0, patches.features.shape[1]), np.float32)
    return TrainingPatches(
        np.concatenate(
            [features, *(patches.features[ends[place] : ends[place + 1]] for place in kept)]
        ),
        len(kept),
        tuple(patches.sources[place] for place in kept),
        tuple(patches.frames[place] for place in kept),
    )


class _Images:
    """Reduced features of every image with its rotated copies, to be gone through again and again."""

    def __init__(self, fitted: DetectorState, patches: TrainingPatches, config: DetectorConfig):
        self.patches, self.config, self.fitted = patches, config, fitted
        self.ends = _ends(patches)[:: config.rotations]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[Float[np.ndarray, "n D"]]:
        return (self.reduced(self.features(number)) for number in range(len(self)))

    def features(self, number: int) -> Float[np.ndarray, "n D"]:
        """All patches of an image, as the backbone gives them."""
        return np.asarray(self.patches.features[self.ends[number] : self.ends[number + 1]])

    def reduced(self, features: np.ndarray) -> Float[np.ndarray, "n q"]:
        return reduce_features(self.fitted.reduction, features)

    def first(self, number: int, features: np.ndarray) -> ImagePatches:
        """The image as it is, without rotated copies."""
        place = number * self.config.rotations
        name, (height, width) = self.patches.sources[place]
        own = features[: height * width].reshape(height, width, -1)
        return ImagePatches(ImageRecord(Path(name)), self.patches.frames[place], own, 0.0)


def new_scores(
    fitted: DetectorState, patches: TrainingPatches, config: DetectorConfig
) -> Float[np.ndarray, " I"]:
    """Scores of images that were not learned from, as `leave_images_out` scores those that were.

    Args:
        fitted: what `fit_mixture` returned.
        patches: of these images, with frames.
        config: settings.
    """
    groups = _Images(fitted, patches, config)
    score_patches = compile_scorer(*fitted.scorer(config.score))
    images = (groups.first(number, groups.features(number)) for number in range(len(groups)))
    scored = score_images(images, {"": score_patches}, config)
    return np.array([one[""].score for one in scored])


def _ends(patches: TrainingPatches) -> np.ndarray:
    """First row of every source, and the number of rows."""
    return np.cumsum([0, *(height * width for _, (height, width) in patches.sources)])


def _scored(
    fitted: DetectorState, groups: _Images, sums: GroupSums, step: LocalStep, progress: bool
) -> Iterator[ScoredImage]:
    scorer = SCORERS[groups.config.score](fitted.mixture)
    numbers = tqdm(range(len(groups)), "left out", unit="image", disable=not progress)
    for number in numbers:
        features = groups.features(number)
        image = groups.first(number, features)
        points = groups.reduced(features)
        scores = scores_without(fitted.mixture, fitted.prior, sums, points, scorer, step)
        grid = scores[: image.features.shape[0] * image.features.shape[1]]
        without = {"": lambda features, grid=grid: jnp.reshape(grid, features.shape[:-1])}
        (found,) = score_images([image], without, groups.config)
        yield found[""]
