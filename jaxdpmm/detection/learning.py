"""All that is learned from training patches: the mixture, and thresholds and atypical images where the settings say so.

A fit that trusts all images and has others for its thresholds is `fit_mixture` alone. Next file to read: `detector.py`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdpmm.choices import DIVERGENCE, is_joint
from jaxdpmm.detection.calibration import calibrate
from jaxdpmm.detection.config import AUTO, DetectorConfig
from jaxdpmm.detection.diagnosis import examples_of
from jaxdpmm.detection.fitting import SAMPLE_SIZE, fit_mixture
from jaxdpmm.detection.leaving_out import (
    ImageGroups,
    can_fuse,
    fuse_scores,
    leave_images_out,
)
from jaxdpmm.detection.line.kept import with_kept_images
from jaxdpmm.detection.overlay import colour_limits
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import ScoredImage, ScorePatches
from jaxdpmm.detection.scores.beside import check_others
from jaxdpmm.detection.scores.composition import component_counts, scores_without
from jaxdpmm.detection.scores.histograms import learn_histograms
from jaxdpmm.detection.scores.joint import COLOUR_LIMITS
from jaxdpmm.detection.scores.known import with_odds
from jaxdpmm.detection.scores.unlabelled import with_discrepancy, with_unlabelled
from jaxdpmm.detection.state import DetectorState, FitFacts, TrainingImage
from jaxdpmm.detection.trimming import Trimmed, fit_trimmed
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.separation import separation

COLOURS, SEPARATION = 1, 2  # make keys of their own of the seed, for samples of patches
FEW = 2048  # patches that tell how far components are apart
FEWEST_IMAGES = 2  # so that something is left without each


class Learned(NamedTuple):
    """What was learned, and the patches that it was learned from."""

    state: DetectorState
    patches: TrainingPatches


def decided(config: DetectorConfig, patches: TrainingPatches, is_held_out: bool) -> DetectorConfig:
    """The settings with `thresholds` and `p_values` decided, where it is left open what they are.

    Scores stay as they are where an image may have to be forgotten, since the p-values were learned from it as well,
    and where images are not all trusted: which of them stand out is told in the unit of the score.

    Args:
        config: settings.
        patches: of training images.
        is_held_out: whether there are images that are not learned from, for thresholds.
    """
    changes: dict[str, Any] = {}
    if config.thresholds == AUTO:
        is_source = is_held_out and not config.keep_images
        changes["thresholds"] = "held_out" if is_source else "leave_one_out"
    if config.p_values is None and not is_joint(config.score):
        stays = config.trusts_all and not config.keep_images  # whatever was learned from
        changes["p_values"] = stays and can_fuse(patches, config)
    return dataclasses.replace(config, **changes)


def with_scores(
    config: DetectorConfig,
    normal: Sequence[ImageRecord],
    anomalies: Sequence[ImageRecord],
    unlabelled: Sequence[ImageRecord],
) -> DetectorConfig:
    """The settings with the scores of images that are given beside the normal ones.

    Args:
        config: settings.
        normal: images.
        anomalies: images that are known to be anomalous, for the odds.
        unlabelled: images that may be normal or not, for the discrepancy.

    Raises:
        ValueError: one of these scores is asked for without images, or they are not what they should be.
    """
    for argument, images in (("anomalies", anomalies), ("unlabelled", unlabelled)):
        check_others(argument, images, normal)
    return with_discrepancy(with_odds(config, anomalies), unlabelled)


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
    if config.trusts_all:
        state = fit_mixture(patches.features, config, progress=progress)
        state = with_unlabelled(state, config, patches, further)
    else:
        options: dict[str, Any] = {"anomalies": anomalies, "unlabelled": further}
        trimmed = fit_trimmed(patches, config, progress=progress, **options)
        others = _left_out(trimmed, patches, config)
        state, patches = trimmed.fitted, trimmed.patches
    num_images = len(patches.frames) // config.rotations
    images: Iterable[ScoredImage] | None = None
    if config.keep_images:
        state = with_kept_images(state, patches, config, others, progress=progress)
    elif config.thresholds in (AUTO, "leave_one_out") and num_images >= FEWEST_IMAGES:
        state, images = leave_images_out(
            state, patches, config, progress=progress, anomalies=anomalies
        )
    elif is_joint(config.score):
        state = fuse_scores(state, patches, config, progress=progress, anomalies=anomalies)
    if config.image_score == DIVERGENCE:
        state, images = _by_composition(state, patches, config, images)
    if images is not None:
        state = _with_thresholds(state, images, others, config)
    facts = state.facts._replace(
        num_images=patches.num_images // config.rotations, num_trimmed=len(others)
    )
    return Learned(state._replace(facts=facts), patches)


def explained(state: DetectorState, patches: TrainingPatches, seed: int) -> DetectorState:
    """The state with examples of each component, and how compact components are and how far apart.

    Args:
        state: what was learned.
        patches: that it was learned from.
        seed: draws a sample of them.
    """
    facts = separation_facts(state, patches.features, seed)
    return state._replace(facts=facts, examples=examples_of(state, patches))


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


def with_colours(
    state: DetectorState, score_patches: ScorePatches, features: Any, seed: int
) -> DetectorState:
    """The state with the scores at which the colours of pictures begin and end.

    Args:
        state: what was learned.
        score_patches: the score of the settings.
        features: of training patches, (N, D), of which a sample is scored; fused scores need none.
        seed: draws the sample.
    """
    if state.fusion is not None:
        return state._replace(colour_limits=COLOUR_LIMITS)
    key = jax.random.fold_in(jax.random.key(seed), COLOURS)
    sample = draw_sample(key, features, SAMPLE_SIZE)
    low, high = colour_limits([score_patches(sample[None])])
    return state._replace(colour_limits=(low, max(high, float(np.nextafter(low, np.inf)))))


def _left_out(
    trimmed: Trimmed, patches: TrainingPatches, config: DetectorConfig
) -> list[TrainingImage]:
    """The images that were not learned from."""
    return [
        TrainingImage(
            patches.sources[place * config.rotations][0],
            float(trimmed.scores[place]),
            is_learned=False,
        )
        for place in np.flatnonzero(~trimmed.is_kept)
    ]


def _by_composition(
    state: DetectorState,
    patches: TrainingPatches,
    config: DetectorConfig,
    images: Iterable[ScoredImage] | None,
) -> tuple[DetectorState, Iterable[ScoredImage] | None]:
    """The state with what training images are made of, and these images with the score that they have by it."""
    if not patches.frames:
        raise ValueError(
            'image_score must be "top" where training patches are not known as images, got "divergence"; fit with '
            "Detector.fit, or leave it out."
        )
    groups = ImageGroups(state, patches, config)
    features = (groups.first(number).features for number in range(len(groups)))
    counts = component_counts(state, features)
    state = state._replace(histograms=learn_histograms(counts))
    if images is None:
        return state, None
    pairs = zip(images, scores_without(counts), strict=True)
    return state, (image._replace(score=float(score)) for image, score in pairs)


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
