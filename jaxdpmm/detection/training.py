"""Features to learn from: of images as they are or rotated, from a cache or from the backbone.

Read `fitting.py` next.
"""

import os
from collections.abc import Sequence

from jaxdpmm.detection.cache import cached_training
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.patches import TrainingPatches, stack_patches, stream_patches
from jaxdpmm.features import Backbone
from jaxdpmm.images.records import ImageRecord


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
        cache: folder to keep features in; None, or rotations, for none.

    Raises:
        ValueError, FileNotFoundError: no image could be read, or not all with `strict`.
    """
    bar = "training images" if progress else None
    if cache is not None and config.rotations == 1:
        return cached_training(records, config, backbone, cache, strict=strict, progress=bar)
    stream = stream_patches(
        records, config, backbone, strict=strict, progress=bar, rotations=config.rotations
    )
    return stack_patches(stream, len(records) * config.rotations, progress=progress)
