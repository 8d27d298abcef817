"""All that is learned from training patches: the mixture, and thresholds and atypical images where the settings say so.

A fit that trusts all images and has others for its thresholds is `fit_mixture` alone. Next file to read: `detector.py`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdpmm.choices import is_joint
from jaxdpmm.detection.calibration import calibrate
from jaxdpmm.detection.config import AUTO, DetectorConfig
from jaxdpmm.detection.fitting import SAMPLE_SIZE, fit_mixture
from jaxdpmm.detection.leaving_out import fuse_scores, leave_images_out
from jaxdpmm.detection.line.kept import with_kept_images
from jaxdpmm.detection.overlay import colour_limits
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import ScoredImage, ScorePatches
from jaxdpmm.detection.scores.discrepancy import with_unlabelled
from jaxdpmm.detection.scores.joint import COLOUR_LIMITS
from jaxdpmm.detection.state import DetectorState, FitFacts, TrainingImage
from jaxdpmm.detection.trimming import fit_trimmed
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.separation import separation

COLOURS, SEPARATION = 1, 2  # make keys of their own of the seed, for samples of patches
FEW = 2048  # patches that tell how far components are apart
FEWEST_IMAGES = 2  # so that something is left without each


class Learned(NamedTuple):
    """What was learned, and the patches that it was learned from."""

    state: DetectorState
    patches: TrainingPatches


def with_source(config: DetectorConfig, is_held_out: bool) -> DetectorConfig:
    """The settings with `thresholds` decided, where they say "auto".

    Args:
        config: settings.
        is_held_out: whether there are images that are not learned from, for thresholds.
    """
    if config.thresholds != AUTO:
        return config
    source = "held_out" if is_held_out and not config.keep_images else "leave_one_out"
    return dataclasses.replace(config, thresholds=source)


def learn(
    patches: TrainingPatches,
    config: DetectorConfig,
    *,
    progress: bool = False,
    anomalies: Sequence[ImagePatches] = (),
    unlabelled: Sequence[ImagePatches] = (),
) -> Learned:
    """Fit a mixture, without anomalous images and with thresholds from left-out ones where the settings say so.

    Args:
        patches: of training images; without frames nothing is trimmed or left out.
        config: settings.
        progress: show bars on standard error.
        anomalies: images that are known to be anomalous, where the odds are one of the scores.
        unlabelled: images that may be normal or not, where the discrepancy is one of the scores.

    Raises:
        ValueError: features that are not finite, fewer than components, or images to trim that are unknown.
    """
    others: list[TrainingImage] = []
    further = [one.features for one in unlabelled]
    if config.contamination != AUTO and not float(config.contamination):
        state = fit_mixture(patches.features, config, progress=progress)
        state = with_unlabelled(state, config, further)
    else:
        trimmed = fit_trimmed(
            patches, config, progress=progress, anomalies=anomalies, unlabelled=further
        )
        for place in np.flatnonzero(~trimmed.is_kept):
            name = patches.sources[place * config.rotations][0]
            others.append(TrainingImage(name, float(trimmed.scores[place]), is_learned=False))
        state, patches = trimmed.fitted, trimmed.patches
    num_images = len(patches.frames) // config.rotations
    if config.keep_images:
        state = with_kept_images(state, patches, config, others, progress=progress)
    elif config.thresholds in (AUTO, "leave_one_out") and num_images >= FEWEST_IMAGES:
        left_out = leave_images_out(state, patches, config, progress=progress, anomalies=anomalies)
        state = _with_thresholds(left_out.state, left_out.images, others, config)
    elif is_joint(config.score):
        state = fuse_scores(state, patches, config, progress=progress, anomalies=anomalies)
    facts = state.facts._replace(num_trimmed=len(others))
    return Learned(state._replace(facts=facts), patches)


def separation_facts(state: DetectorState, features: Any, seed: int) -> FitFacts:
    """The facts of the fit with how compact components are and how far apart, on a sample of the patches.

    Args:
        state: what was learned.
        features: of training patches, (N, D).
        seed: draws the sample.
    """
    key = jax.random.fold_in(jax.random.key(seed), SEPARATION)
    sample = reduce_features(state.reduction, draw_sample(key, features, FEW))
    try:
        found = separation(state.mixture, state.posterior, sample).over_points()
    except TypeError:  # components of this family have no means
        return state.facts
    ratio, contested = (found[name] for name in ("within_over_between", "contested"))
    is_one = not np.isfinite(ratio)  # a single component has no neighbour, and JSON no such number
    return state.facts._replace(
        within_over_between=None if is_one else ratio, contested=None if is_one else contested
    )


def colours_of_patches(
    state: DetectorState, score_patches: ScorePatches, features: Any, seed: int
) -> tuple[float, float]:
    """Scores at which the colours of pictures begin and end.

    Args:
        state: what was learned.
        score_patches: the score of the settings.
        features: of training patches, (N, D), of which a sample is scored; fused scores need none.
        seed: draws the sample.
    """
    if state.fusion is not None:
        return COLOUR_LIMITS
    key = jax.random.fold_in(jax.random.key(seed), COLOURS)
    sample = draw_sample(key, features, SAMPLE_SIZE)
    low, high = colour_limits([score_patches(sample[None])])
    return low, max(high, float(np.nextafter(low, np.inf)))


def _with_thresholds(
    state: DetectorState,
    images: Iterable[ScoredImage],
    others: list[TrainingImage],
    config: DetectorConfig,
) -> DetectorState:
    notes = list(others)

    def noted() -> Iterator[ScoredImage]:
        for image in images:
            notes.append(TrainingImage(str(image.record.path), image.score))
            yield image

    found = calibrate(noted(), config.sigma)
    return state._replace(
        calibration=found,
        facts=state.facts._replace(num_left_out=found.image.num_images),
        training_images=tuple(sorted(notes, key=lambda one: -one.score)),
    )
