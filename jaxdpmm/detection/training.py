"""Which images to learn from, and their features: as they are or rotated, from a cache or from the backbone.

Read `fitting.py` next.
"""

import os
import warnings
from collections.abc import Sequence

from jaxdpmm.detection.cache import cached_training
from jaxdpmm.detection.calibration import (
    ENOUGH_HELD_OUT,
    MIN_HELD_OUT,
    learned_and_held_out,
)
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.few_shot import choose_references
from jaxdpmm.detection.patches import TrainingPatches, stack_patches, stream_patches
from jaxdpmm.features import Backbone
from jaxdpmm.features.given import is_given
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.storage.files import name_text


def chosen_records(
    records: Sequence[ImageRecord], validation: Sequence[ImageRecord], config: DetectorConfig
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """What to learn from, and what thresholds come from.

    Args:
        records: normal images.
        validation: further ones; where there are none, a share of `records`, if that is enough, unless few shots are
            asked for.
        config: where thresholds come from, the share, the number of shots, and the seed.

    Raises:
        ValueError: more shots than images.
    """
    if config.num_shots is None:
        may_hold_out = config.thresholds in ("auto", "held_out") and not config.keep_images
        share = config.held_out if may_hold_out else 0.0
        fewest = MIN_HELD_OUT if config.thresholds == "held_out" else ENOUGH_HELD_OUT
        return learned_and_held_out(records, validation, share, config.seed, fewest)
    return choose_references(tuple(records), config.num_shots, config.seed), tuple(validation)


def tell_of_learned(records: Sequence[ImageRecord], learned: Sequence[str]) -> None:
    """Warn where images for thresholds are among those that a model has learned from.

    Args:
        records: images for thresholds.
        learned: names of files that a model holds, some of those it has learned from.
    """
    known = {os.path.realpath(name) for name in learned}
    names = [name_text(record.path) for record in records]
    found = [name for name in names if os.path.realpath(name) in known]
    if found:
        warnings.warn(
            f"images for thresholds must not be learned from, got {len(found)} that were, for example {found[0]}; give "
            "others, since new images will give more false alarms than the rate.",
            stacklevel=3,
        )


def training_patches(
    records: Sequence[ImageRecord],
    config: DetectorConfig,
    backbone: Backbone,
    strict: bool = False,
    progress: bool = False,
    cache: str | os.PathLike | None = None,
) -> TrainingPatches:
    """Patches of training images.

    Args:
        records: the images.
        config: settings, among them the number of rotations.
        backbone: the one that the configuration names.
        strict: an image that cannot be read is an error, instead of a warning and a gap.
        progress: show bars on standard error.
        cache: folder to keep features in; None, rotations, or features that exist already, for none.

    Raises:
        ValueError, FileNotFoundError: no image could be read, or not all with `strict`.
    """
    bar = "training images" if progress else None
    if is_given(backbone) and config.rotations > 1:
        raise ValueError(
            f"rotations must be 1 for features that exist already, got {config.rotations}; rotate images before their "
            "features are made."
        )
    if cache is not None and config.rotations == 1 and not is_given(backbone):
        return cached_training(records, config, backbone, cache, strict=strict, progress=bar)
    stream = stream_patches(
        records, config, backbone, strict=strict, progress=bar, rotations=config.rotations
    )
    return stack_patches(stream, len(records) * config.rotations, progress=progress)
