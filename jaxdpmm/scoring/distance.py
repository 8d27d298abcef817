"""Distances of points to the nearest component that holds data.

These ask what a point looks like and ignore how common it is. Families whose `point_params` have a field `mean`
of the shape of one point have cosine and Euclidean scores (a TypeError says so of others), Gaussians the
Mahalanobis score as well.
Next file to read: `residual.py`.

References:
    Schulthess and Konukoglu (2025), arXiv 2509.19997, equation 11 (cosine).
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.distances import relative_squares, squared_norms
from jaxdpmm.families import Gaussian, GaussianParams
from jaxdpmm.families.kernels import by_platform
from jaxdpmm.model import Mixture, Posterior, active_components, centre
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring.scorer import Scorer
from jaxdpmm.scoring.screen import Screen, screen_of
from jaxdpmm.scoring.shortlist import is_screened, nearest_rows

NUM_MEANS = 6  # whose cosines are computed in all dimensions, where there are thousands


class Means(NamedTuple):
    """Prepared means: `vectors` (K, D) and one term per component, inf for those without data."""

    vectors: Float[Array, "K D"]
    constant: Float[Array, " K"]


class ScreenedMeans(NamedTuple):
    """Prepared means of unit norm, and their screen."""

    means: Means
    screen: Screen


class Ellipsoids(NamedTuple):
    """Prepared Gaussians: point estimates, and 0 or inf a component."""

    params: GaussianParams
    constant: Float[Array, " K"]
    offset: Array | None


@lru_cache
def cosine(mixture: Mixture, num_candidates: int = NUM_MEANS, screened: bool = True) -> Scorer:
    """1 - max_k cos(x, mean_k) over components that hold data: the score of arXiv 2509.19997.

    With `shortlist.LEAST_SCREENED` components or more, a processor finds the nearest means through a screen, in less
    than half of the time, and with `groups.LEAST_GROUPED` or more through groups, in a time that grows with the root of
    their number. With up to 16,384 means of components that misses the nearest of 1 or 2 in 1,000 patches of images,
    whose scores are then too large, by 0.02 at most of 8,192 patches. With 30,000 or more, of few patches each, it is 2
    to 4 in 1,000 and 0.08, and of rows of a bank, each one patch, up to 6 in 1,000: so many vectors are too much alike
    in few coordinates (`benchmarks/groups.py`). An accelerator compares all means: the product takes it microseconds,
    less than to start the operations that a screen consists of.

    Args:
        mixture: of components that have means.
        num_candidates: C, components per point whose cosine a screen leaves to be computed in all dimensions.
        screened: False compares all means everywhere, the same score but for the rounding and for what a screen
            misses, by simpler operations, for converters to other formats (ONNX) that do not know all of JAX's.

    Raises:
        TypeError: components of this family have no means.
        ValueError: `num_candidates` is below 1.
    """
    check_at_least_one("num_candidates", num_candidates, f"the default is {NUM_MEANS}")
    screened = screened and is_screened(mixture.num_components, num_candidates)

    def prepare(posterior: Posterior) -> Means | ScreenedMeans:
        means = unit_means(mixture, posterior)
        if not screened:
            return means
        return ScreenedMeans(means, screen_of(means.vectors, means.constant))

    def score(params: Means | ScreenedMeans, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        if isinstance(params, Means):
            return 1 - _largest_cosine(params, x)
        found = by_platform(
            params, x, cpu=partial(_largest_of_few, num_candidates), default=_largest_of_all
        )
        return 1 - found

    return Scorer(prepare, score)


@lru_cache
def euclidean(mixture: Mixture) -> Scorer:
    """min_k |x - mean_k| over components that hold data.

    Raises:
        TypeError: components of this family have no means.
    """

    def prepare(posterior: Posterior) -> Means:
        means = component_means(mixture, posterior)
        return Means(means, squared_norms(means) + barrier(posterior))

    @full_precision()
    def score(params: Means, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        nearest = jnp.min(relative_squares(x, params.vectors, params.constant), axis=1)
        return jnp.sqrt(jnp.maximum(squared_norms(x) + nearest, 0))

    return Scorer(prepare, score)


@lru_cache
def mahalanobis(mixture: Mixture) -> Scorer:
    """min_k sqrt((x - mean_k)' precision_k (x - mean_k)) over components that hold data.

    Raises:
        TypeError: the family is not Gaussian.
    """
    family = mixture.family
    if not isinstance(family, Gaussian):
        raise TypeError(
            f"score 'mahalanobis' needs a Gaussian family, got {type(family).__name__}; "
            "use 'predictive', which every family has."
        )

    def prepare(posterior: Posterior) -> Ellipsoids:
        params = jax.vmap(family.point_params)(posterior.components)
        return Ellipsoids(params, barrier(posterior), posterior.offset)

    def score(params: Ellipsoids, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        squares = family.squared_distance_matrix(params.params, centre(x, params.offset))
        return jnp.sqrt(jnp.min(squares + params.constant[None], axis=1))

    return Scorer(prepare, score)


def component_means(mixture: Mixture, posterior: Posterior) -> Num[Array, "K ..."]:
    """Point estimates of the means in the user's coordinates, (K, ...).

    Raises:
        TypeError: the family's `point_params` have no field `mean`.
    """
    params = jax.vmap(mixture.family.point_params)(posterior.components)
    if not hasattr(params, "mean"):
        raise TypeError(
            f"a distance score needs point_params with a field mean, {type(mixture.family).__name__} "
            "has none; use the score 'predictive', which every family has."
        )
    return params.mean if posterior.offset is None else params.mean + posterior.offset[None]


def unit_means(mixture: Mixture, posterior: Posterior) -> Means:
    """Means of unit norm, and which of them hold data.

    Raises:
        TypeError: components of this family have no means.
    """
    return Means(unit_vectors(component_means(mixture, posterior)), barrier(posterior))


def unit_vectors(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Vectors divided by their norms; a zero vector stays as it is."""
    return x / _norms(x)[:, None]


def barrier(posterior: Posterior) -> Float[Array, " K"]:
    """0 for components that hold data, infinity for the others."""
    zero = jnp.zeros_like(posterior.counts)
    return jnp.where(active_components(posterior), zero, jnp.inf)


def _largest_cosine(means: Means, x: Float[Array, "N D"]) -> Float[Array, " N"]:
    products = x @ means.vectors.T - means.constant[None]
    return jnp.max(products, axis=1) / _norms(x)


def _largest_of_all(params: ScreenedMeans, x: Float[Array, "N D"]) -> Float[Array, " N"]:
    return _largest_cosine(params.means, x)


def _largest_of_few(num: int, params: ScreenedMeans, x: Float[Array, "N D"]) -> Float[Array, " N"]:
    """As `_largest_of_all`, of the means that the screen finds."""
    chosen = nearest_rows(params.screen, unit_vectors(x), num)
    vectors, constant = (part[chosen] for part in params.means)
    products = jnp.einsum("ncd,nd->nc", vectors, x) - constant
    return jnp.max(products, axis=1) / _norms(x)


def _norms(x: Float[Array, "N D"]) -> Float[Array, " N"]:
    """At least the smallest normal number, so that they can be divided by."""
    return jnp.maximum(jnp.linalg.norm(x, axis=1), float(jnp.finfo(x.dtype).tiny))
