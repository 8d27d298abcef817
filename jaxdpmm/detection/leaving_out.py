"""Every training image scored as if it had not been there: thresholds from all images, and which of them are atypical.

All patches of an image, rotated ones included, are one group of `../leave_out.py`. What features are reduced or
whitened by is learned from a sample of all patches and stays as it is. Several scores become one here, as
`scores/joint.py` says, since this is where normal patches are scored that were not learned from. Next file to read:
`trimming.py`, which fits again without the images that look anomalous.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from jaxdpmm.choices import is_joint, names_of
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.parts import local_step_of
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches, ends_of
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import ScoredImage, score_images
from jaxdpmm.detection.scores.joint import FOLDS, columns, compile_score, in_unit, learn_joint
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.inference import LocalStep
from jaxdpmm.leave_out import GroupSums, posterior_without, scores_without, sum_groups
from jaxdpmm.model import empty_stats
from jaxdpmm.scoring import Scorer
from jaxdpmm.scoring.fusion import LEAST_NORMAL

ENOUGH_TO_FUSE = 32  # images


class LeftOut(NamedTuple):
    """Training images, each scored without itself.

    Attributes:
        state: of all of them, after one more sweep: what each is left out of; with a fusion of several scores.
        images: their scores, in order, computed as they are asked for.
    """

    state: DetectorState
    images: Iterator[ScoredImage]


def leave_images_out(
    fitted: DetectorState,
    patches: TrainingPatches,
    config: DetectorConfig,
    *,
    progress: bool = False,
    anomalies: Sequence[ImagePatches] = (),
) -> LeftOut:
    """Scores of training images, each under the posterior without it.

    Args:
        fitted: what `fit_mixture` returned for these patches.
        patches: with frames.
        config: settings of the fit, and the score.
        progress: show a bar on standard error.
        anomalies: images that are known to be anomalous, where the odds are one of the scores.

    Raises:
        ValueError: fewer than two images, or patches of unknown images.
    """
    groups, step, sums = _summed(fitted, patches, config)
    nothing = empty_stats(fitted.posterior)
    posterior = posterior_without(fitted.mixture, fitted.prior, sums, nothing)
    state = fitted._replace(posterior=posterior)
    numbers = range(len(groups))
    if not is_joint(config.score):
        grids = left_out_scores(state, groups, sums, step, progress)
        return LeftOut(state, groups.scored(numbers, grids))
    state, fused = _learn_joint(state, groups, sums, step, numbers, progress, anomalies)
    return LeftOut(state, groups.scored(numbers, fused))


def can_fuse(patches: TrainingPatches, config: DetectorConfig) -> bool:
    """Whether there are images to leave out and patches enough to learn p-values from.

    Args:
        patches: of training images; without frames nothing is known of the images.
        config: of the rotations.
    """
    sources = [patches.sources[n * config.rotations] for n in _to_fuse(patches, config)]
    sizes = sorted(height * width for _, (height, width) in sources)
    others = sizes[: len(sizes) - -(-len(sizes) // FOLDS)]  # each image is fused as they say
    return bool(patches.frames) and sum(others) >= LEAST_NORMAL


def fuse_scores(
    fitted: DetectorState,
    patches: TrainingPatches,
    config: DetectorConfig,
    *,
    progress: bool = False,
    anomalies: Sequence[ImagePatches] = (),
) -> DetectorState:
    """The same with a fusion of the scores of the settings, and a context if it is one of them.

    They are learned from at most `ENOUGH_TO_FUSE` of the images, each left out, where no thresholds are asked for.

    Args:
        fitted: what `fit_mixture` returned for these patches.
        patches: with frames.
        config: settings of the fit, and the scores.
        progress: show a bar on standard error.
        anomalies: images that are known to be anomalous, where the odds are one of the scores.

    Raises:
        ValueError: fewer than two images, or patches of unknown images.
    """
    numbers = _to_fuse(patches, config)
    if len(numbers) == 1:
        raise ValueError(
            f"score must be one score of a patch where there is one training image, got "
            f"{' and '.join(names_of(config.score))}, which are fused as left-out images say; give more images."
        )
    groups, step, sums = _summed(fitted, patches, config)
    return _learn_joint(fitted, groups, sums, step, numbers, progress, anomalies)[0]


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
    ends = ends_of(patches)
    features = np.zeros((0, patches.features.shape[1]), np.float32)
    return TrainingPatches(
        np.concatenate(
            [features, *(patches.features[ends[place] : ends[place + 1]] for place in kept)]
        ),
        len(kept),
        tuple(patches.sources[place] for place in kept),
        tuple(patches.frames[place] for place in kept),
    )


class ImageGroups:
    """Reduced features of every image with its rotated copies, to be gone through again and again."""

    def __init__(self, fitted: DetectorState, patches: TrainingPatches, config: DetectorConfig):
        self.patches, self.config, self.fitted = patches, config, fitted
        self.ends = ends_of(patches)[:: config.rotations]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[Float[np.ndarray, "n D"]]:
        return (self.reduced(self.features(number)) for number in range(len(self)))

    def features(self, number: int) -> Float[np.ndarray, "n D"]:
        """All patches of an image, as the backbone gives them."""
        return np.asarray(self.patches.features[self.ends[number] : self.ends[number + 1]])

    def reduced(self, features: np.ndarray) -> Float[np.ndarray, "n q"]:
        """Features as the mixture takes them."""
        return reduce_features(self.fitted.reduction, features)

    def first(self, number: int) -> ImagePatches:
        """The image as it is, without rotated copies."""
        place = number * self.config.rotations
        name, (height, width) = self.patches.sources[place]
        own = self.features(number)[: height * width].reshape(height, width, -1)
        return ImagePatches(ImageRecord(Path(name)), self.patches.frames[place], own, 0.0)

    def left_out(
        self,
        sums: GroupSums,
        step: LocalStep,
        scorer: Scorer,
        numbers: Iterable[int],
        progress: bool,
    ) -> Iterator[Float[np.ndarray, "h w ..."]]:
        """Scores of the patches of images, each image left out of the sums."""
        mixture, prior = self.fitted.mixture, self.fitted.prior
        for number in tqdm(numbers, "left out", unit="image", disable=not progress):
            points = self.reduced(self.features(number))
            scores = scores_without(mixture, prior, sums, points, scorer, step)
            _, (height, width) = self.patches.sources[number * self.config.rotations]
            yield scores[: height * width].reshape(height, width, *scores.shape[1:])

    def scored(self, numbers: Iterable[int], grids: Iterable[Any]) -> Iterator[ScoredImage]:
        """Images whose patches are scored already."""
        for number, grid in zip(numbers, grids, strict=True):
            of_patches = {"": lambda features, grid=grid: jnp.reshape(grid, features.shape[:-1])}
            (found,) = score_images([self.first(number)], of_patches, self.config)
            yield found[""]


class _Features(Sequence):
    """Features of every image as it is, read when they are asked for."""

    def __init__(self, groups: ImageGroups):
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.groups.first(number).features


def left_out_scores(
    state: DetectorState,
    groups: ImageGroups,
    sums: GroupSums,
    step: LocalStep,
    progress: bool = False,
) -> Iterator[Float[np.ndarray, "h w"]]:
    """Scores of the patches of all images, each left out of the sums, in the unit that the state has learned.

    Args:
        state: of the mixture, with a fusion where the settings name scores that need one, each of a patch alone.
        groups: images.
        sums: that they are part of.
        step: the E-step of the sums.
        progress: show a bar on standard error.
    """
    of_patch = columns(state.mixture, names_of(groups.config.score))
    grids = groups.left_out(sums, step, of_patch, range(len(groups)), progress)
    return (in_unit(state.fusion, grid) for grid in grids)


def new_scores(
    fitted: DetectorState, patches: TrainingPatches, config: DetectorConfig
) -> Float[np.ndarray, " I"]:
    """Scores of images that were not learned from, as `leave_images_out` scores those that were.

    Args:
        fitted: what `fit_mixture` returned.
        patches: of these images, with frames.
        config: settings.
    """
    groups = ImageGroups(fitted, patches, config)
    score_patches = compile_score(fitted, config.score)
    images = (groups.first(number) for number in range(len(groups)))
    scored = score_images(images, {"": score_patches}, config)
    return np.array([one[""].score for one in scored])


def _to_fuse(patches: TrainingPatches, config: DetectorConfig) -> list[int]:
    """Numbers of the images that a fusion is learned from, evenly taken."""
    number = len(patches.sources) // config.rotations
    chosen = np.linspace(0, number - 1, min(ENOUGH_TO_FUSE, number))
    return np.unique(chosen.astype(int)).tolist()


def _summed(
    fitted: DetectorState, patches: TrainingPatches, config: DetectorConfig
) -> tuple[ImageGroups, LocalStep, GroupSums]:
    """The images, and the sum that each can be taken out of."""
    if not patches.frames:
        raise ValueError(
            "patches must tell how their images were prepared, got none of their frames; use those that stack_patches "
            "or a cache gives."
        )
    groups = ImageGroups(fitted, patches, config)
    step = local_step_of(config, fitted.mixture)
    return groups, step, sum_groups(fitted.mixture, fitted.posterior, groups, step)


def _learn_joint(
    state: DetectorState,
    groups: ImageGroups,
    sums: GroupSums,
    step: LocalStep,
    numbers: Sequence[int],
    progress: bool,
    anomalies: Sequence[ImagePatches],
) -> tuple[DetectorState, Iterator[Float[np.ndarray, "h w"]]]:
    """What several scores need to be one, learned from some of the images, each left out."""
    scorer = columns(state.mixture, names_of(groups.config.score))
    grids = groups.left_out(sums, step, scorer, numbers, progress)
    found = dict(zip(numbers, grids, strict=True))
    return learn_joint(state, groups.config, found, _Features(groups), anomalies)
