"""From images to a feature store: only what is not there yet goes through the backbone.

Next file to read: `store_writer.py`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdpmm.features.extractor import PatchExtractor
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.features.weights import Backbone


def extract_to_store(
    path: str | os.PathLike,
    extractor: PatchExtractor,
    backbone: Backbone,
    images: Iterable[tuple[Sequence[str], Any]],
    *,
    dtype: str = "float32",
    settings: Mapping[str, Any] | None = None,
) -> FeatureStore:
    """Extract the patch features of many images to disk, or only those that a killed run has not.

    Args:
        path: folder of the store.
        extractor: which features.
        backbone: from `load_backbone`.
        images: batches of images of one size, each the images' names and their pixels (B, H, W, 3).
        dtype: "float32" or "float16".
        settings: what else matters, such as the preprocessing; backbone and extractor are added.

    Returns:
        The finished store; `named_rows` tells which rows are whose.

    Raises:
        ValueError: images that the extractor refuses, or a store of other settings.
    """
    own: dict[str, Any] = {
        "backbone": backbone.name,
        "layers": extractor.layers,
        "normalize": extractor.normalize,
    }
    if extractor.join != "concatenate":  # stores of before there was the choice stay in use
        own["join"] = extractor.join
    writer = FeatureWriter(path, dtype=dtype, settings={**own, **(settings or {})})
    for names, pixels in images:
        missing = [place for place, name in enumerate(names) if name not in writer]
        if missing:
            patches = np.asarray(extractor.extract(backbone, pixels[np.asarray(missing)]))
            writer.append_all([(names[i], part) for i, part in zip(missing, patches, strict=True)])
    return writer.close()
