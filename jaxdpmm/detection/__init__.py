"""From numbers to decisions: the detector, maps, image scores, metrics, the memory bank and pictures.

In the order of the data: `config` (all settings), `patches` (images to features), `detector` (fit, score, save, load),
`memory_bank` (the baseline's score of a patch, beside those of `jaxdpmm.scoring`), `maps` (patches to pixels and
to one number an image), `metrics` (how well the numbers tell anomalous from normal), `evaluate` (both of these for a
test set) and `overlay` (pictures to look at).
"""

from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.detector import (
    Detector,
    ScoredImage,
    compile_scorer,
    fit_mixture,
    num_bytes,
    score_images,
)
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches, stack_patches, stream_patches

__all__ = [
    "Detector",
    "DetectorConfig",
    "ImagePatches",
    "ScoredImage",
    "TrainingPatches",
    "compile_scorer",
    "fit_mixture",
    "num_bytes",
    "score_images",
    "stack_patches",
    "stream_patches",
]
