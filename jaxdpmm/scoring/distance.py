"""Distances of points to the nearest component that holds data.

These ask what a point looks like and ignore how common it is. Families whose `point_params` have a field `mean`
of the shape of one point have cosine and Euclidean scores (a TypeError says so of others), Gaussians the
Mahalanobis score as well.
Next file to read: `residual.py`.

References:
    Schulthess and Konukoglu (2025), arXiv 2509.19997, equation 11 (cosine).
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxdpmm.distances import relative_squares, squared_norms
from jaxdpmm.families import Gaussian, GaussianParams
from jaxdpmm.model import Mixture, Posterior, active_components, centre
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring.scorer import Scorer


class Means(NamedTuple):
    """Prepared means: `vectors` (K, D) and one term per component, inf for those without data."""

    vectors: Float[Array, "K D"]
    constant: Float[Array, " K"]


class Ellipsoids(NamedTuple):
    """Prepared Gaussians: point estimates, and 0 or inf a component."""

    params: GaussianParams
    constant: Float[Array, " K"]
    offset: Array | None


@lru_cache
def cosine(mixture: Mixture) -> Scorer:
    """1 - max_k cos(x, mean_k) over components that hold data: the score of arXiv 2509.19997.

    Raises:
        TypeError: components of this family have no means.
    """

    def prepare(posterior: Posterior) -> Means:
        return Means(unit_vectors(component_means(mixture, posterior)), barrier(posterior))

    def score(params: Means, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        products = x @ params.vectors.T - params.constant[None]
        norms = jnp.maximum(jnp.linalg.norm(x, axis=1), _tiny(x))
        return 1 - jnp.max(products, axis=1) / norms

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


def unit_vectors(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Vectors divided by their norms; a zero vector stays as it is."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), _tiny(x))


def barrier(posterior: Posterior) -> Float[Array, " K"]:
    """0 for components that hold data, infinity for the others."""
    zero = jnp.zeros_like(posterior.counts)
    return jnp.where(active_components(posterior), zero, jnp.inf)


def _tiny(x: Array) -> float:
    return float(jnp.finfo(x.dtype).tiny)
