"""Synthetic anomalies of patch features, from what a mixture knows: no image is changed, so they cost no backbone.

Three kinds, each in a connected region of patches of a normal image. "tails" are patches as far from the mean of their
component as all but a stated share of training patches are near, "between" lie on the way to a component that is far
away, or between known anomalies, and "misplaced" are training patches of a component that is improbable there, given
the components around the region (`../scores/context.py`): each of them is normal, only its place is not. The truth is a
mask as that of any image, so that `score_images` and `evaluate` take what is returned here.

Anomalies of images, which go through the backbone, are made in `../../images/transplants.py`. Next file to read:
`choose.py`, which uses both.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.detection.patches import ImagePatches
from jaxdpmm.detection.scores.context import (
    ContextModel,
    LearnedContext,
    count_context,
    log_context,
    prepare_context,
)
from jaxdpmm.distances import nearest_centres
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.reading import pixels_of
from jaxdpmm.images.records import ANOMALOUS, ImageRecord
from jaxdpmm.images.transplants import blended
from jaxdpmm.programs import jitted
from jaxdpmm.scoring import in_tiles

FAR = 0.5  # quantile of distances between means from which on two components are far apart
IMPROBABLE = (
    0.1  # quantile of the probabilities of components given a ring, up to which they are improbable
)
OUTLYING = 0.999  # quantile of the radii of training patches


@dataclass(frozen=True, eq=False)
class MarkedPatches:
    """A `Source`: an image of which some patches are anomalous, though its pixels are as they were."""

    record: ImageRecord
    frame: Frame
    marked: Bool[np.ndarray, "h w"]

    def pixels(self) -> np.ndarray:
        """Those of the normal image."""
        return pixels_of(self.record)

    def mask(self) -> np.ndarray:
        """The pixels of the marked patches, in the original image."""
        return self._mask

    @functools.cached_property
    def _mask(self) -> np.ndarray:
        mask = np.zeros(self.frame.original, bool)
        for row, column in np.argwhere(self.marked):
            top, left, bottom, right = self.frame.box_of(int(row), int(column))
            mask[top:bottom, left:right] = True
        return mask


class Stock(NamedTuple):
    """What synthetic patches are made of.

    Attributes:
        means: of the components.
        rows: training patches.
        labels: the component whose mean is nearest to each row.
        radii: the distance of each row to it.
        context: which components stand beside which.
    """

    means: Float[np.ndarray, "K D"]
    rows: Float[np.ndarray, "N D"]
    labels: Int[np.ndarray, " N"]
    radii: Float[np.ndarray, " N"]
    context: ContextModel


Make = Callable[[Stock, Any, Any, np.random.Generator], np.ndarray]
"""Patches in place of those of a region, (n, D): of a stock, an image's features, the region, a generator."""


def stock_of(
    means: Float[np.ndarray, "K D"], images: Sequence[Float[np.ndarray, "h w D"]]
) -> Stock:
    """What synthetic patches are made of.

    Args:
        means: of the components, for example `scoring.component_means` of a mixture of unreduced features.
        images: patch features of training images.

    Raises:
        ValueError: no images.
    """
    check_at_least_one("the number of training images", len(images), "give some")
    grids = [_labels(means, one) for one in images]
    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in images])
    labels = np.concatenate([grid.ravel() for grid in grids])
    radii = np.linalg.norm(rows - means[labels], axis=-1)
    context = prepare_context(LearnedContext(count_context(grids, len(means))))
    return Stock(np.asarray(means), rows, labels, radii, context)


def synthetic_patches(
    images: Sequence[ImagePatches],
    stock: Stock,
    number: int,
    *,
    seed: int = 0,
    recipes: Mapping[str, Make] | None = None,
) -> Iterator[ImagePatches]:
    """Anomalous images: each of the normal ones in turn, a region of it changed by each recipe in turn.

    Args:
        images: normal, not learned from.
        stock: from `stock_of`.
        number: how many to make.
        seed: of all that is drawn.
        recipes: ways to change patches, by name; None for `RECIPES`.

    Raises:
        ValueError: no images.
    """
    check_at_least_one("the number of normal images", len(images), "give some to change")
    recipes = recipes or RECIPES
    random = np.random.default_rng(seed)
    for place in range(number):
        image, recipe = images[place % len(images)], list(recipes)[place % len(recipes)]
        region = region_of(image.features.shape[:2], random)
        features = np.array(image.features)
        features[region] = recipes[recipe](stock, image.features, region, random)
        source = MarkedPatches(image.record, image.frame, region)
        name = image.record.path.with_name(f"{image.record.path.stem} with {recipe} {place}")
        record = ImageRecord(name, ANOMALOUS, recipe, None, source)
        yield image._replace(record=record, features=features)


