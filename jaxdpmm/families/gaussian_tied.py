"""Gaussian components that share one covariance: what scikit-learn calls "tied".

The components' precisions have one distribution q(Lambda) between them. Of all such q, the one nearest to what the
components would have each for itself (in the sum of Kullback-Leibler divergences) has the mean of their parameters, so
that the family is `GaussianFull` with one line more, `restrict`: the bound is exact and never falls. All components
together count for the degrees of freedom of one, as in scikit-learn. The E-step costs N D^2 + N K D in place of
N K D^2. Next file to read: `gaussian_spherical.py`.

References:
    scikit-learn, BayesianGaussianMixture(covariance_type="tied").
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.families.gaussian_full import GaussianFull
from jaxdpmm.families.kernels import over_components, size_of
from jaxdpmm.families.normal_wishart import (
    GaussianParams,
    NormalWishart,
    StudentT,
)

SHARED = 1e-3  # difference of scales over the largest square, of a fit in float32


@dataclass(frozen=True)
class GaussianTied(GaussianFull):
    """Full covariance, the same for all components: mu_k | Lambda ~ N(m_k, (kappa_k Lambda)^-1), one q(Lambda)."""

    is_restricted: ClassVar[bool] = True

    def restrict(self, components: NormalWishart) -> NormalWishart:
        """The same mean and mean count for each component, and the mean of all scales and degrees of freedom."""
        squares = jnp.einsum("ki,kj->kij", components.first, components.first)
        squares = squares / components.mean_count[:, None, None]
        scale = jnp.mean(components.second - squares, axis=0)
        dof = jnp.full_like(components.dof, jnp.mean(components.dof))
        return components._replace(second=scale[None] + squares, dof=dof)

    def is_proper(self, natural: NormalWishart) -> bool:
        """As full covariance, and the components share scale and degrees of freedom, as far as rounding can tell."""
        if not super().is_proper(natural) or not np.allclose(natural.dof, natural.dof[0]):
            return False
        first = natural.first / np.sqrt(natural.mean_count)[:, None]
        shared = natural.second[0] - np.outer(first[0], first[0])
        return all(
            np.abs(second - np.outer(one, one) - shared).max() <= SHARED * np.diagonal(second).max()
            for one, second in zip(first, natural.second, strict=True)
        )

    def offers(self, function: str) -> bool:
        """As full covariance, but for draws."""
        return function != "sample_params" and super().offers(function)

    def sample_params(self, key: Array, natural: NormalWishart) -> GaussianParams:
        """Not offered: components cannot be drawn one by one.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "GaussianTied cannot be sampled: expected components that are independent given their labels, got a "
            "covariance that they share; use GaussianFull with Gibbs, or cavi."
        )

    def squared_distance_matrix(
        self, params: GaussianParams | StudentT, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """|U' x - U' mean_k|^2, one component at a time: U is that of every component, up to a factor."""
        root = params.precision_factor[0]
        points, means = x @ root, params.mean @ root
        squares = over_components(
            lambda mean: jnp.sum((points - mean[None]) ** 2, axis=1), means, size_of(x)
        ).T
        # The predictive's factors differ by the components' mean counts
        scale = params.precision_factor[:, 0, 0] / root[0, 0]
        return squares * scale[None] ** 2
