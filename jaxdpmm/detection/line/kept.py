"""What each training image has added to a mixture, kept so that the image can be taken out again, exactly.

posterior = prior + sum of the images' statistics. An image feeds few of the components, so that its statistics are kept
as one row per component that it feeds: about a quarter of the size of its features, where a hundred patches share a
component. The posterior of a model that keeps images is the prior and the sum of the rows, summed anew in float64
whenever an image comes or goes. So nothing of an image that goes is left in the sum, not even rounding: it is the sum
of the other images under the assignments that their patches have.

Kept beside the rows are the scores of the image with itself left out, from which thresholds are put together for the
images that are there, and the components of its patches, which `drift.py` compares those of new images with.
Next file to read: `updating.py`.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdpmm.detection.calibration import calibrate, merged
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.leaving_out import ImageGroups, left_out_scores
from jaxdpmm.detection.parts import local_step_of
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.state import DetectorState, KeptImage, Rows, TrainingImage
from jaxdpmm.inference import LocalStep
from jaxdpmm.inference.update import from_stats
from jaxdpmm.leave_out import GroupSums, stats_of_groups
from jaxdpmm.model import Mixture, Stats, empty_stats, expected_readout
from jaxdpmm.scoring import Scorer, predictive
from jaxdpmm.scoring.density import Predictive, log_predictive_joint
from jaxdpmm.storage.files import name_text

LEAST = 1e-12  # patches; a component that gets less of an image gets no row
KEPT_POINTS = 64  # of the scores of the patches and pixels of one image


def with_kept_images(
    fitted: DetectorState,
    patches: TrainingPatches,
    config: DetectorConfig,
    others: Sequence[TrainingImage] = (),
    *,
    progress: bool = False,
) -> DetectorState:
    """The state after one more sweep whose statistics are kept image by image, with thresholds from left-out images.

    Args:
        fitted: what `fit_mixture` returned for these patches.
        patches: with frames.
        config: settings.
        others: training images that were not learned from.
        progress: show a bar on standard error.

    Raises:
        ValueError: fewer than two images, or patches of unknown images.
    """
    groups = ImageGroups(fitted, patches, config)
    if len(patches.frames) < 2 * config.rotations:
        raise ValueError(
            f"keep_images needs at least two images with their frames, got {len(groups)}; give more."
        )
    rows = rows_of(fitted, groups, local_step_of(config, fitted.mixture))
    readout = expected_readout(fitted.mixture, fitted.posterior)
    total = total_of(fitted, rows)
    posterior = from_stats(fitted.mixture, fitted.prior, total)
    sums = GroupSums(readout, total, empty_stats(posterior), posterior.sticks)
    fitted = fitted._replace(posterior=posterior)
    groups = ImageGroups(fitted, patches, config)
    kept = left_out_images(fitted, groups, sums, rows, progress=progress)
    return with_thresholds(fitted._replace(kept=kept), config, others)


def with_thresholds(
    state: DetectorState, config: DetectorConfig, others: Sequence[TrainingImage] = ()
) -> DetectorState:
    """The state with thresholds and the list of training images from the images that it keeps.

    Args:
        state: with kept images; the others alone are listed where none are left.
        config: of the thresholds' source.
        others: training images that were not learned from.
    """
    kept = state.kept or ()
    notes = [TrainingImage(image.name, image.score) for image in kept]
    ordered = sorted([*notes, *others], key=lambda one: -one.score)
    state = state._replace(training_images=tuple(ordered))
    if config.thresholds == "none" or state.facts.num_held_out or not kept:
        return state
    found = merged([image.calibration for image in kept])
    facts = state.facts._replace(num_left_out=len(kept))
    return state._replace(calibration=found, facts=facts)


def rows_of(state: DetectorState, groups: ImageGroups, step: LocalStep) -> list[Rows]:
    """What each image adds under the responsibilities that a state's posterior gives its patches.

    Args:
        state: mixture and posterior.
        groups: images.
        step: the E-step.
    """
    readout = expected_readout(state.mixture, state.posterior)
    return [_nonzero(one) for one in stats_of_groups(state.mixture, readout, groups, step)]


def total_of(state: DetectorState, rows: Iterable[Rows]) -> Stats:
    """The sum of what images have added, taken in float64 and given in the type of the state's posterior.

    Args:
        state: of whose components the rows are.
        rows: of each image; none give zeros.
    """
    zeros = empty_stats(state.posterior)
    like = zeros.counts, zeros.components
    total = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), like)
    for one in rows:
        parts = jax.tree.leaves((one.counts, one.components))
        for sums, part in zip(jax.tree.leaves(total), parts, strict=True):
            sums[one.places] += part
    counts, components = jax.tree.map(lambda sums, leaf: jnp.asarray(sums, leaf.dtype), total, like)
    return zeros._replace(counts=counts, components=components)


def left_out_images(
    state: DetectorState,
    groups: ImageGroups,
    sums: GroupSums,
    rows: Sequence[Rows],
    *,
    progress: bool = False,
) -> tuple[KeptImage, ...]:
    """What is kept of images: what they have added, and what they look like to the mixture without them.

    Args:
        state: mixture and prior.
        groups: the images, of this state.
        sums: of these images, and of others.
        rows: of the images.
        progress: show a bar on standard error.
    """
    step = local_step_of(groups.config, state.mixture)
    numbers = range(len(groups))
    grids = left_out_scores(state, groups, sums, step, progress)
    labels = groups.left_out(sums, step, _most_probable(state.mixture), numbers, False)
    return tuple(
        KeptImage(
            name_text(image.record.path),
            own,
            calibrate([image], groups.config.sigma, KEPT_POINTS),
            found.reshape(-1).astype(np.int32),
            float(np.mean(image.patch_scores)),
        )
        for image, found, own in zip(groups.scored(numbers, grids), labels, rows, strict=True)
    )


def num_kept_bytes(kept: Iterable[KeptImage]) -> int:
    """Bytes that the arrays of kept images take in a model file."""
    return sum(np.asarray(leaf).nbytes for image in kept for leaf in jax.tree.leaves(image[1:]))


def _nonzero(stats: Stats) -> Rows:
    counts = np.asarray(stats.counts)
    places = np.flatnonzero(counts > LEAST).astype(np.int32)
    components = jax.tree.map(lambda leaf: np.asarray(leaf)[places], stats.components)
    return Rows(places, counts[places], components)


@lru_cache
def _most_probable(mixture: Mixture) -> Scorer:
    """In the form of a score: the number of the most probable component of each point."""

    def number(params: Predictive, x: Any) -> Array:
        joint = log_predictive_joint(mixture, params, x)
        return jnp.argmax(joint, axis=1).astype(joint.dtype)

    return Scorer(predictive(mixture).prepare, number)