def region_of(grid: tuple[int, int], random: np.random.Generator) -> Bool[np.ndarray, "h w"]:
    """Some patches that lie together, at least one."""
    region = blended(grid, random) > 0
    if not region.any():
        region[tuple(random.integers(grid))] = True
    return region


def tails(
    stock: Stock,
    features: Float[np.ndarray, "h w D"],
    region: Bool[np.ndarray, "h w"],
    random: np.random.Generator,
) -> Float[np.ndarray, "n D"]:
    """Patches at the radius that 99.9 % of training patches stay within, from the means of their own components.

    Their directions are those of other training patches from their means, so that they vary as patches do.
    """
    labels = _labels(stock.means, features)[region]
    chosen = random.choice(np.flatnonzero(stock.radii > 0), len(labels))
    residuals = stock.rows[chosen] - stock.means[stock.labels[chosen]]
    radius = np.quantile(stock.radii, OUTLYING)
    return stock.means[labels] + residuals * (radius / stock.radii[chosen])[:, None]


def between(
    stock: Stock,
    features: Float[np.ndarray, "h w D"],
    region: Bool[np.ndarray, "h w"],
    random: np.random.Generator,
) -> Float[np.ndarray, "n D"]:
    """Patches moved part of the way, 20 to 60 %, from the mean of their component to that of one far away."""
    labels = _labels(stock.means, features)[region]
    middle = stock.means[labels].mean(axis=0)
    distances = np.linalg.norm(stock.means - middle[None], axis=-1)
    far = random.choice(np.flatnonzero(distances >= np.quantile(distances, FAR)))
    return features[region] + random.uniform(0.2, 0.6) * (stock.means[far] - stock.means[labels])


def misplaced(
    stock: Stock,
    features: Float[np.ndarray, "h w D"],
    region: Bool[np.ndarray, "h w"],
    random: np.random.Generator,
) -> Float[np.ndarray, "n D"]:
    """Training patches of a component that is improbable there, given the components of the patches around."""
    labels = _labels(stock.means, features)
    log_probability = log_context(stock.context, labels)[region.ravel()].mean(axis=0)
    counts = np.bincount(stock.labels, minlength=len(stock.means))
    limit = np.quantile(log_probability[counts > 0], IMPROBABLE)
    members = np.flatnonzero(log_probability[stock.labels] <= limit)
    component = stock.labels[random.choice(members)]
    return stock.rows[random.choice(np.flatnonzero(stock.labels == component), region.sum())]


def between_known(anomalous: Float[np.ndarray, "M D"]) -> Make:
    """A recipe: patches anywhere between two of some known anomalous ones.

    Args:
        anomalous: features of patches that are known to be anomalous, at least one.
    """

    def make(
        stock: Stock, features: np.ndarray, region: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        del stock, features
        first, second = anomalous[random.integers(len(anomalous), size=(2, int(region.sum())))]
        share = random.random((len(first), 1))
        return first + share * (second - first)

    return make


RECIPES: dict[str, Make] = {"tails": tails, "between": between, "misplaced": misplaced}
"""Ways to change patches, by name."""


def _labels(
    means: Float[np.ndarray, "K D"], features: Float[np.ndarray, "h w D"]
) -> Int[np.ndarray, "h w"]:
    """The component whose mean is nearest to each patch."""
    rows = np.asarray(features, means.dtype).reshape(-1, features.shape[-1])
    found = in_tiles(jitted(_nearest), jnp.asarray(means), rows)
    return np.asarray(found).reshape(features.shape[:2])


def _nearest(means: Float[Array, "K D"], x: Float[Array, "N D"]) -> Int[Array, " N"]:
    return nearest_centres(x, means)
