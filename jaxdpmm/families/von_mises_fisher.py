"""Von Mises-Fisher components: directions about a mean direction, for unit-norm features.

p(x | mu, kappa) = C(kappa) exp(kappa mu' x) on the sphere, with respect to its surface measure. The concentration
kappa lives on a grid, even in log kappa, on which the conjugate prior C(kappa)^count exp(kappa direction' mu) is
exactly normalised: mu integrates to 1 / C(kappa |direction|), and what is left is a sum. Nothing is approximated;
neighbours on the default grid differ by 2.7 % in kappa. Everything is written in L(kappa) = log C(kappa) + kappa and
1 - cos, in which the large parts have cancelled already; float32 serves up to kappa = 1e5 in 1,536 dimensions.

The predictive density of a component depends on 1 - cos alone, so it is tabulated once a component and read off by
cubic interpolation. Next file to read: `sphere.py`.

References:
    Mardia and El-Atoum (1976), Bayesian inference for the von Mises-Fisher distribution.
    Taghia, Ma and Leijon (2014), Bayesian estimation of the von Mises-Fisher mixture model with variational inference.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.families.base import Family
from jaxdpmm.families.bessel import log_scaled_bessel
from jaxdpmm.families.kernels import by_platform
from jaxdpmm.families.sphere import check_unit_norm, sample_von_mises_fisher, unit

NUM_KNOTS = 512  # of the predictive table, which is then off by 1e-6 of the log density at most
KNOTS_AT_ONCE = 64  # where not one by one; for K = 2,000 components on the default grid 256 MB


class Direction(NamedTuple):
    """Natural parameter of the conjugate prior, and T(x): x and 1."""

    direction: Float[Array, "*K D"]
    mean_count: Float[Array, "*K"]


class VonMisesFisherParams(NamedTuple):
    """Log p(x) = log_constant - concentration (1 - mean' x), with log_constant = L(concentration)."""

    mean: Float[Array, "*K D"]
    concentration: Float[Array, "*K"]
    log_constant: Float[Array, "*K"]


class PredictiveTable(NamedTuple):
    """Log p(x | data) as a function of the gap 1 - mean' x, at knots even in log(1 + gap / width)."""

    mean: Float[Array, "*K D"]
    width: Float[Array, "*K"]
    value: Float[Array, "*K M"]


@dataclass(frozen=True)
class VonMisesFisher(Family):
    """A von Mises-Fisher component in `dim` dimensions, kappa on a grid even in log kappa.

    Attributes:
        dim: D, at least 2; points are unit vectors of this length.
        min_concentration: smallest kappa, 0.1 by default, which is all but uniform.
        max_concentration: largest kappa, 1e5 by default.
        num_concentrations: how many.

    Raises:
        ValueError: `dim` is below 2, or the grid is no grid.
    """

    dim: int
    min_concentration: float = 0.1
    max_concentration: float = 1e5
    num_concentrations: int = 512

    def __post_init__(self) -> None:
        if self.dim < 2:
            raise ValueError(
                f"dim must be at least 2 for directions, got {self.dim}; use a Gaussian in one dimension."
            )
        low, high, number = self.min_concentration, self.max_concentration, self.num_concentrations
        if not (0 < low < high < math.inf and 2 <= number <= 2**14):
            raise ValueError(
                f"the grid of kappa must have 0 < min_concentration < max_concentration and 2 to 16,384 "
                f"points, got {low}, {high} and {number}; the defaults are 0.1, 1e5 and 512."
            )

    @property
    def point_shape(self) -> tuple[int, ...]:
        """(D,)."""
        return (self.dim,)

    def sufficient_statistics(self, x: Float[Array, " D"]) -> Direction:
        """T(x) = (x, 1)."""
        return Direction(x, jnp.ones((), x.dtype))

    def log_partition(self, natural: Direction) -> Float[Array, ""]:
        """Log of the mean over the grid of C(kappa)^count C(0) / C(kappa |direction|)."""
        constant = self._log_uniform_density - math.log(self.num_concentrations)
        return jax.nn.logsumexp(self._log_terms(natural)) + constant

    def is_proper(self, natural: Direction) -> bool:
        """The count is positive, and no sum of unit vectors is longer than their number."""
        length, count = np.linalg.norm(natural.direction, axis=1), natural.mean_count
        return super().is_proper(natural) and bool(((count > 0) & (length <= 1.01 * count)).all())

    def prior(self, mean: Float[Array, " D"], mean_count: float) -> Direction:
        """Natural parameter worth `mean_count` points whose average is `mean`.

        Args:
            mean: of norm below 1: its direction is the prior mean direction, and the longer it is, the larger kappa.
            mean_count: how many points the prior counts for.
        """
        count = jnp.asarray(mean_count, mean.dtype)
        return Direction(count * mean, count)

    def default_prior(self, x: Float[Array, "N D"], num_components: int) -> Direction:
        """Weak prior, worth one point: components lie where the data lie and share their spread.

        K components that tile the data have each K^(-2/(D-1)) times their variance, 1 - |mean|^2.

        Raises:
            ValueError: the points are not of unit norm.
        """
        check_unit_norm(x)
        mean = jnp.mean(x, axis=0)
        square = jnp.sum(mean * mean)
        spread = (1 - square) * num_components ** (-2.0 / (self.dim - 1))
        return self.prior(mean * jnp.sqrt((1 - spread) / square), 1.0)

    def expected_params(self, natural: Direction) -> VonMisesFisherParams:
        """Mean direction, E[kappa mu] along it and E[log C(kappa)]: the gradient of A.

        E[mu | kappa] has length 1 - L'(kappa |direction|), a ratio of Bessel functions.
        """
        mean, length = unit(natural.direction)
        grid = self._grid(length.dtype)
        probability = jax.nn.softmax(self._log_terms(natural))
        missing = jax.vmap(jax.grad(self._scaled_constant))(grid * length)
        return VonMisesFisherParams(
            mean,
            jnp.sum(probability * grid * (1 - missing)),
            jnp.sum(probability * (self._scaled_constant(grid) - grid * missing)),
        )

    def point_params(self, natural: Direction) -> VonMisesFisherParams:
        """Mean direction and posterior mean of kappa."""
        mean, length = unit(natural.direction)
        probability = jax.nn.softmax(self._log_terms(natural))
        return self._params(mean, jnp.sum(probability * self._grid(length.dtype)))

    def sample_params(self, key: PRNGKeyArray, natural: Direction) -> VonMisesFisherParams:
        """Draw kappa from the grid, then mu given it, which is von Mises-Fisher with kappa |direction|."""
        key_kappa, key_mean = jax.random.split(key)
        mean, length = unit(natural.direction)
        kappa = self._grid(length.dtype)[
            jax.random.categorical(key_kappa, self._log_terms(natural))
        ]
        return self._params(sample_von_mises_fisher(key_mean, mean, kappa * length), kappa)

    def log_likelihood(
        self, params: VonMisesFisherParams, x: Float[Array, " D"]
    ) -> Float[Array, ""]:
        """L(kappa) - kappa (1 - mean' x), or its expectation under `expected_params`."""
        return params.log_constant - params.concentration * (1 - params.mean @ x)

    def log_likelihood_matrix(
        self, params: VonMisesFisherParams, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """`log_likelihood` of every point under every component: one matrix product."""
        gap = 1 - x @ params.mean.T
        return params.log_constant[None] - params.concentration[None] * gap

    def predictive_params(self, natural: Direction) -> PredictiveTable:
        """The predictive density at NUM_KNOTS angles.

        It bends where 1 - cos is about 1 - |direction| / count, the spread of the data, hence the `width`.
        """
        mean, length = unit(natural.direction)
        width = jnp.clip(
            1 - length / jnp.maximum(natural.mean_count, length), 1 / self.max_concentration, 1
        )
        steps = jnp.linspace(0, 1, NUM_KNOTS, dtype=width.dtype)
        gaps = width * jnp.expm1(steps * jnp.log1p(2 / width))
        weights = self._log_terms(natural)
        weights = weights - jax.nn.logsumexp(weights)
        of_gap = partial(self._log_predictive_at, log_weights=weights, length=length)
        value = by_platform(
            gaps,
            cpu=partial(jax.lax.map, of_gap),
            default=partial(jax.lax.map, of_gap, batch_size=KNOTS_AT_ONCE),
        )
        return PredictiveTable(mean, width, value)

    def log_predictive(self, params: PredictiveTable, x: Float[Array, " D"]) -> Float[Array, ""]:
        """The table at one point."""
        one = jax.tree.map(lambda leaf: leaf[None], params)
        return self.log_predictive_matrix(one, x[None])[0, 0]

    def log_predictive_matrix(
        self, params: PredictiveTable, x: Float[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """One matrix product for the angles, then cubic (Lagrange) interpolation in the tables."""
        gap = jnp.clip(1 - x @ params.mean.T, 0, 2) / params.width[None]
        position = jnp.log1p(gap) * ((NUM_KNOTS - 1) / jnp.log1p(2 / params.width))[None]
        first = jnp.clip(jnp.floor(position) - 1, 0, NUM_KNOTS - 4)
        t = position - first
        below, above = t * (t - 1), (t - 2) * (t - 3)
        weights = (-(t - 1) * above / 6, t * above / 2, -below * (t - 3) / 2, below * (t - 2) / 6)
        row, table = first.astype(jnp.int32), params.value.T
        found = jnp.stack([jnp.take_along_axis(table, row + shift, axis=0) for shift in range(4)])
        return jnp.sum(jnp.stack(weights) * found, axis=0)

    def _log_predictive_at(
        self, gap: Float[Array, ""], log_weights: Float[Array, " J"], length: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Log sum_j q(kappa_j) C(kappa_j) C(kappa_j r) / C(kappa_j s) with r = |direction| and s = |direction + x|.

        s^2 = (r + 1)^2 - 2 r gap, and s - r - 1 = -2 r gap / (r + 1 + s).
        """
        grid = self._grid(length.dtype)
        s = jnp.sqrt(jnp.maximum((length + 1) ** 2 - 2 * length * gap, 0))
        loss = 2 * length * gap / (length + 1 + s)
        ratio = self._scaled_constant(grid * length) - self._scaled_constant(grid * s)
        terms = log_weights + self._scaled_constant(grid) + ratio - grid * loss
        return jax.nn.logsumexp(terms)

    def _log_terms(self, natural: Direction) -> Float[Array, " J"]:
        """Count log C(kappa_j) - log C(kappa_j |direction|), the log posterior of kappa but for a constant."""
        length = unit(natural.direction)[1]
        grid = self._grid(length.dtype)
        ratio = natural.mean_count * self._scaled_constant(grid) - self._scaled_constant(
            grid * length
        )
        return ratio - grid * (natural.mean_count - length)

    def _params(self, mean: Array, kappa: Array) -> VonMisesFisherParams:
        return VonMisesFisherParams(mean, kappa, self._scaled_constant(kappa))

    def _scaled_constant(self, kappa: Float[Array, "..."]) -> Float[Array, "..."]:
        """L(kappa) = log C(kappa) + kappa."""
        return self._log_uniform_density - log_scaled_bessel(0.5 * self.dim - 1, kappa)

    @property
    def _log_uniform_density(self) -> float:
        """Log C(0), minus the log surface of the sphere."""
        half = 0.5 * self.dim
        return math.lgamma(half) - math.log(2) - half * math.log(math.pi)

    def _grid(self, dtype: Any) -> Float[Array, " J"]:
        ends = math.log(self.min_concentration), math.log(self.max_concentration)
        return jnp.exp(jnp.linspace(*ends, self.num_concentrations, dtype=dtype))
