"""Which product an image shows: a mixture of whole images per product, and p-values that say "none of these".

An image is the mean of its patch features, of unit norm, from the same pass through the backbone as its patches. A
product's router is a detector of such means, each an image of one patch, so that it is fitted, calibrated (each
training image left out in turn) and saved as any other. An image goes to the product that it is nearest to.

It is of none of them where its p-value under every product is at most a rate. A new normal image of a product has a
p-value of at most that rate under its own product no more often than that, whatever the others say; with n training
images the smallest p-value is 1 / (n + 1), so that a product of fewer than 1 / rate - 1 images is never left.
Next file to read: `detector.py`.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.calibration import p_values, survival_of
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.features.given import given_features
from jaxdpmm.images.geometry import Frame

NAME = "means of images"
ROUTER = DetectorConfig(thresholds="leave_one_out", top_fraction=1.0, sigma=0.0)
FEWEST_IMAGES = 2  # so that something is left without each
MOST_COMPONENTS = 1000  # of as many as there are images, so that leaving one out is exact
_ONE = Frame((1, 1), (1, 1), (0, 0), (1, 1), 1)


class Route(NamedTuple):
    """Which product an image shows.

    Attributes:
        product: the likeliest; None where it is none of them.
        likeliest: the one that it is nearest to.
        p_value: the largest of all products; small for what is none of them.
    """

    product: str | None
    likeliest: str
    p_value: float


def mean_of_image(features: Any) -> Float[np.ndarray, " D"]:
    """Mean of the patch features of an image, (h, w, D), in NumPy or on the device, of unit norm."""
    mean = np.asarray(features.mean(axis=(0, 1)), np.float32)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def means_of_images(patches: TrainingPatches) -> Float[np.ndarray, "I D"]:
    """`mean_of_image` of every training image, those that are rotated among them."""
    ends = np.cumsum([0, *(height * width for _, (height, width) in patches.sources)])
    parts = itertools.pairwise(ends.tolist())
    return np.stack([mean_of_image(patches.features[a:b][None]) for a, b in parts])


def check_enough(num_images: int) -> None:
    """Raise `ValueError` where a product has too few images for a router."""
    if num_images < FEWEST_IMAGES:
        raise ValueError(
            f"a product must have at least {FEWEST_IMAGES} images to learn from, got {num_images}; add some."
        )


def fit_router(means: Float[np.ndarray, "I D"], names: Sequence[str], seed: int) -> Detector:
    """What one product looks like as a whole.

    Args:
        means: from `means_of_images`.
        names: of the images.
        seed: of everything random.

    Raises:
        ValueError: fewer than two images.
    """
    number = len(means)
    check_enough(number)
    sources = tuple((name, (1, 1)) for name in names)
    patches = TrainingPatches(means, number, sources, (_ONE,) * number)
    number = min(number, MOST_COMPONENTS)
    config = dataclasses.replace(ROUTER, num_components=number, seed=seed)
    return Detector.fit_patches(patches, config, given_features(NAME, means.shape[1]))


def route(routers: Mapping[str, Detector], mean: Float[np.ndarray, " D"], rate: float) -> Route:
    """Which product an image shows.

    Args:
        routers: by product.
        mean: from `mean_of_image`.
        rate: how often an image of a product may be said to be of none.
    """
    scores = {
        name: float(np.asarray(router.score_patches(mean[None, None]))[0, 0])
        for name, router in routers.items()
    }
    likeliest = min(scores, key=lambda name: scores[name])
    p_value = max(_p_values(routers, scores))
    return Route(None if p_value <= rate else likeliest, likeliest, p_value)


def _p_values(routers: Mapping[str, Detector], scores: Mapping[str, Any]) -> Iterable[float]:
    for name, router in routers.items():
        survival = survival_of(router.calibration, "image")
        yield float(p_values(survival, np.asarray(scores[name])))
