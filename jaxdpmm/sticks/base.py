"""How many components there are and how large: the contract of stick-breaking priors.

Weights are broken off a stick of length one: w_k = v_k prod_{j<k} (1 - v_j), truncated at K components by
v_K = 1, so that K - 1 fractions are random. Every prior here has independent Beta fractions, hence
q(v) is a product of Betas too (`Sticks`) and a prior only says two things: how counts become q(v), and how far
q(v) lies from it. Not here: what a component looks like (`families/`). Next file: `dirichlet_process.py`.
"""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma, gammaln
from jaxtyping import Array, Float, PRNGKeyArray


class Gamma(NamedTuple):
    """Gamma distribution in shape and rate; mean shape / rate."""

    shape: Float[Array, ""]
    rate: Float[Array, ""]


class Sticks(NamedTuple):
    """q(v_k) = Beta(a_k, b_k) for the K - 1 free fractions, and q(alpha) of the concentration."""

    a: Float[Array, " J"]
    b: Float[Array, " J"]
    concentration: Gamma


class StickBreaking(abc.ABC):
    """A prior of mixture weights. Required: `posterior`, `kl_divergence` and `default_prior`."""

    @abc.abstractmethod
    def default_prior(self, dtype: Any) -> Any:
        """A weak prior of the concentration: the tree that the other two take as `prior`."""

    @abc.abstractmethod
    def posterior(self, counts: Float[Array, " K"], prior: Any, previous: Sticks | None) -> Sticks:
        """q(v) and q(alpha) given the expected number of points of each component.

        Args:
            counts: expected number of points, by component.
            prior: the concentration's prior.
            previous: the last q, from which E[alpha] is taken; None at the start, when the prior's is.
        """

    @abc.abstractmethod
    def kl_divergence(self, sticks: Sticks, prior: Any) -> Float[Array, ""]:
        """KL(q(v) q(alpha) || p(v | alpha) p(alpha)), a scalar, never negative."""

    def sample_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Any
    ) -> tuple[Float[Array, ""], Any]:
        """Draw alpha given the weights; Gibbs needs it.

        Returns:
            alpha, and the distribution it was drawn from, a tree like `prior`.

        Raises:
            TypeError: the prior does not offer it.
        """
        raise TypeError(
            f"{type(self).__name__} cannot be sampled: expected the method "
            "sample_concentration(key, log_weights, prior), got none; write it to use Gibbs, or use cavi."
        )


def expected_log_fractions(sticks: Sticks) -> tuple[Float[Array, " J"], Float[Array, " J"]]:
    """E[log v_k] and E[log(1 - v_k)] of the K - 1 free fractions."""
    total = digamma(sticks.a + sticks.b)
    return digamma(sticks.a) - total, digamma(sticks.b) - total


def expected_log_weights(sticks: Sticks) -> Float[Array, " K"]:
    """Expected log mixture weights under truncated stick-breaking.

    E[log w_k] = E[log v_k] + sum_{j<k} E[log(1 - v_j)], with v_K = 1, so the last entry has no
    log v term (scikit-learn leaves that stick free).

    Args:
        sticks: q(v), with Beta parameters a and b of shape (K-1,).

    Returns:
        Array of shape (K,). exp of it sums to less than one (Jensen).

    References:
        Blei and Jordan (2006), Variational inference for Dirichlet process mixtures, section 3.2.
    """
    return break_sticks(*expected_log_fractions(sticks))


def log_mean_weights(sticks: Sticks) -> Float[Array, " K"]:
    """Log E[w_k], the weights of the posterior predictive; exp of it sums to one."""
    log_total = jnp.log(sticks.a + sticks.b)
    return break_sticks(jnp.log(sticks.a) - log_total, jnp.log(sticks.b) - log_total)


def log_mode_weights(sticks: Sticks) -> Float[Array, " K"]:
    """Log w at the most probable fractions v_k = (a - 1) / (a + b - 2), the read-out of MAP methods.

    A component without data has weight zero, hence -inf. Fractions outside [0, 1], which a < 1 or b < 1
    give, are clipped.
    """
    ones, rest = jnp.maximum(sticks.a - 1, 0), jnp.maximum(sticks.b - 1, 0)
    log_total = jnp.log(jnp.maximum(ones + rest, jnp.finfo(ones.dtype).tiny))
    return break_sticks(jnp.log(ones) - log_total, jnp.log(rest) - log_total)


def sample_log_weights(key: PRNGKeyArray, sticks: Sticks) -> Float[Array, " K"]:
    """Draw log w from q(v), exact also where a weight is too small for its own logarithm."""
    log_v, log_rest = _sample_log_beta(key, sticks.a, sticks.b)
    return break_sticks(log_v, log_rest)


def beta_kl_divergence(a: Array, b: Array, prior_a: Array, prior_b: Array) -> Float[Array, " J"]:
    """KL(Beta(a, b) || Beta(prior_a, prior_b)), elementwise."""
    return (
        betaln(prior_a, prior_b)
        - betaln(a, b)
        + (a - prior_a) * digamma(a)
        + (b - prior_b) * digamma(b)
        + (prior_a - a + prior_b - b) * digamma(a + b)
    )


def gamma_kl_divergence(q: Gamma, p: Gamma) -> Float[Array, ""]:
    """KL(Gamma q || Gamma p)."""
    return (
        (q.shape - p.shape) * digamma(q.shape)
        - gammaln(q.shape)
        + gammaln(p.shape)
        + p.shape * (jnp.log(q.rate) - jnp.log(p.rate))
        + q.shape * (p.rate - q.rate) / q.rate
    )


def remaining_counts(counts: Float[Array, " K"]) -> Float[Array, " J"]:
    """sum_{j>k} counts_j for the K - 1 free sticks."""
    return jnp.cumsum(counts[:0:-1])[::-1]


def break_sticks(log_v: Float[Array, " J"], log_rest: Float[Array, " J"]) -> Float[Array, " K"]:
    """Log w_k = log v_k + sum_{j<k} log(1 - v_j), with v_K = 1, from log v and log(1 - v)."""
    zero = jnp.zeros((1,), log_v.dtype)
    return jnp.concatenate([log_v, zero]) + jnp.concatenate([zero, jnp.cumsum(log_rest)])


def _sample_log_beta(key: PRNGKeyArray, a: Array, b: Array) -> tuple[Array, Array]:
    key_a, key_b = jax.random.split(key)
    log_a = jax.random.loggamma(key_a, a, dtype=a.dtype)
    log_b = jax.random.loggamma(key_b, b, dtype=b.dtype)
    log_total = jnp.logaddexp(log_a, log_b)
    return log_a - log_total, log_b - log_total
