"""Gaussian components with a diagonal covariance: one Normal-Gamma prior a feature.

The cheap default for patch features: E-step and statistics are two matrix products each, of cost
N K D; nothing of size N x K x D is ever held. Next file to read: `gaussian_full.py`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float

from jaxdpmm.families.gaussian import (
    LOG_TWO_PI,
    floored_variances,
    student_t_constant,
)
from jaxdpmm.families.kernels import over_components, size_of
from jaxdpmm.families.normal_wishart import (
    GaussianParams,
    NormalWishart,
    NormalWishartGaussian,
    StudentT,
)


@dataclass(frozen=True)
class GaussianDiagonal(NormalWishartGaussian):
    """Independent features: mu_d | lambda_d ~ N(m_d, 1 / (kappa lambda_d)), lambda_d ~ Gamma(nu/2, psi_d/2)."""

    def outer(self, vector: Float[Array, " D"]) -> Float[Array, " D"]:
        """The squares."""
        return vector * vector

    def scale_of(self, covariance: Float[Array, " D"]) -> Float[Array, " D"]:
        """The variances."""
        return covariance

    def spread(self, variances: Float[Array, " D"]) -> Float[Array, " D"]:
        """The variances."""
        return variances

    def log_partition(self, natural: NormalWishart) -> Float[Array, ""]:
        """sum_d [log(2 pi / kappa) / 2 + log Gamma(nu/2) - nu/2 log(psi_d / 2)]."""
        half_dof = 0.5 * natural.dof
        shared = 0.5 * (LOG_TWO_PI - jnp.log(natural.mean_count)) + gammaln(half_dof)
        return self.dim * shared - half_dof * jnp.sum(jnp.log(0.5 * self.scale(natural)))

    def covariance(
        self, x: Float[Array, "N D"], total: Float[Array, ""] | None = None
    ) -> Float[Array, " D"]:
        """Variances of centred data, `floored_variances`."""
        return floored_variances(x, total)

    def expected_params(self, natural: NormalWishart) -> GaussianParams:
        """E[lambda_d] = nu / psi_d, E[log lambda_d] = digamma(nu/2) - log(psi_d/2) (Bishop 2006, 10.2)."""
        scale = self.scale(natural)
        log_det = self.dim * digamma(0.5 * natural.dof) - jnp.sum(jnp.log(0.5 * scale))
        return GaussianParams(
            natural.first / natural.mean_count,
            jnp.sqrt(natural.dof / scale),
            0.5 * (log_det - self.dim / natural.mean_count - self.dim * LOG_TWO_PI),
        )

    def point_params(self, natural: NormalWishart) -> GaussianParams:
        """Posterior means of mu and of the precisions."""
        factor = jnp.sqrt(natural.dof / self.scale(natural))
        constant = jnp.sum(jnp.log(factor)) - 0.5 * self.dim * LOG_TWO_PI
        return GaussianParams(natural.first / natural.mean_count, factor, constant)

    def sample_params(self, key: Array, natural: NormalWishart) -> GaussianParams:
        """Draw the precisions, then the mean given them."""
        key_precision, key_mean = jax.random.split(key)
        dtype = natural.first.dtype
        gamma = jax.random.gamma(key_precision, 0.5 * natural.dof, (self.dim,), dtype)
        factor = jnp.sqrt(2 * gamma / self.scale(natural))
        noise = jax.random.normal(key_mean, (self.dim,), dtype)
        mean = natural.first / natural.mean_count + noise / (factor * jnp.sqrt(natural.mean_count))
        return GaussianParams(mean, factor, jnp.sum(jnp.log(factor)) - 0.5 * self.dim * LOG_TWO_PI)

    def predictive_params(self, natural: NormalWishart) -> StudentT:
        """A product of Student-t densities, one per feature, with nu degrees of freedom each."""
        factor = jnp.sqrt(
            natural.mean_count * natural.dof / ((natural.mean_count + 1) * self.scale(natural))
        )
        constant = self.dim * student_t_constant(natural.dof, jnp.zeros_like(natural.dof), 1)
        constant = constant + jnp.sum(jnp.log(factor))
        return StudentT(natural.first / natural.mean_count, factor, natural.dof, constant)

    def log_predictive(self, params: StudentT, x: Float[Array, " D"]) -> Float[Array, ""]:
        """Sum over the features of univariate Student-t log densities."""
        squares = ((x - params.mean) * params.precision_factor) ** 2 / params.dof
        return params.log_constant - 0.5 * (params.dof + 1) * _sum_log1p(squares)

    def log_predictive_matrix(
        self, params: StudentT, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """`log_predictive` of all points, without an N x K x D array."""
        of_points = jax.vmap(self.log_predictive, (None, 0))
        return over_components(lambda one: of_points(one, x), params, size_of(x)).T

    def squared_distance(
        self, params: GaussianParams | StudentT, x: Float[Array, " D"]
    ) -> Float[Array, ""]:
        """sum_d (x_d - mean_d)^2 precision_d."""
        return jnp.sum(((x - params.mean) * params.precision_factor) ** 2)

    def squared_distance_matrix(
        self, params: GaussianParams | StudentT, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """x^2 W - 2 x V + c: two matrix products in place of N K D differences."""
        precision = params.precision_factor**2
        shift = precision * params.mean
        constant = jnp.sum(shift * params.mean, axis=-1)
        product = (x * x) @ precision.T - 2 * (x @ shift.T)
        return jnp.maximum(product + constant[None], 0)

    def weighted_statistics(
        self, x: Float[Array, "N D"], responsibilities: Float[Array, "N K"]
    ) -> NormalWishart:
        """R' x, R' x^2 and the column sums of R."""
        count = jnp.sum(responsibilities, axis=0)
        return NormalWishart(responsibilities.T @ x, responsibilities.T @ (x * x), count, count)


def _sum_log1p(squares: Float[Array, " D"]) -> Float[Array, ""]:
    """sum_d log(1 + s_d) with a quarter of the logarithms: those of (1 + a)(1 + b)(1 + c)(1 + d).

    The products are kept less one, (1 + a)(1 + b) - 1 = a + b + ab, so that small s lose nothing, and s is
    bounded where a product of four would overflow (in float32 at 2e9, some 1e4 scales from the mean).
    """
    bounded = jnp.minimum(squares, 0.5 * float(jnp.finfo(squares.dtype).max) ** 0.25)
    missing = -squares.shape[0] % 4
    if missing:  # jax2onnx 0.17 makes invalid ONNX of an array of no entries, and cannot convert jnp.pad here
        bounded = jnp.concatenate([bounded, jnp.zeros(missing, squares.dtype)])
    a, b, c, d = bounded.reshape(4, -1)
    left, right = a + b + a * b, c + d + c * d
    return jnp.sum(jnp.log1p(left + right + left * right))
