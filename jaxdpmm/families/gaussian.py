"""What all Gaussian families share: squared distances, a data-driven prior, Student-t densities.

A Gaussian subclass says how far a point is from its mean in units of its covariance; densities follow.
Next file to read: `normal_wishart.py`.
"""

import abc
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from jaxdpmm.families.base import Family, Natural, Params

LOG_TWO_PI = float(np.log(2 * np.pi))
DEFAULT_MEAN_COUNT = 0.01
ROUNDING = 1e-3  # of a sum of squares in float32, far more than what a fit leaves


@dataclass(frozen=True)
class Gaussian(Family):
    """A Gaussian component in `dim` dimensions; subclasses fix the structure of its covariance."""

    dim: int

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int | np.integer) or self.dim < 1:
            raise ValueError(
                f"dim must be a whole number of at least 1, got {self.dim!r}; give the number of features."
            )

    @property
    def point_shape(self) -> tuple[int, ...]:
        """(D,)."""
        return (self.dim,)

    @abc.abstractmethod
    def squared_distance(self, params: Params, x: Float[Array, " D"]) -> Float[Array, ""]:
        """|(x - mean) U|^2 of one point to one component."""

    @abc.abstractmethod
    def squared_distance_matrix(
        self, params: Params, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """`squared_distance` of every point to every component, as few matrix products."""

    @abc.abstractmethod
    def prior(
        self,
        mean: Float[Array, " D"],
        covariance: Float[Array, "..."],
        mean_count: float,
        dof: float,
    ) -> Natural:
        """Natural parameter with E[mu] = `mean` and 1 / E[precision] = `covariance`.

        Args:
            mean: prior mean of mu, relative to the reference point of the data.
            covariance: (D, D), (D,) or (), inverse of the prior mean of the precision.
            mean_count: how many points the prior mean counts for (kappa).
            dof: how many points the prior covariance counts for (nu).
        """

    @abc.abstractmethod
    def covariance(
        self, x: Float[Array, "N D"], total: Float[Array, ""] | None = None
    ) -> Float[Array, "..."]:
        """Covariance of centred data within the structure: (D, D), (D,) or ().

        Args:
            x: points, each times the root of its weight.
            total: sum of the weights; None for N, where all are one.
        """

    @abc.abstractmethod
    def widen(self, natural: Natural, variance: float | Float[Array, " D"]) -> Natural:
        """The same component with `variance`, one or one per feature, added to its point estimate's."""

    @property
    @abc.abstractmethod
    def default_dof(self) -> float:
        """Degrees of freedom of the data-driven prior: weak, and large enough to be proper."""

    def default_prior(self, x: Float[Array, "N D"], num_components: int) -> Natural:
        """Weak prior: components lie where the data lie and share their volume.

        K components that tile the data have each 1/K of its volume, hence a covariance K^(-2/D)
        times the data's. The mean counts for DEFAULT_MEAN_COUNT points, the covariance for `default_dof`.

        The prior is in the units of the data: where `covariance` follows a change of units or a rotation, so do the
        densities and labels of every fit from it (diagonal and low rank: a factor for each feature; full: that, and
        rotations as far as `GaussianFull.covariance` says; spherical: rotations and one factor for all).
        """
        spread = self.covariance(x) * num_components ** (-2.0 / self.dim)
        return self.prior(jnp.zeros_like(x[0]), spread, DEFAULT_MEAN_COUNT, self.default_dof)

    def units(self, x: Float[Array, "N D"]) -> Float[Array, " D"]:
        """Spread of each feature of centred data, to divide by before k-means measures distances."""
        return jnp.sqrt(floored_variances(x))

    def reference_point(self, x: Float[Array, "N D"]) -> Float[Array, " D"]:
        """The mean of the data: squares of centred features lose the least in float32."""
        mean = jnp.mean(x, axis=0)
        # Once more, of what is left: constant features are then zero exactly, and not their mean's rounding.
        return mean + jnp.mean(x - mean[None], axis=0)

    def log_base_measure(self, x: Float[Array, " D"]) -> Float[Array, ""]:
        """-D/2 log 2 pi."""
        return jnp.asarray(-0.5 * self.dim * LOG_TWO_PI, x.dtype)

    def log_likelihood(self, params: Params, x: Float[Array, " D"]) -> Float[Array, ""]:
        """Log N(x; mean, (U U')^-1), or its expectation under `expected_params`."""
        return params.log_constant - 0.5 * self.squared_distance(params, x)

    def log_likelihood_matrix(self, params: Params, x: Float[Array, "N D"]) -> Float[Array, "N K"]:
        """`log_likelihood` of every point under every component."""
        return params.log_constant[None] - 0.5 * self.squared_distance_matrix(params, x)


def floored_variances(
    x: Float[Array, "N D"], total: Float[Array, ""] | None = None
) -> Float[Array, " D"]:
    """Variances of centred data; those of constant features, which have none, from the other features.

    A constant feature gets a millionth of the geometric mean of the others' variances, and 1 where no feature varies:
    no label depends on the value, since all points are alike in it. All other variances are left as they are, however
    small beside others, so that every feature may be in units of its own.
    """
    variance = jnp.sum(x * x, axis=0) / (x.shape[0] if total is None else total)
    varies = variance > jnp.finfo(x.dtype).tiny
    logs = jnp.where(varies, jnp.log(jnp.where(varies, variance, 1)), 0)
    others = 1e-6 * jnp.exp(jnp.sum(logs) / jnp.maximum(jnp.sum(varies, dtype=x.dtype), 1))
    return jnp.where(varies, variance, jnp.where(jnp.any(varies), others, 1))


def log_student_t(
    params: Params, squared_distance: Float[Array, "..."], dim: int
) -> Float[Array, "..."]:
    """Log density of a multivariate Student-t at a squared distance (Bishop 2006, eq. 2.162)."""
    half = 0.5 * (params.dof + dim)
    half = half.reshape((1,) * (squared_distance.ndim - half.ndim) + half.shape)
    dof = params.dof.reshape(half.shape)
    return params.log_constant.reshape(half.shape) - half * jnp.log1p(squared_distance / dof)


def student_t_constant(dof: Array, log_det_factor: Array, dim: int) -> Array:
    """Log constant of a Student-t whose inverse scale matrix has the factor's log determinant."""
    return (
        log_gamma_ratio(0.5 * dof, 0.5 * dim) - 0.5 * dim * jnp.log(jnp.pi * dof) + log_det_factor
    )


def log_gamma_ratio(x: Array, step: float) -> Array:
    """Log Gamma(x + step) - log Gamma(x), also where x is so large that float32 loses the difference.

    From x = 20 on, two Stirling series are subtracted term by term (Abramowitz and Stegun 6.1.41).
    """
    large = jnp.maximum(x, 20.0)
    stirling = (
        (large - 0.5) * jnp.log1p(step / large)
        + step * (jnp.log(large + step) - 1)
        + _stirling_tail(large + step)
        - _stirling_tail(large)
    )
    small = jnp.minimum(x, 20.0)
    return jnp.where(x > 20.0, stirling, gammaln(small + step) - gammaln(small))


def _stirling_tail(x: Array) -> Array:
    inverse_square = 1 / (x * x)
    series = 1 / 1260 - inverse_square * (1 / 1680 - inverse_square / 1188)
    return (1 / 12 - inverse_square * (1 / 360 - inverse_square * series)) / x
