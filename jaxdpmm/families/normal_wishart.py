"""Gaussians under a Normal-Wishart prior: full, tied, diagonal and spherical precision.

Their structures differ in what x x' is within the structure (`outer`), and in the precision factor U with
precision = U U': a matrix, a vector or a number. Statistics, prior and what follows from them alike are here.
Next file to read: `gaussian_diagonal.py`.
"""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.families.gaussian import ROUNDING, Gaussian


class GaussianParams(NamedTuple):
    """Mean, precision factor and log constant: log p(x) = log_constant - |(x - mean) U|^2 / 2."""

    mean: Float[Array, "*K D"]
    precision_factor: Float[Array, "..."]  # U: (D, D) upper triangular, (D,) or ()
    log_constant: Float[Array, "*K"]


class NormalWishart(NamedTuple):
    """Natural parameter of the conjugate prior, and T(x), of a Gaussian.

    With prior mean m, mean count kappa, degrees of freedom nu and scale Psi (each within the structure
    of the covariance): first = kappa m, second = Psi + kappa m m', mean_count = kappa, dof = nu. T(x) is
    x, x x', 1, 1.
    """

    first: Float[Array, "*K D"]
    second: Float[Array, "..."]  # (D, D), (D,) or ()
    mean_count: Float[Array, "*K"]
    dof: Float[Array, "*K"]


class StudentT(NamedTuple):
    """Multivariate Student-t: location, factor of the inverse scale, degrees of freedom, constant."""

    mean: Float[Array, "*K D"]
    precision_factor: Float[Array, "..."]
    dof: Float[Array, "*K"]
    log_constant: Float[Array, "*K"]


@dataclass(frozen=True)
class NormalWishartGaussian(Gaussian):
    """A Gaussian under a Normal-Wishart prior; subclasses fix the structure of its precision."""

    @property
    def least_dof(self) -> float:
        """The degrees of freedom above which the prior is proper."""
        return 0.0

    @property
    def default_dof(self) -> float:
        """2 points."""
        return 2.0

    @abc.abstractmethod
    def outer(self, vector: Float[Array, " D"]) -> Float[Array, "..."]:
        """Vector times its transpose within the structure: (D, D), (D,) or ()."""

    @abc.abstractmethod
    def scale_of(self, covariance: Float[Array, "..."]) -> Float[Array, "..."]:
        """The scale matrix of one degree of freedom whose precision has the inverse `covariance` as its mean."""

    @abc.abstractmethod
    def spread(self, variances: Float[Array, " D"]) -> Float[Array, "..."]:
        """The covariance of independent features within the structure, as a scale."""

    def sufficient_statistics(self, x: Float[Array, " D"]) -> NormalWishart:
        """T(x) = (x, x x', 1, 1), with x x' within the structure."""
        one = jnp.ones((), x.dtype)
        return NormalWishart(x, self.outer(x), one, one)

    def scale(self, natural: NormalWishart) -> Float[Array, "..."]:
        """Psi = second - first first' / kappa of one component."""
        return natural.second - self.outer(natural.first) / natural.mean_count

    def prior(
        self,
        mean: Float[Array, " D"],
        covariance: Float[Array, "..."],
        mean_count: float,
        dof: float,
    ) -> NormalWishart:
        """As `Gaussian.prior` says.

        Raises:
            ValueError: `dof` is not above `least_dof`.
        """
        if dof <= self.least_dof:
            raise ValueError(
                f"dof must be above {self.least_dof:g} for a proper prior of {self}, got {dof}; "
                f"use {self.default_dof:g} for a weak one."
            )
        count = jnp.asarray(mean_count, mean.dtype)
        second = dof * self.scale_of(covariance) + count * self.outer(mean)
        return NormalWishart(count * mean, second, count, jnp.asarray(dof, mean.dtype))

    def widen(self, natural: NormalWishart, variance: float | Float[Array, " D"]) -> NormalWishart:
        """`variance` times the degrees of freedom, added to the second statistic."""
        variances = jnp.broadcast_to(jnp.asarray(variance, natural.first.dtype), (self.dim,))
        return natural._replace(second=natural.second + natural.dof * self.spread(variances))

    def is_proper(self, natural: NormalWishart) -> bool:
        """Counts, degrees of freedom and variances are positive, as far as rounding can tell."""
        if not super().is_proper(natural) or not (natural.dof > 0).all():
            return False
        return bool((natural.mean_count > 0).all()) and bool((_slack(natural) > 0).all())


def _slack(natural: NormalWishart) -> np.ndarray:
    """Diagonal of Psi over that of `second`, plus what rounding may have taken: of K components, (K, D) or (K, 1)."""
    squares = np.asarray(natural.first**2 / natural.mean_count[:, None])
    second = np.asarray(natural.second)
    if second.ndim == 1:  # spherical
        squares, second = squares.sum(axis=1, keepdims=True), second[:, None]
    if second.ndim == 3:  # full
        second = np.diagonal(second, axis1=1, axis2=2)
    return ROUNDING * np.abs(second) + second - squares
