"""Learning from unlabelled images beside normal ones: one mixture of both, and which image has which kind of patch.

What the counts say is in `prevalence.py`. Next file to read: `joint.py`.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxdpmm.choices import DISCREPANCY, names_of
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.patches import TrainingPatches, ends_of
from jaxdpmm.detection.scores.beside import with_score_of
from jaxdpmm.detection.scores.nearest import compile_nearest
from jaxdpmm.detection.state import DetectorState, Unlabelled
from jaxdpmm.images.records import ImageRecord

FEWEST = 2  # unlabelled images


def with_discrepancy(config: DetectorConfig, unlabelled: Sequence[ImageRecord]) -> DetectorConfig:
    """The settings, with the discrepancy among the scores where there are unlabelled images.

    Args:
        config: settings.
        unlabelled: images that may be normal or not.

    Raises:
        ValueError: the discrepancy is asked for without unlabelled images or without another score, or there is a
            single image.
    """
    if len(unlabelled) == 1:
        raise ValueError(
            f"unlabelled must be at least {FEWEST} images, got 1, {unlabelled[0].path}; give more, or leave it out."
        )
    config = with_score_of(config, DISCREPANCY, "unlabelled", unlabelled, "further")
    if names_of(config.score) == (DISCREPANCY,):
        raise ValueError(
            f"score must name another score beside {DISCREPANCY!r}, which is zero for most patches, got it alone; name "
            "cosine as well, or leave the score out."
        )
    return config


def with_unlabelled(
    state: DetectorState,
    config: DetectorConfig,
    patches: TrainingPatches,
    unlabelled: Sequence[Float[np.ndarray, "h w D"]],
) -> DetectorState:
    """The state, with what unlabelled images hold where there are some.

    Args:
        state: of the mixture of normal patches, under whose prior and by whose reduction the one of all is fitted.
        config: settings, with as many components per patch for the mixture of all.
        patches: of the normal images, which are all held in memory.
        unlabelled: features of images that may be normal or not.

    Raises:
        ValueError: features that are not finite.
        TypeError: components of the family have no means.
    """
    if not unlabelled:
        return state
    normal = np.asarray(patches.features)
    rows = np.concatenate([normal, *(one.reshape(-1, one.shape[-1]) for one in unlabelled)])
    if not config.is_adaptive:
        wanted = math.ceil(config.truncation(len(normal)) * len(rows) / len(normal))
        config = dataclasses.replace(config, num_components=min(wanted, len(rows)))
    of_all = fit_mixture(rows, config, beside=state)
    ends = ends_of(patches)[:: config.rotations]  # copies of an image are one image
    images = np.split(normal, ends[1:-1])
    nearest, number = compile_nearest(of_all), of_all.mixture.num_components
    among_unlabelled, among_normal = (
        _occurrences(map(nearest, part), number) for part in (unlabelled, images)
    )
    found = Unlabelled(
        of_all.posterior, among_unlabelled, among_normal, len(unlabelled), len(images)
    )
    return state._replace(unlabelled=found)


def _occurrences(
    images: Iterable[Int[np.ndarray, "..."]], num_components: int
) -> Int[np.ndarray, " K"]:
    """In how many images each component occurs."""
    counts = np.zeros(num_components, np.int64)
    for one in images:
        counts[np.unique(one)] += 1
    return counts
