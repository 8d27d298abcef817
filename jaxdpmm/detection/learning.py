"""All that is learned from training patches: the mixture, and thresholds and atypical images where the settings say so.

A fit that trusts all images and has others for its thresholds is `fit_mixture` alone. Next file to read: `detector.py`.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jaxdpmm.detection.calibration import calibrate
from jaxdpmm.detection.config import AUTO, DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.leaving_out import leave_images_out
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.detection.state import DetectorState, TrainingImage
from jaxdpmm.detection.trimming import fit_trimmed

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
    source = "held_out" if is_held_out else "leave_one_out"
    return dataclasses.replace(config, thresholds=source)


def learn(patches: TrainingPatches, config: DetectorConfig, *, progress: bool = False) -> Learned:
    """Fit a mixture, without anomalous images and with thresholds from left-out ones where the settings say so.

    Args:
        patches: of training images; without frames nothing is trimmed or left out.
        config: settings.
        progress: show bars on standard error.

    Raises:
        ValueError: features that are not finite, fewer than components, or images to trim that are unknown.
    """
    others: list[TrainingImage] = []
    if config.contamination != AUTO and not float(config.contamination):
        state = fit_mixture(patches.features, config, progress=progress)
    else:
        trimmed = fit_trimmed(patches, config, progress=progress)
        for place in np.flatnonzero(~trimmed.is_kept):
            name = patches.sources[place * config.rotations][0]
            others.append(TrainingImage(name, float(trimmed.scores[place]), is_learned=False))
        state, patches = trimmed.fitted, trimmed.patches
    num_images = len(patches.frames) // config.rotations
    if config.thresholds in (AUTO, "leave_one_out") and num_images >= FEWEST_IMAGES:
        left_out = leave_images_out(state, patches, config, progress=progress)
        state = state._replace(posterior=left_out.posterior)
        state = _with_thresholds(state, left_out.images, others, config)
    facts = state.facts._replace(num_trimmed=len(others))
    return Learned(state._replace(facts=facts), patches)


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
