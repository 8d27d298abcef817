"""From numbers to decisions: the detector, maps, image scores, thresholds, metrics, memory banks and pictures.

In the order of the data: `config` (all settings), `patches` (images to features), `fitting` (features to a mixture),
`detector` (all of it as one object), `scored` (patches to scores; `banks` beside `jaxdpmm.scoring`), `maps` (patches to
pixels and to one number an image), `calibration` (thresholds and p-values from normal images), `diagnosis` (why),
`metrics` (how well the numbers tell anomalous from normal, and how sure that is), `evaluate` (all of these for a test
set), `overlay` (pictures to look at) and `reporting` (a run's folder, and its page).
"""

from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.diagnosis import PatchDiagnosis
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.patches import ImagePatches, TrainingPatches, stack_patches, stream_patches
from jaxdpmm.detection.scored import ScoredImage, compile_scorer, num_bytes, score_images

__all__ = [
    "Detector",
    "DetectorConfig",
    "ImagePatches",
    "PatchDiagnosis",
    "ScoredImage",
    "TrainingPatches",
    "compile_scorer",
    "fit_mixture",
    "num_bytes",
    "score_images",
    "stack_patches",
    "stream_patches",
]
