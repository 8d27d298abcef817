"""Mutual matching with the components that a place expects: what is there that should not be, and what is missing.

Forward, a patch looks for its like among the components that normal images have about its place (a spatial window), so
that a patch that is normal elsewhere is found. Backward, each of these components looks for its like among the patches
of the window, so that a missing part is found, although every patch that is there is normal. Both are cosine distances
in units of what held-out normal images have at the same place, so that components that vary there, or often are not
there, count for less.

This is for images that show the same thing in the same place; of others (textures, turned objects), places expect
everything. Next file to read: `../scored.py`.

References:
    Chen et al. (2023), Hard-normal Example-aware Template Mutual Matching. arXiv 2303.16191.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.programs import jitted
from jaxdpmm.scoring.distance import unit_vectors

NUM_TEMPLATES = 8
PRIOR_IMAGES = 5.0  # how many images the spread of all places counts for at each


class Moments(NamedTuple):
    """Mean and standard deviation of distances over normal images, one of each kind per place."""

    mean: Float[Array, "..."]
    spread: Float[Array, "..."]


class Places(NamedTuple):
    """What each place expects.

    Attributes:
        vectors: means of the components, of unit norm.
        templates: components that normal images have in the window around each place, the most frequent first.
        forward: distance of the patch to the nearest of its templates, of normal images.
        backward: distance of each template to the nearest patch of the window.
        reach: rows and columns from a place to the edge of its window.
    """

    vectors: Float[Array, "K D"]
    templates: Int[Array, "h w M"]
    forward: Moments
    backward: Moments
    reach: int


class Matches(NamedTuple):
    """Scores of one image, in standard deviations of normal images at the same place.

    Attributes:
        forward: of what is there and is not expected.
        backward: of what is expected and not there, at the places that miss it; of the most missed template.
    """

    forward: Float[Array, "h w"]
    backward: Float[Array, "h w"]


def learn_places(
    means: Float[Array, "K D"],
    images: Iterable[Float[np.ndarray, "h w D"]],
    held_out: Iterable[Float[np.ndarray, "h w D"]],
    *,
    num_templates: int = NUM_TEMPLATES,
    reach: int = 1,
) -> Places:
    """Learn what each place expects, from patch features of normal images of one size, in a stream.

    Args:
        means: of the components, for example `scoring.component_means`.
        images: patch features that the components were learned from.
        held_out: patch features of other normal images, which tell what distances are normal.
        num_templates: M, components that a place keeps.
        reach: rows and columns from a place to the edge of its window.

    Raises:
        ValueError: no images, no held-out ones, images of several sizes, or a number below 1.
    """
    check_at_least_one("num_templates", num_templates, f"the default is {NUM_TEMPLATES}")
    vectors = unit_vectors(jnp.asarray(means))
    num_templates = min(num_templates, len(vectors))
    present = jitted(_present, reach)
    counts: Any = None
    for features in images:
        _check_size(features, counts)
        found = present(vectors, jnp.asarray(features))
        counts = found if counts is None else counts + found
    check_at_least_one("the number of images", 0 if counts is None else 1, "give normal images")
    templates = jax.lax.top_k(counts, num_templates)[1]
    distances = jitted(_distances, reach)
    found = []
    for features in held_out:
        _check_size(features, counts)
        found.append(jax.device_get(distances(vectors, templates, jnp.asarray(features))))
    check_at_least_one("the number of held-out images", len(found), "hold some out")
    forward, backward = (_moments(np.stack(part)) for part in zip(*found, strict=True))
    return Places(vectors, templates, forward, backward, reach)


def match(places: Places, features: Float[np.ndarray, "h w D"]) -> Matches:
    """Scores of one image.

    Args:
        places: from `learn_places`.
        features: patch features, of the size of the images learned from.

    Raises:
        ValueError: an image of another size.
    """
    _check_size(features, places.templates)
    return jitted(_match, places.reach)(places, jnp.asarray(features))


def _match(reach: int, places: Places, features: Float[Array, "h w D"]) -> Matches:
    forward, backward = _distances(reach, places.vectors, places.templates, features)
    missed = (backward - places.backward.mean) / places.backward.spread
    return Matches(
        (forward - places.forward.mean) / places.forward.spread, jnp.max(missed, axis=-1)
    )


def _present(
    reach: int, vectors: Float[Array, "K D"], features: Float[Array, "h w D"]
) -> Int[Array, "h w K"]:
    """Whether a component is that of any patch in the window around each place."""
    labels = jnp.argmax(_cosines(vectors, features), axis=-1)
    is_own = jax.nn.one_hot(labels, len(vectors), dtype=jnp.int32)
    return _largest_around(reach, is_own)


def _distances(
    reach: int,
    vectors: Float[Array, "K D"],
    templates: Int[Array, "h w M"],
    features: Float[Array, "h w D"],
) -> tuple[Float[Array, "h w"], Float[Array, "h w M"]]:
    """Of each patch to the nearest of its templates; of each template to the nearest patch of its window."""
    cosines = _cosines(vectors, features)
    own = jnp.take_along_axis(cosines, templates, axis=-1)
    around = jnp.take_along_axis(_largest_around(reach, cosines), templates, axis=-1)
    return 1 - jnp.max(own, axis=-1), 1 - around


def _cosines(
    vectors: Float[Array, "K D"], features: Float[Array, "h w D"]
) -> Float[Array, "h w K"]:
    flat = unit_vectors(features.reshape(-1, features.shape[-1]))
    return (flat @ vectors.T).reshape(*features.shape[:2], -1)


def _largest_around(reach: int, grid: Array) -> Array:
    """The largest entry within so many rows and columns; windows end where the image does."""
    for axis in (0, 1):
        length = grid.shape[axis]
        edges = [(reach, reach) if place == axis else (0, 0) for place in range(grid.ndim)]
        padded = jnp.pad(grid, edges, mode="edge")
        shifted = [
            jax.lax.slice_in_dim(padded, start, start + length, axis=axis)
            for start in range(2 * reach + 1)
        ]
        grid = jnp.max(jnp.stack(shifted), axis=0)
    return grid


def _moments(distances: Float[np.ndarray, "I ..."]) -> Moments:
    """Means, and standard deviations shrunk to that of all places."""
    mean = distances.mean(axis=0)
    squares = np.sum((distances - mean[None]) ** 2, axis=0)
    number = len(distances)
    pooled = squares.mean() / number + np.finfo(np.float32).tiny
    variance = (squares + PRIOR_IMAGES * pooled) / (number + PRIOR_IMAGES)
    return Moments(jnp.asarray(mean), jnp.asarray(np.sqrt(variance)))


def _check_size(features: Float[np.ndarray, "h w D"], like: Any) -> None:
    if like is not None and features.shape[:2] != like.shape[:2]:
        raise ValueError(
            f"features must be those of images of one size, {like.shape[0]} x {like.shape[1]} patches, got "
            f"{features.shape[0]} x {features.shape[1]}; prepare images with the shape 'square'."
        )
