"""A finite symmetric Dirichlet, w ~ Dirichlet(alpha / K, ..., alpha / K): the control for the infinite priors.

In stick-breaking form v_k ~ Beta(alpha / K, (K - k) alpha / K), so that everything that works with sticks works with
it. As K grows it approaches the Dirichlet process with concentration alpha; unlike there, the order of the
components does not matter. Next file to read: `../model.py`.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.sticks.base import (
    Gamma,
    StickBreaking,
    Sticks,
    beta_kl_divergence,
    remaining_counts,
)


@dataclass(frozen=True)
class SymmetricDirichlet(StickBreaking):
    """Symmetric Dirichlet of total mass alpha, fixed at the mean of the Gamma that the prior holds.

    Total mass 1 lets unused components empty themselves; K gives a uniform prior on the simplex.

    References:
        Ishwaran and Zarepour (2002), Exact and approximate sum representations for the Dirichlet process.
    """

    def default_prior(self, dtype: Any = jnp.float32) -> Gamma:
        """Total mass 1."""
        return Gamma(jnp.ones((), dtype), jnp.ones((), dtype))

    def posterior(
        self, counts: Float[Array, " K"], prior: Gamma, previous: Sticks | None
    ) -> Sticks:
        """q(v_k) = Beta(alpha / K + N_k, (K - k) alpha / K + sum_{j>k} N_j), that is Dirichlet(alpha / K + N)."""
        del previous
        prior_a, prior_b = _prior_fractions(counts[:-1], prior)
        return Sticks(prior_a + counts[:-1], prior_b + remaining_counts(counts), prior)

    def kl_divergence(self, sticks: Sticks, prior: Gamma) -> Float[Array, ""]:
        """KL between the two Dirichlets, stick by stick."""
        return jnp.sum(beta_kl_divergence(sticks.a, sticks.b, *_prior_fractions(sticks.a, prior)))

    def sample_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Gamma
    ) -> tuple[Float[Array, ""], Gamma]:
        """The fixed total mass: nothing is drawn."""
        del key, log_weights
        return prior.shape / prior.rate, prior


def _prior_fractions(
    like: Float[Array, " J"], prior: Gamma
) -> tuple[Float[Array, " J"], Float[Array, " J"]]:
    """Beta parameters of p(v_k), k = 1, ..., K - 1."""
    num_free = len(like)
    share = prior.shape / prior.rate / (num_free + 1)
    return jnp.full_like(like, share), share * jnp.arange(num_free, 0, -1, dtype=like.dtype)
