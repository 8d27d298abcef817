"""The Pitman-Yor process: v_k ~ Beta(1 - d, alpha + k d), whose component sizes follow a power law.

Discount d = 0 is the Dirichlet process; the larger d, the more small components. The concentration alpha is fixed
or under a Gamma prior and inferred. With d > 0 that prior is not conjugate: its normaliser holds

    f_k(alpha) = log Gamma(alpha + k d + s) - log Gamma(alpha + k d),  s = 1 - d,

which has no expectation in closed form. But f_k is convex in log alpha, so that by Jensen
E[f_k(alpha)] >= f_k(exp E[log alpha]), and the ELBO with it stays a bound; at d = 0 it is exact.

Proof. d f_k / d log alpha = alpha (digamma(c + s) - digamma(c)) with c = alpha + k d, which is the integral over t > 0
of alpha exp(-alpha t) g(t), g(t) = exp(-k d t) (1 - exp(-s t)) / (1 - exp(-t)). Its derivative in alpha is, by parts,
minus the integral of t exp(-alpha t) g'(t), and g' / g = -k d + s / (exp(s t) - 1) - 1 / (exp(t) - 1)
<= -k d + (1 - s) / 2 <= 0 for k >= 1. Hence the slope grows with alpha.
Next file to read: `symmetric_dirichlet.py`.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.sticks.base import Gamma
from jaxdpmm.sticks.concentration import GammaConcentration

GRID = np.linspace(np.log(1e-4), np.log(1e6), 4096)  # log alpha, for draws


@dataclass(frozen=True)
class PitmanYor(GammaConcentration):
    """Pitman-Yor sticks.

    Attributes:
        discount: d, at least 0 and below 1.
        infer_concentration: True: alpha ~ Gamma(shape, rate), and q(alpha) is a Gamma too. False: alpha is
            fixed at the mean shape / rate of that Gamma.

    Raises:
        ValueError: `discount` is not in [0, 1).

    References:
        Pitman and Yor (1997), The two-parameter Poisson-Dirichlet distribution.
        Ishwaran and James (2001), Gibbs sampling methods for stick-breaking priors, section 2.
    """

    discount: float = 0.25
    infer_concentration: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.discount < 1:
            raise ValueError(
                f"discount must be at least 0 and below 1, got {self.discount}; 0 is the Dirichlet process, "
                "0.25 the default."
            )

    def prior_fractions(
        self, alpha: Float[Array, ""], num_components: int
    ) -> tuple[float | Array, float | Array]:
        """1 - d and alpha + k d."""
        return 1 - self.discount, alpha + self._shift(num_components, alpha.dtype)

    def log_normaliser(
        self, log_alpha: Float[Array, ""], num_components: int
    ) -> Float[Array, " J"]:
        """-log B(1 - d, alpha + k d) = f_k(alpha) - log Gamma(1 - d)."""
        ratio = self._log_gamma_ratio(
            jnp.exp(log_alpha), self._shift(num_components, log_alpha.dtype)
        )
        return ratio - gammaln(1 - self.discount)

    def draw_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Gamma
    ) -> tuple[Float[Array, ""], Gamma]:
        """Draw alpha given the weights from its density on a grid of log alpha; the bound plays no part.

        p(alpha | v) is proportional to p(alpha) exp(sum_k f_k(alpha) + alpha sum_k log(1 - v_k)); with v_K = 1,
        the last sum is log w_K. The Gamma returned has its mean and variance.
        """
        dtype = log_weights.dtype
        log_alpha = jnp.asarray(GRID, dtype)
        alpha = jnp.exp(log_alpha)
        shift = self._shift(len(log_weights), dtype)
        ratios = jax.lax.map(lambda value: jnp.sum(self._log_gamma_ratio(value, shift)), alpha)
        rate = prior.rate - log_weights[-1]
        probability = jax.nn.softmax(prior.shape * log_alpha - rate * alpha + ratios)
        mean = jnp.sum(probability * alpha)
        variance = jnp.sum(probability * (alpha - mean) ** 2)
        key_cell, key_within = jax.random.split(key)
        cell = jax.random.categorical(key_cell, jnp.log(probability))
        within = jax.random.uniform(key_within, (), dtype, -0.5, 0.5) * float(GRID[1] - GRID[0])
        return jnp.exp(log_alpha[cell] + within), Gamma(mean**2 / variance, mean / variance)

    def _shift(self, num_components: int, dtype: Any) -> Float[Array, " J"]:
        """The shifts k d for k = 1, ..., K - 1."""
        return self.discount * jnp.arange(1, num_components, dtype=dtype)

    def _log_gamma_ratio(self, alpha: Array, shift: Float[Array, " J"]) -> Float[Array, " J"]:
        """f_k(alpha)."""
        return gammaln(alpha + shift + 1 - self.discount) - gammaln(alpha + shift)
