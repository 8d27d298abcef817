"""Gaussian components with a full covariance under a Normal-Wishart prior.

Each component is factorised once (`factorize.py`: Cholesky factor and its inverse); points only meet
matrix products. Both products leave out what is zero: half of the triangular factor, and the points that a
component has no part in.
Next file to read: `gaussian_tied.py`.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.scipy.special import digamma, multigammaln
from jaxtyping import Array, Float

from jaxdpmm.distances import squared_distances
from jaxdpmm.families.factorize import (
    cholesky_and_inverse,
    inverse_factor_product,
    join_upper,
    solve_upper_transposed,
)
from jaxdpmm.families.gaussian import (
    LOG_TWO_PI,
    ROUNDING,
    floored_variances,
    log_student_t,
    student_t_constant,
)
from jaxdpmm.families.kernels import over_components, scatter, size_of
from jaxdpmm.families.normal_wishart import (
    GaussianParams,
    NormalWishart,
    NormalWishartGaussian,
    StudentT,
)

LOG_TWO = float(np.log(2))
BLOCK = 128  # columns a block; below, matrix products lose more than the zeros save
POINTS_PER_FEATURE = 10  # with fewer, correlations are shrunk
LEAST_SHARE = 1e-3  # of correlations: with less, rounding in float32 costs densities a hundredth of a nat per point
ROWS = 256  # points per block, of those that count in a component


@dataclass(frozen=True)
class GaussianFull(NormalWishartGaussian):
    """Any covariance: mu | Lambda ~ N(m, (kappa Lambda)^-1), Lambda ~ Wishart(nu, Psi^-1), nu > D - 1."""

    @property
    def least_dof(self) -> float:
        """D - 1."""
        return self.dim - 1.0

    @property
    def default_dof(self) -> float:
        """D + 2, the smallest whole number at which the covariance has a mean."""
        return self.dim + 2.0

    def outer(self, vector: Float[Array, " D"]) -> Float[Array, "D D"]:
        """All products."""
        return jnp.outer(vector, vector)

    def scale_of(self, covariance: Float[Array, "D D"]) -> Float[Array, "D D"]:
        """The covariance."""
        return covariance

    def spread(self, variances: Float[Array, " D"]) -> Float[Array, "D D"]:
        """A diagonal matrix."""
        return jnp.diag(variances)

    def log_partition(self, natural: NormalWishart) -> Float[Array, ""]:
        """D/2 log(2 pi / kappa) + nu D/2 log 2 + log Gamma_D(nu/2) - nu/2 log |Psi|."""
        half_dof = 0.5 * natural.dof
        lower, _ = cholesky_and_inverse(self.scale(natural))
        log_det = 2 * _sum_log_diagonal(lower)
        normal = 0.5 * self.dim * (LOG_TWO_PI - jnp.log(natural.mean_count))
        wishart = half_dof * (self.dim * LOG_TWO - log_det)
        return normal + wishart + multigammaln(half_dof, self.dim)

    def is_proper(self, natural: NormalWishart) -> bool:
        """As of every Gaussian, and Psi is positive definite, as far as rounding can tell."""
        if not super().is_proper(natural) or not (natural.dof > self.dim - 1).all():
            return False
        first = natural.first / np.sqrt(natural.mean_count)[:, None]
        try:
            for one, second in zip(first, natural.second, strict=True):
                scale = second - np.outer(one, one) + ROUNDING * np.diag(np.diagonal(second))
                scipy.linalg.cholesky(scale, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            return False
        return True

    def covariance(
        self, x: Float[Array, "N D"], total: Float[Array, ""] | None = None
    ) -> Float[Array, "D D"]:
        """Covariance of centred data, its correlations shrunk where the points are too few to know them.

        From POINTS_PER_FEATURE points per feature on, correlations are known well enough in every direction, however
        narrow, and a thousandth is taken from them, which rounding in float32 needs (in float64 as well, so that both
        types have one prior). With fewer points the share is that of oracle approximating shrinkage (Chen, Wiesel,
        Eldar and Hero 2010, eq. 23, in the form without terms of order 1 / D), of correlations in place of covariances:
        all of it for points without a direction.

        Features may thus be in any units: covariance(x * s) is covariance(x) * outer(s, s), exactly. Rotated points
        have the rotated covariance but for the share, which is taken towards the features' own variances.
        """
        weight = x.shape[0] if total is None else total
        scale = jnp.sqrt(floored_variances(x, total))
        x = x / scale[None]
        correlation = x.T @ x / weight
        size = jnp.mean(correlation**2)
        excess = (weight + 1) * (size - 1 / self.dim)
        share = jnp.where(excess > 0, jnp.minimum((size + 1) / excess, 1), 1)
        share = jnp.where(weight < POINTS_PER_FEATURE * self.dim, share, 0)
        share = jnp.maximum(share, LEAST_SHARE).astype(x.dtype)
        off_diagonal = (1 - share) * correlation * (1 - jnp.eye(self.dim, dtype=x.dtype))
        return (off_diagonal + jnp.eye(self.dim, dtype=x.dtype)) * jnp.outer(scale, scale)

    def expected_params(self, natural: NormalWishart) -> GaussianParams:
        """E[Lambda] = nu Psi^-1 and E[log |Lambda|] (Bishop 2006, eqs. 10.64 and 10.65)."""
        factor, log_det_scale = _inverse_factor(self.scale(natural))
        orders = jnp.arange(self.dim, dtype=natural.dof.dtype)
        log_det = jnp.sum(digamma(0.5 * (natural.dof - orders)) + LOG_TWO) - log_det_scale
        constant = 0.5 * (log_det - self.dim / natural.mean_count - self.dim * LOG_TWO_PI)
        return GaussianParams(
            natural.first / natural.mean_count, jnp.sqrt(natural.dof) * factor, constant
        )

    def point_params(self, natural: NormalWishart) -> GaussianParams:
        """Posterior means of mu and of the precision matrix."""
        factor, _ = _inverse_factor(self.scale(natural))
        return self._params(natural.first / natural.mean_count, jnp.sqrt(natural.dof) * factor)

    def sample_params(self, key: Array, natural: NormalWishart) -> GaussianParams:
        """Draw the precision by Bartlett's decomposition, then the mean given it.

        Psi = L L', and A upper triangular with chi(nu - d) in place D - 1 - d of its diagonal, so that
        L^-T A, a factor of the precision, is upper triangular too.
        """
        key_chi, key_normal, key_mean = jax.random.split(key, 3)
        dtype = natural.first.dtype
        orders = jnp.arange(self.dim - 1, -1, -1, dtype=dtype)
        chi = jnp.sqrt(2 * jax.random.gamma(key_chi, 0.5 * (natural.dof - orders), dtype=dtype))
        factor = inverse_factor_product(self.scale(natural), _bartlett(_fast_key(key_normal), chi))
        noise = jax.random.normal(key_mean, (self.dim,), dtype)
        deviation = solve_upper_transposed(factor, noise)
        mean = natural.first / natural.mean_count + deviation / jnp.sqrt(natural.mean_count)
        return self._params(mean, factor)

    def predictive_params(self, natural: NormalWishart) -> StudentT:
        """Student-t with nu - D + 1 degrees of freedom (Bishop 2006, eq. 10.82)."""
        factor, _ = _inverse_factor(self.scale(natural))
        dof = natural.dof - self.dim + 1
        factor = factor * jnp.sqrt(natural.mean_count * dof / (natural.mean_count + 1))
        constant = student_t_constant(dof, _sum_log_diagonal(factor), self.dim)
        return StudentT(natural.first / natural.mean_count, factor, dof, constant)

    def log_predictive(self, params: StudentT, x: Float[Array, " D"]) -> Float[Array, ""]:
        """Multivariate Student-t log density."""
        return log_student_t(params, self.squared_distance(params, x), self.dim)

    def log_predictive_matrix(
        self, params: StudentT, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """`log_predictive` of every point under every component."""
        return log_student_t(params, self.squared_distance_matrix(params, x), self.dim)

    def squared_distance(
        self, params: GaussianParams | StudentT, x: Float[Array, " D"]
    ) -> Float[Array, ""]:
        """|U' (x - mean)|^2."""
        return jnp.sum((params.precision_factor.T @ (x - params.mean)) ** 2)

    def squared_distance_matrix(
        self, params: GaussianParams | StudentT, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """Component by component: N D^2 (1 + BLOCK / D) operations each, N x D floats held."""

        def to_component(args: Any) -> Any:
            mean, factor = args
            centred = x - mean[None]
            blocks = [
                jnp.sum((centred[:, :stop] @ factor[:stop, start:stop]) ** 2, axis=1)
                for start, stop in _blocks(self.dim)
            ]
            return sum(blocks[1:], blocks[0])

        factors = (params.mean, params.precision_factor)
        return over_components(to_component, factors, size_of(x)).T

    def proposal_matrix(
        self, params: GaussianParams, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """All components as spheres of one size, N K D in place of N K D^2.

        On DINOv2 patches the nearest eight of 256 means hold the best component of 95 % of the points;
        spheres of each component's own size do worse (79 %).
        """
        diagonal = jnp.diagonal(params.precision_factor, axis1=1, axis2=2)
        precision = jnp.exp(2 * jnp.mean(jnp.log(diagonal)))
        return -0.5 * precision * squared_distances(x, params.mean)

    def weighted_statistics(
        self, x: Float[Array, "N D"], responsibilities: Float[Array, "N K"]
    ) -> NormalWishart:
        """R' x, and x' diag(r_k) x of each component, over the points that count in it.

        Responsibilities are almost one-hot in many dimensions. A processor leaves out those that together are less
        than what rounding takes from the sum, so that N K D^2 operations become N D^2.
        """
        count = jnp.sum(responsibilities, axis=0)
        rows = ROWS if self.dim >= BLOCK else x.shape[0]
        second = scatter(x, responsibilities, rows)
        return NormalWishart(responsibilities.T @ x, second, count, count)

    def _params(self, mean: Array, factor: Array) -> GaussianParams:
        return GaussianParams(mean, factor, _sum_log_diagonal(factor) - 0.5 * self.dim * LOG_TWO_PI)


def _blocks(dim: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, dim)) for start in range(0, dim, BLOCK)]


