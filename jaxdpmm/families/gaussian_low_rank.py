"""Gaussian components with a covariance of low rank plus a diagonal: mixtures of factor analysers.

x = loading y + mean + noise, with `rank` latent factors y ~ N(0, I) of every point and a noise variance per feature.
Given y this is D regressions on (y, 1), each under its conjugate Normal-Gamma prior (of rank 0 the prior of
`gaussian_diagonal.py`), so that the posterior is prior + sum of E[T(x, y)]. The factors are the component's local
variables: q(y | z = k) is Gaussian, in closed form, and depends on the read-out, hence `local_statistics`. The bound is
that of variational Bayes and never falls. Cost N K D rank, statistics K D rank: nothing of size D x D is ever held.

Unlike the other families' predictive density this one's is an approximation, though a density: a Student-t with the
expected mean, loadings and noise. Next file to read: `product.py`.

References:
    Ghahramani and Beal (2000), Variational inference for Bayesian mixtures of factor analysers.
    Bishop (1999), Variational principal components (one noise variance for all features).
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float

from jaxdpmm import trees
from jaxdpmm.distances import squared_distances
from jaxdpmm.families.base import Family
from jaxdpmm.families.factorize import cholesky_and_inverse
from jaxdpmm.families.gaussian import (
    LOG_TWO_PI,
    ROUNDING,
    Gaussian,
    floored_variances,
    log_student_t,
    student_t_constant,
)
from jaxdpmm.families.kernels import over_components, size_of


class Regression(NamedTuple):
    """Natural parameter of D regressions on z = (y, 1), and E[T(x, y)]: x z', x^2, z z', 1. Q = rank + 1."""

    first: Float[Array, "*K D Q"]
    second: Float[Array, "*K D"]
    gram: Float[Array, "*K Q Q"]
    dof: Float[Array, "*K"]


class LowRankParams(NamedTuple):
    """Log p(x) = log_constant - (|(x - mean) u|^2 - |(x - mean) V - shift|^2) / 2.

    V = T L S with T the noise precisions u^2, L the loadings and S S' the covariance of y given x: the mean of y
    given x is S ((x - mean) V - shift).
    """

    mean: Float[Array, "*K D"]
    precision_factor: Float[Array, "*K D"]  # u
    log_constant: Float[Array, "*K"]
    projection: Float[Array, "*K D q"]  # V
    shift: Float[Array, "*K q"]
    factor: Float[Array, "*K q q"]  # S


class LowRankStudentT(NamedTuple):
    """Student-t whose squared distance is that of `params`."""

    params: LowRankParams
    dof: Float[Array, "*K"]
    log_constant: Float[Array, "*K"]


@dataclass(frozen=True)
class GaussianLowRank(Gaussian):
    """Covariance L L' + diagonal, with L of `rank` columns.

    Attributes:
        dim: D.
        rank: number of factors, 1 <= rank < D; 16 to 64 for patch features. Directions that data do not support are
            shrunk to nothing by the prior, so that more than needed costs time only.

    Raises:
        ValueError: there is no such rank.
    """

    rank: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.rank < self.dim:
            raise ValueError(
                f"rank must be at least 1 and below dim = {self.dim}, got {self.rank}; use GaussianDiagonal for "
                "no factors and GaussianFull for all of them."
            )

    def sufficient_statistics(self, x: Float[Array, " D"]) -> Regression:
        """E[T(x, y)] where nothing is known of the component: y ~ N(random projection of x / |x|, I).

        Any q(y) gives a bound; this one is the start of a power iteration, see `initialize`.
        """
        return trees.take(self.weighted_statistics(x[None], jnp.ones((1, 1), x.dtype)), 0)

    def log_partition(self, natural: Regression) -> Float[Array, ""]:
        """D [Q/2 log 2 pi - log|gram| / 2 + log Gamma(nu/2)] - nu/2 sum_d log(psi_d / 2)."""
        lower, inverse = cholesky_and_inverse(natural.gram)
        half = 0.5 * natural.dof
        log_det = jnp.sum(jnp.log(jnp.diagonal(lower)))
        shared = 0.5 * (self.rank + 1) * LOG_TWO_PI - log_det + gammaln(half)
        return self.dim * shared - half * jnp.sum(jnp.log(0.5 * _scale(natural, inverse)))

    def prior(
        self,
        mean: Float[Array, " D"],
        covariance: Float[Array, " D"],
        mean_count: float,
        dof: float,
        loading_count: float = 1.0,
    ) -> Regression:
        """Natural parameter from the prior mean, noise variances (D,) and their weights in points.

        Args:
            mean: prior mean, relative to the reference point of the data.
            covariance: noise variances.
            mean_count: how many points the prior mean counts for.
            dof: how many points the noise variances count for.
            loading_count: how many points "the loadings are zero" counts for.
        """
        count, weight = (jnp.asarray(value, mean.dtype) for value in (mean_count, dof))
        gram = jnp.diag(jnp.full(self.rank + 1, loading_count, mean.dtype).at[-1].set(count))
        first = jnp.zeros((self.dim, self.rank + 1), mean.dtype).at[:, -1].set(count * mean)
        return Regression(first, weight * covariance + count * mean**2, gram, weight)

    def covariance(
        self, x: Float[Array, "N D"], total: Float[Array, ""] | None = None
    ) -> Float[Array, " D"]:
        """Variances of centred data, `floored_variances`: all of it noise, to begin with."""
        return floored_variances(x, total)

    @property
    def default_dof(self) -> float:
        """2 points."""
        return 2.0

    def is_proper(self, natural: Regression) -> bool:
        """Degrees of freedom, `gram` and what the factors leave of `second` are positive, as far as rounding tells."""
        if not Family.is_proper(self, natural) or not (natural.dof > 0).all():
            return False
        gram = natural.gram * (1 + ROUNDING * np.eye(self.rank + 1, dtype=natural.gram.dtype))
        if not (np.linalg.eigvalsh(gram) > 0).all():
            return False
        explained = np.sum(natural.first.mT * np.linalg.solve(gram, natural.first.mT), axis=1)
        return bool(((1 + ROUNDING) * natural.second > explained).all())

    def widen(self, natural: Regression, variance: float | Float[Array, " D"]) -> Regression:
        """`variance` times the degrees of freedom, added to the second statistic: more noise."""
        variances = jnp.broadcast_to(jnp.asarray(variance, natural.second.dtype), (self.dim,))
        return natural._replace(second=natural.second + natural.dof * variances)

    def expected_params(self, natural: Regression) -> LowRankParams:
        """Exp of E[log p(x, y)], integrated over y, is exp of `log_likelihood` (Ghahramani and Beal, section 3)."""
        coefficients, scale, spread = _solve(natural)
        log_det = self.dim * digamma(0.5 * natural.dof) - jnp.sum(jnp.log(0.5 * scale))
        return self._params(coefficients, natural.dof / scale, log_det, self.dim * spread)

    def point_params(self, natural: Regression) -> LowRankParams:
        """Posterior means of loadings, mean and precisions of the noise."""
        coefficients, scale, spread = _solve(natural)
        return self._params(coefficients, natural.dof / scale, None, jnp.zeros_like(spread))

    def loadings_and_noise(self, natural: Regression) -> tuple[Array, Array]:
        """Posterior means of the loadings, (D, q), and one over those of the noise precisions: variances, (D,)."""
        coefficients, scale, _ = _solve(natural)
        return coefficients[:, :-1], scale / natural.dof

    def predictive_params(self, natural: Regression) -> LowRankStudentT:
        """Scale matrix E[L] E[L]' + noise, the noise grown by what is not known of L and mean."""
        coefficients, scale, spread = _solve(natural)
        precision = natural.dof / (scale * (1 + jnp.trace(spread)))
        params = self._params(coefficients, precision, None, jnp.zeros_like(spread))
        log_det_factor = params.log_constant + 0.5 * self.dim * LOG_TWO_PI
        constant = student_t_constant(natural.dof, log_det_factor, self.dim)
        return LowRankStudentT(params, natural.dof, constant)

    def log_predictive(self, params: LowRankStudentT, x: Float[Array, " D"]) -> Float[Array, ""]:
        """Multivariate Student-t log density."""
        return log_student_t(params, self.squared_distance(params.params, x), self.dim)

    def log_predictive_matrix(
        self, params: LowRankStudentT, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """`log_predictive` of every point under every component."""
        return log_student_t(params, self.squared_distance_matrix(params.params, x), self.dim)

    def squared_distance(self, params: LowRankParams, x: Float[Array, " D"]) -> Float[Array, ""]:
        """|(x - mean) u|^2 - |(x - mean) V - shift|^2 (Woodbury's identity)."""
        return self._squares_and_factors(params, x[None])[0][0]

    def squared_distance_matrix(
        self, params: LowRankParams, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """Component by component: N D rank operations each."""

        def of_component(one: LowRankParams) -> Float[Array, " N"]:
            return self._squares_and_factors(one, x)[0]

        return over_components(of_component, params, size_of(x)).T

    def proposal_matrix(self, params: LowRankParams, x: Float[Array, "N D"]) -> Float[Array, "N K"]:
        """All components as spheres of one size, N K D in place of N K D rank."""
        precision = jnp.exp(2 * jnp.mean(jnp.log(params.precision_factor)))
        return -0.5 * precision * squared_distances(x, params.mean)

    def weighted_statistics(
        self, x: Float[Array, "N D"], responsibilities: Float[Array, "N K"]
    ) -> Regression:
        """Sums of `sufficient_statistics`."""
        basis = jnp.asarray(_basis(self.dim, self.rank), x.dtype)
        norm = jnp.linalg.norm(x, axis=1, keepdims=True) + jnp.finfo(x.dtype).tiny
        factors, identity = x @ basis / norm, jnp.eye(self.rank, dtype=x.dtype)
        of_component = partial(_sums, x, factors=factors, covariance=identity)
        return over_components(of_component, responsibilities.T, size_of(x))

    def local_statistics(
        self,
        params: LowRankParams | None,
        x: Float[Array, "N D"],
        responsibilities: Float[Array, "N K"],
    ) -> tuple[Regression, Float[Array, ""]]:
        """E[T(x, y)] under q(y | z), and sum_nk r_nk (entropy of q(y_n | k) + E[log p(y_n)])."""
        if params is None:
            return super().local_statistics(params, x, responsibilities)

        def of_component(args: Any) -> Any:
            one, r = args
            factors = self._squares_and_factors(one, x)[1] @ one.factor.T
            covariance = one.factor @ one.factor.T
            sums = _sums(x, r, factors, covariance)
            log_det = jnp.sum(jnp.log(jnp.diagonal(one.factor)))
            squares = jnp.trace(sums.gram) - sums.dof
            return sums, sums.dof * (log_det + 0.5 * self.rank) - 0.5 * squares

        sums, entropy = over_components(of_component, (params, responsibilities.T), size_of(x))
        return sums, jnp.sum(entropy)

    def _squares_and_factors(
        self, params: LowRankParams, x: Float[Array, "N D"]
    ) -> tuple[Float[Array, " N"], Float[Array, "N q"]]:
        """Squared distances to one component, and S^-1 E[y | x]."""
        centred = x - params.mean[None]
        factors = centred @ params.projection - params.shift[None]
        noise = jnp.sum((centred * params.precision_factor[None]) ** 2, axis=1)
        return noise - jnp.sum(factors**2, axis=1), factors

    def _params(
        self,
        coefficients: Float[Array, "D Q"],
        precision: Float[Array, " D"],
        log_det: Float[Array, ""] | None,
        spread: Float[Array, "Q Q"],
    ) -> LowRankParams:
        """Integrate y out of the regression on (y, 1); `spread` is what the coefficients' variance adds to z z'.

        `log_det` is that of the precisions by default.
        """
        log_det = jnp.sum(jnp.log(precision)) if log_det is None else log_det
        loading, mean = coefficients[:, :-1], coefficients[:, -1]
        weighted = precision[:, None] * loading
        identity = jnp.eye(self.rank, dtype=mean.dtype)
        lower, inverse = cholesky_and_inverse(identity + loading.T @ weighted + spread[:-1, :-1])
        constant = 0.5 * (log_det - self.dim * LOG_TWO_PI - spread[-1, -1])
        return LowRankParams(
            mean,
            jnp.sqrt(precision),
            constant - jnp.sum(jnp.log(jnp.diagonal(lower))),
            weighted @ inverse.T,
            inverse @ spread[:-1, -1],
            inverse.T,
        )


@lru_cache(maxsize=16)
def _basis(dim: int, rank: int) -> np.ndarray:
    """Orthonormal columns that favour no feature, the same in every run."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((dim, rank)))[0]


def _sums(x: Array, weights: Array, factors: Array, covariance: Array) -> Regression:
    """Weighted sums of one component, y having the mean `factors` of each point and one covariance."""
    count = jnp.sum(weights)
    z = jnp.concatenate([factors, jnp.ones_like(factors[:, :1])], axis=1)
    weighted = z * weights[:, None]
    gram = weighted.T @ z + count * jnp.pad(covariance, (0, 1))
    return Regression(x.T @ weighted, weights @ (x * x), gram, count)


def _scale(natural: Regression, inverse: Float[Array, "Q Q"]) -> Float[Array, " D"]:
    """Psi_d = second_d - first_d gram^-1 first_d', of the inverse of gram's Cholesky factor."""
    return natural.second - jnp.sum((natural.first @ inverse.T) ** 2, axis=1)


def _solve(natural: Regression) -> tuple[Array, Array, Array]:
    """Expected coefficients (D, Q), psi (D,) and gram^-1 (Q, Q)."""
    _, inverse = cholesky_and_inverse(natural.gram)
    spread = inverse.T @ inverse
    return natural.first @ spread, _scale(natural, inverse), spread
