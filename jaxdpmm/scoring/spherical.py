"""The predictive density with one variance for all features, whatever covariance the components were fitted with.

The sufficient statistics of a spherical Gaussian, sum of x, sum of |x|^2 and number of points, are sums of those of
every other Gaussian. So the posterior of any Gaussian mixture holds the one that a spherical mixture has with the same
responsibilities, and nothing is fitted again. The score sees how far a point is in units of its component's own size,
along no direction in particular. The residual (`residual.py`) has directions, and one unit for all components; the
two are wrong about different points, and are better together (`fusion.py`).
Next file to read: `fusion.py`.

References:
    Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution.
"""

import dataclasses
from functools import lru_cache
from typing import Any

import jax.numpy as jnp

from jaxdpmm.families import Gaussian, GaussianSpherical
from jaxdpmm.families.gaussian_low_rank import Regression
from jaxdpmm.families.normal_wishart import NormalWishart
from jaxdpmm.model import Mixture, Posterior
from jaxdpmm.scoring.nearest import NUM_CANDIDATES, nearest_predictive
from jaxdpmm.scoring.scorer import Scorer


@lru_cache
def spherical(
    mixture: Mixture, num_candidates: int = NUM_CANDIDATES, grouped: bool = True
) -> Scorer:
    """`nearest_predictive` of the mixture whose components have one variance each, and the same points.

    Args:
        mixture: of Gaussian components.
        num_candidates: as of `nearest_predictive`.
        grouped: as of `nearest_predictive`.

    Raises:
        TypeError: the components are no Gaussians.
        ValueError: `num_candidates` is below 1.
    """
    family = mixture.family
    if not isinstance(family, Gaussian):
        raise TypeError(
            f"score 'spherical' needs Gaussian components, got {type(family).__name__}; use 'nearest_predictive' for "
            "the density of the components as they are."
        )
    spheres = dataclasses.replace(mixture, family=GaussianSpherical(family.dim))
    scorer = nearest_predictive(spheres, num_candidates, grouped)

    def prepare(posterior: Posterior) -> Any:
        return scorer.prepare(posterior._replace(components=_one_variance(posterior.components)))

    return Scorer(prepare, scorer.score)


def _one_variance(components: Any) -> NormalWishart:
    """Natural parameters of spherical Gaussians with the same points, and the same prior points."""
    if isinstance(components, Regression):
        first, count = components.first[..., -1], components.gram[..., -1, -1]
        return NormalWishart(first, jnp.sum(components.second, axis=1), count, components.dof)
    squares = components.second
    if squares.ndim == 3:
        squares = jnp.diagonal(squares, axis1=1, axis2=2)
    return components._replace(second=squares.reshape(len(squares), -1).sum(axis=1))
