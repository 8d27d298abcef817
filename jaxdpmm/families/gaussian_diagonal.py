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
    Gaussian,
    GaussianParams,
    NormalWishart,
    StudentT,
    floored_variances,
    student_t_constant,
)
from jaxdpmm.families.kernels import over_components, size_of


@dataclass(frozen=True)
class GaussianDiagonal(Gaussian):
    """Independent features: mu_d | lambda_d ~ N(m_d, 1 / (kappa lambda_d)), lambda_d ~ Gamma(nu/2, psi_d/2)."""

    def sufficient_statistics(self, x: Float[Array, " D"]) -> NormalWishart:
        """T(x) = (x, x^2, 1, 1)."""
        one = jnp.ones((), x.dtype)
        return NormalWishart(x, x * x, one, one)

    def log_partition(self, natural: NormalWishart) -> Float[Array, ""]:
        """sum_d [log(2 pi / kappa) / 2 + log Gamma(nu/2) - nu/2 log(psi_d / 2)]."""
        half_dof = 0.5 * natural.dof
        shared = 0.5 * (LOG_TWO_PI - jnp.log(natural.mean_count)) + gammaln(half_dof)
        return self.dim * shared - half_dof * jnp.sum(jnp.log(0.5 * _scale(natural)))

    def prior(
        self,
        mean: Float[Array, " D"],
        covariance: Float[Array, " D"],
        mean_count: float,
        dof: float,
    ) -> NormalWishart:
        """Natural parameter from the prior mean, variances (D,) and their weights in points."""
        count = jnp.asarray(mean_count, mean.dtype)
        return NormalWishart(
            count * mean, dof * covariance + count * mean**2, count, jnp.asarray(dof, mean.dtype)
        )

    def covariance(
        self, x: Float[Array, "N D"], total: Float[Array, ""] | None = None
    ) -> Float[Array, " D"]:
        """Variances of centred data, at least a millionth of their mean each."""
        return floored_variances(x, total)

    @property
    def default_dof(self) -> float:
        """2 points."""
        return 2.0

    def widen(self, natural: NormalWishart, variance: float | Float[Array, " D"]) -> NormalWishart:
        """`variance` times the degrees of freedom, added to the second statistic."""
        variances = jnp.broadcast_to(jnp.asarray(variance, natural.first.dtype), (self.dim,))
        return natural._replace(second=natural.second + natural.dof * variances)

    def expected_params(self, natural: NormalWishart) -> GaussianParams:
        """E[lambda_d] = nu / psi_d, E[log lambda_d] = digamma(nu/2) - log(psi_d/2) (Bishop 2006, 10.2)."""
        scale = _scale(natural)
        log_det = self.dim * digamma(0.5 * natural.dof) - jnp.sum(jnp.log(0.5 * scale))
        return GaussianParams(
            natural.first / natural.mean_count,
            jnp.sqrt(natural.dof / scale),
            0.5 * (log_det - self.dim / natural.mean_count - self.dim * LOG_TWO_PI),
        )

    def point_params(self, natural: NormalWishart) -> GaussianParams:
        """Posterior means of mu and of the precisions."""
        factor = jnp.sqrt(natural.dof / _scale(natural))
        constant = jnp.sum(jnp.log(factor)) - 0.5 * self.dim * LOG_TWO_PI
        return GaussianParams(natural.first / natural.mean_count, factor, constant)

    def sample_params(self, key: Array, natural: NormalWishart) -> GaussianParams:
        """Draw the precisions, then the mean given them."""
        key_precision, key_mean = jax.random.split(key)
        dtype = natural.first.dtype
        gamma = jax.random.gamma(key_precision, 0.5 * natural.dof, (self.dim,), dtype)
        factor = jnp.sqrt(2 * gamma / _scale(natural))
        noise = jax.random.normal(key_mean, (self.dim,), dtype)
        mean = natural.first / natural.mean_count + noise / (factor * jnp.sqrt(natural.mean_count))
        return GaussianParams(mean, factor, jnp.sum(jnp.log(factor)) - 0.5 * self.dim * LOG_TWO_PI)

    def predictive_params(self, natural: NormalWishart) -> StudentT:
        """A product of Student-t densities, one a feature, with nu degrees of freedom each."""
        factor = jnp.sqrt(
            natural.mean_count * natural.dof / ((natural.mean_count + 1) * _scale(natural))
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


def _scale(natural: NormalWishart) -> Float[Array, " D"]:
    """Psi = second - first^2 / kappa."""
    return natural.second - natural.first**2 / natural.mean_count


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
