"""Which product an image shows: a mixture of whole images per product says which is nearest, its patches whether it is.

An image is the mean of its patch features, of unit norm, from the same pass through the backbone as its patches. A
product's router is a detector of such means, each an image of one patch, so that it is fitted and saved as any other.
Products are tried from the nearest on.

A defect moves the mean of an image, and images of one product may be so alike that any defect moves it out of them. So
the mean does not say whether an image shows a product at all. The image's patches do, under the product's own mixture,
by a p-value that holds where up to half of them are defective (`../calibration.py`, `p_value_of_most`): an image is of
none of the products where it is at most a rate under each of them. A new image of a product, normal in at least half of
its patches, has such a p-value under its own product no more often than that, whatever the others say; with n images
that thresholds come from, the smallest p-value is 1 / (n + 1), so that a product of fewer than 1 / rate - 1 images is
never left. Next file to read: `detector.py`.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.features.given import given_features
from jaxdpmm.images.geometry import Frame

NAME = "means of images"
ROUTER = DetectorConfig(
    thresholds="none", whiten=False, p_values=False, top_fraction=1.0, sigma=0.0
)
FEWEST_IMAGES = 2  # so that something is left without each
MOST_COMPONENTS = 1000  # of as many as there are images
_ONE = Frame((1, 1), (1, 1), (0, 0), (1, 1), 1)


class Route(NamedTuple):
    """Which product an image shows.

    Attributes:
        product: None where it is none of them.
        likeliest: the same, or the nearest where it is none of them.
        p_value: of its patches under the product; the largest of all products where it is none of them; None where the
            product has no images for that, so that nobody knows.
    """

    product: str | None
    likeliest: str
    p_value: float | None


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


def from_nearest(routers: Mapping[str, Detector], mean: Float[np.ndarray, " D"]) -> list[str]:
    """Names of products, that first whose images an image is nearest to.

    Args:
        routers: by product.
        mean: from `mean_of_image`.
    """
    scores = {
        name: float(np.asarray(router.score_patches(mean[None, None]))[0, 0])
        for name, router in routers.items()
    }
    return sorted(scores, key=lambda name: scores[name])
