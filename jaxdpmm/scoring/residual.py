"""Distance of points to the nearest tangent space: what low-rank components know of the shape of normal data.

Normal patches vary along few directions about each mean (light, a shift by part of a patch), which a distance to means
counts as anomalous. The loadings L of a low-rank component span these directions. The residual is the squared
Mahalanobis distance under L L' + s I, times s:

    r(x) = |x - mean|^2 - (x - mean)' L (L' L + s I)^-1 L' (x - mean),

a squared distance in the units of the points, in which a direction of variance v counts s / (s + v). For s = 0 it is
the squared distance to the tangent space, mean + span(L), alone; what a larger s adds is the place within that space.
One s serves all components, their mean noise variance: a component whose points are few or almost alike has too small
a noise of its own, and divided by that every new normal point is far away.
Next file to read: `spherical.py`.

References:
    Hinton, Dayan and Revow (1997), Modeling the manifolds of images of handwritten digits.
    Tipping and Bishop (1999), Mixtures of probabilistic principal component analysers.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.distances import relative_squares, squared_norms
from jaxdpmm.families import GaussianLowRank
from jaxdpmm.families.factorize import cholesky_and_inverse
from jaxdpmm.families.kernels import by_platform
from jaxdpmm.model import Mixture, Posterior, active_components
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring.distance import barrier, component_means
from jaxdpmm.scoring.scorer import Scorer
from jaxdpmm.scoring.screen import Screen, screen_of
from jaxdpmm.scoring.shortlist import is_screened, nearest_rows

NUM_NEAREST = 4
FOUND_PER_NEAREST = (
    2  # by a screen, whose order is not that of distances: the nearest 4 are 0.99 of those among 8
)


class Tangents(NamedTuple):
    """Prepared components.

    Attributes:
        means: in the user's coordinates.
        norms: squared norms of the means; inf for components without data.
        projection: L C with C C' = (L' L + s I)^-1, so that r = |x - mean|^2 - |(x - mean)' projection|^2.
        screen: of the means, where there are thousands.
    """

    means: Float[Array, "K D"]
    norms: Float[Array, " K"]
    projection: Float[Array, "K D q"]
    screen: Screen | None


@lru_cache
def residual(
    mixture: Mixture,
    num_nearest: int = NUM_NEAREST,
    noise: float | None = None,
    screened: bool = True,
) -> Scorer:
    """Least r(x) of the components whose means are nearest to x: squared distance to what they vary along.

    Where `cosine` has a screen, the nearest means are searched through one as well.

    Args:
        mixture: of `GaussianLowRank` components.
        num_nearest: C, components per point that are compared, at most K of them.
        noise: the variance s; by default the mean noise variance of components and features, components weighted by
            their points. 0 for the squared distance to the tangent spaces alone.
        screened: as of `cosine`.

    Raises:
        TypeError: the family has no loadings.
        ValueError: `num_nearest` is below 1, or `noise` is negative.
    """
    if not isinstance(mixture.family, GaussianLowRank):
        raise TypeError(
            f"score 'residual' needs the family GaussianLowRank, got {type(mixture.family).__name__}; use 'cosine' "
            "for means alone."
        )
    check_at_least_one("num_nearest", num_nearest, f"the default is {NUM_NEAREST}")
    if noise is not None and not noise >= 0:
        raise ValueError(f"noise must be a variance of at least 0, got {noise}; leave it out.")
    num_nearest = min(num_nearest, mixture.num_components)
    num_found = FOUND_PER_NEAREST * num_nearest
    screened = screened and is_screened(mixture.num_components, num_found)
    return Scorer(partial(_prepare, mixture, noise, screened), partial(_score, num_nearest))


@full_precision()
def _prepare(
    mixture: Mixture, noise: float | None, screened: bool, posterior: Posterior
) -> Tangents:
    means, is_active = component_means(mixture, posterior), active_components(posterior)
    loadings, variances = jax.vmap(mixture.family.loadings_and_noise)(posterior.components)
    weight = jnp.where(is_active, posterior.counts, 0)
    pooled = weight @ jnp.mean(variances, axis=1) / jnp.sum(weight) if noise is None else noise

    def project(loading: Float[Array, "D q"]) -> Float[Array, "D q"]:
        squares = loading.T @ loading
        rounding = 100 * jnp.finfo(squares.dtype).eps * jnp.trace(squares)  # so that s may be 0
        ridge = jnp.maximum(pooled, rounding) + jnp.finfo(squares.dtype).tiny
        identity = jnp.eye(len(squares), dtype=squares.dtype)
        return loading @ cholesky_and_inverse(squares + ridge * identity)[1].T

    norms = jnp.where(is_active, squared_norms(means), jnp.inf)
    screen = screen_of(means, barrier(posterior)) if screened else None
    return Tangents(means, norms, jax.vmap(project)(loadings), screen)


@full_precision()
def _score(num_nearest: int, params: Tangents, x: Float[Array, "N D"]) -> Float[Array, " N"]:
    if params.screen is None:
        squares, nearest = _nearest_of_all(num_nearest, params, x)
    else:
        squares, nearest = by_platform(
            params.screen,
            params,
            x,
            cpu=partial(_nearest_of_few, num_nearest),
            default=lambda _, params, x: _nearest_of_all(num_nearest, params, x),
        )

    def of_one(args: tuple[Array, Array]) -> Float[Array, " N"]:
        """One of the nearest components of every point; one after another, so that N q D numbers are held at once."""
        chosen, is_active = args
        centred = x - params.means[chosen]
        explained = jnp.einsum("nd,ndq->nq", centred, params.projection[chosen])
        return jnp.where(is_active, squared_norms(centred) - squared_norms(explained), jnp.inf)

    found = jax.lax.map(of_one, (nearest.T, jnp.isfinite(squares).T))
    return jnp.maximum(jnp.min(found, axis=0), 0)


def _nearest_of_all(
    num_nearest: int, params: Tangents, x: Float[Array, "N D"]
) -> tuple[Float[Array, "N C"], Int[Array, "N C"]]:
    """Minus the relative squared distances of the nearest means, and their numbers."""
    distances = relative_squares(x, params.means, params.norms)
    squares, nearest = jax.lax.top_k(-distances, num_nearest)
    return squares, nearest


def _nearest_of_few(
    num_nearest: int, screen: Screen, params: Tangents, x: Float[Array, "N D"]
) -> tuple[Float[Array, "N C"], Int[Array, "N C"]]:
    """As `_nearest_of_all`, of the means that the screen finds."""
    found = nearest_rows(screen, x, FOUND_PER_NEAREST * num_nearest)
    products = jnp.einsum("nfd,nd->nf", params.means[found], x)
    squares, place = jax.lax.top_k(2 * products - params.norms[found], num_nearest)
    return squares, jnp.take_along_axis(found.astype(place.dtype), place, axis=1)
