"""The Dirichlet process: v_k ~ Beta(1, alpha), alpha fixed or under a Gamma prior and inferred.

Next file to read: `../model.py`.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.sticks.base import (
    Gamma,
    StickBreaking,
    Sticks,
    beta_kl_divergence,
    expected_log_fractions,
    gamma_kl_divergence,
    remaining_counts,
)


@dataclass(frozen=True)
class DirichletProcess(StickBreaking):
    """Dirichlet process sticks.

    Attributes:
        infer_concentration: True: alpha ~ Gamma(shape, rate), and q(alpha) is a Gamma too. False: alpha is
            fixed at the mean shape / rate of that Gamma.
    """

    infer_concentration: bool = True

    def default_prior(self, dtype: Any = jnp.float32) -> Gamma:
        """Gamma(1, 1), the choice of Escobar and West (1995) for an unknown concentration."""
        return Gamma(jnp.ones((), dtype), jnp.ones((), dtype))

    def posterior(
        self, counts: Float[Array, " K"], prior: Gamma, previous: Sticks | None
    ) -> Sticks:
        """q(v_k) = Beta(1 + N_k, E[alpha] + sum_{j>k} N_j), then q(alpha) given q(v).

        References:
            Blei and Jordan (2006), equations 18 and 19; appendix for q(alpha).
        """
        concentration = prior if previous is None else previous.concentration
        alpha = concentration.shape / concentration.rate
        a, b = 1 + counts[:-1], alpha + remaining_counts(counts)
        if not self.infer_concentration:
            return Sticks(a, b, prior)
        log_rest = jnp.sum(digamma(b) - digamma(a + b))
        return Sticks(a, b, Gamma(prior.shape + len(a), prior.rate - log_rest))

    def kl_divergence(self, sticks: Sticks, prior: Gamma) -> Float[Array, ""]:
        """KL of q(v) q(alpha) from p(v | alpha) p(alpha), alpha integrated under its own q."""
        if not self.infer_concentration:
            alpha = prior.shape / prior.rate
            ones = jnp.ones_like(sticks.a)
            return jnp.sum(beta_kl_divergence(sticks.a, sticks.b, ones, alpha * ones))
        q = sticks.concentration
        log_v, log_rest = expected_log_fractions(sticks)
        alpha, log_alpha = q.shape / q.rate, digamma(q.shape) - jnp.log(q.rate)
        log_q = (sticks.a - 1) * log_v + (sticks.b - 1) * log_rest - betaln(sticks.a, sticks.b)
        log_p = log_alpha + (alpha - 1) * log_rest
        return jnp.sum(log_q - log_p) + gamma_kl_divergence(q, prior)

    def sample_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Gamma
    ) -> tuple[Float[Array, ""], Gamma]:
        """Draw alpha from Gamma(shape + K - 1, rate - sum_k log(1 - v_k)); with v_K = 1, the sum is log w_K.

        References:
            Ishwaran and James (2001), section 5.3; Escobar and West (1995) without truncation.
        """
        if not self.infer_concentration:
            return prior.shape / prior.rate, prior
        given = Gamma(prior.shape + len(log_weights) - 1, prior.rate - log_weights[-1])
        draw = jax.random.gamma(key, given.shape, dtype=given.shape.dtype)
        return draw / given.rate, given