def _bartlett(key: Array, diagonal: Float[Array, " D"]) -> Float[Array, "D D"]:
    """Standard normal above a given diagonal, zero below; by halves, since a number costs more than its product."""
    dim, dtype = len(diagonal), diagonal.dtype
    if dim <= BLOCK:
        return jnp.triu(jax.random.normal(key, (dim, dim), dtype), 1) + jnp.diag(diagonal)
    key_first, key_corner, key_last = jax.random.split(key, 3)
    half = dim // 2
    corner = jax.random.normal(key_corner, (half, dim - half), dtype)
    return join_upper(
        _bartlett(key_first, diagonal[:half]), corner, _bartlett(key_last, diagonal[half:])
    )


def _fast_key(key: Array) -> Array:
    """A Philox key drawn with any other; its numbers take a sixth of the time that threefry's do."""
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="philox4x32")


def _inverse_factor(scale: Float[Array, "D D"]) -> tuple[Float[Array, "D D"], Float[Array, ""]]:
    """Upper triangular U with U U' = Psi^-1, and log |Psi|."""
    lower, inverse = cholesky_and_inverse(scale)
    return inverse.T, 2 * _sum_log_diagonal(lower)


def _sum_log_diagonal(matrix: Float[Array, "D D"]) -> Float[Array, ""]:
    return jnp.sum(jnp.log(jnp.diagonal(matrix)))
