"""What a prior of the weights knows of its concentration alpha: its value, or a Gamma prior under which it is inferred.

Both classes leave open where alpha enters the fractions, which is all that `DirichletProcess`, `PitmanYor` and
`SymmetricDirichlet` add. Next file to read: `dirichlet_process.py`.
"""

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma, gammaln
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.sticks.base import (
    Gamma,
    StickBreaking,
    Sticks,
    beta_kl_divergence,
    expected_log_fractions,
    sticks_bound,
)

NUM_NEWTON_STEPS = (
    10  # from the prior to where q(v) and q(alpha) agree to rounding; 4 to 8 are enough
)


class FixedConcentration(StickBreaking):
    """Sticks whose alpha is known: the mean of the prior. Required: `prior_fractions`."""

    def concentration(
        self, a: Float[Array, " J"], b: Float[Array, " J"], prior: Any, previous: Any
    ) -> Any:
        """The prior: nothing is learned of alpha."""
        del a, b, previous
        return prior

    def kl_divergence(self, sticks: Sticks, prior: Any) -> Float[Array, ""]:
        """KL(q(v) || p(v | alpha)), stick by stick."""
        alpha = self.mean_concentration(prior)
        fractions = self.prior_fractions(alpha, sticks.a.shape[0] + 1)
        return jnp.sum(beta_kl_divergence(sticks.a, sticks.b, *fractions))

    def settled(self, counts: Float[Array, " K"], prior: Any) -> Sticks:
        """The posterior: there is nothing to repeat."""
        return self.posterior(counts, prior, None)

    def sample_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Any
    ) -> tuple[Float[Array, ""], Any]:
        """Alpha itself and the prior: nothing is drawn."""
        del key, log_weights
        return self.mean_concentration(prior), prior


class GammaConcentration(FixedConcentration):
    """Sticks v_k ~ Beta(a_k, alpha + c_k) with alpha ~ Gamma(shape, rate), and a Gamma q(alpha).

    Required: `prior_fractions`, `log_normaliser` and, for Gibbs, `draw_concentration`.

    Attributes:
        infer_concentration: whether alpha is inferred; else it is fixed at the mean of the prior.
    """

    infer_concentration: bool

    @abc.abstractmethod
    def log_normaliser(
        self, log_alpha: Float[Array, ""], num_components: int
    ) -> Float[Array, " J"]:
        """-log B(a_k, alpha + c_k), the normaliser of p(v_k | alpha), as a function of log alpha.

        It must be convex, so that by Jensen its expectation is at least its value at E[log alpha]; the ELBO with that
        value in its place stays a bound. Where it is linear, nothing is lost.
        """

    @abc.abstractmethod
    def draw_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Gamma
    ) -> tuple[Float[Array, ""], Gamma]:
        """Draw alpha given the weights from p(alpha) prod_k p(v_k | alpha).

        Returns:
            alpha, and the Gamma that it was drawn from or one of the same mean and variance.
        """

    def concentration(
        self, a: Float[Array, " J"], b: Float[Array, " J"], prior: Gamma, previous: Gamma
    ) -> Gamma:
        """Gamma(shape + slope, rate - sum_k E[log(1 - v_k)]), the best q(alpha) given q(v).

        The slope is that of the normalisers at the last E[log alpha]. They are convex, hence above the tangent there,
        so that updates never lower the bound.
        """
        if not self.infer_concentration:
            return super().concentration(a, b, prior, previous)
        log_rest = jnp.sum(digamma(b) - digamma(a + b))

        def total(log_alpha: Float[Array, ""]) -> Float[Array, ""]:
            return jnp.sum(self.log_normaliser(log_alpha, a.shape[0] + 1))

        slope = jax.grad(total)(expected_log(previous))
        return Gamma(prior.shape + slope, prior.rate - log_rest)

    def kl_divergence(self, sticks: Sticks, prior: Gamma) -> Float[Array, ""]:
        """KL of q(v) q(alpha) from p(v | alpha) p(alpha), or above it by Jensen's gap in `log_normaliser`."""
        if not self.infer_concentration:
            return super().kl_divergence(sticks, prior)
        q, num_components = sticks.concentration, sticks.a.shape[0] + 1
        log_v, log_rest = expected_log_fractions(sticks)
        log_q = (sticks.a - 1) * log_v + (sticks.b - 1) * log_rest - betaln(sticks.a, sticks.b)
        a, b = self.prior_fractions(self.mean_concentration(q), num_components)
        normaliser = self.log_normaliser(expected_log(q), num_components)
        log_p = normaliser + (a - 1) * log_v + (b - 1) * log_rest
        return jnp.sum(log_q - log_p) + gamma_kl_divergence(q, prior)

    def settled(self, counts: Float[Array, " K"], prior: Gamma) -> Sticks:
        """The q that repeated updates lead to, by Newton's steps on the logarithms of shape and rate of q(alpha).

        Of few points in many components, 100 plain updates still remember where they began. Where a step of Newton
        lowers the bound, the plain update is taken.
        """
        if not self.infer_concentration:
            return super().settled(counts, prior)

        def given(logs: Float[Array, "2"]) -> Sticks:
            """The best q(v) under a q(alpha)."""
            q = Gamma(*jnp.exp(logs))
            return Sticks(*self.fractions(counts, self.mean_concentration(q)), q)

        def update(logs: Float[Array, "2"]) -> Float[Array, "2"]:
            a, b, q = given(logs)
            return jnp.log(jnp.stack(self.concentration(a, b, prior, q)))

        def bound(logs: Float[Array, "2"]) -> Float[Array, ""]:
            return sticks_bound(self, given(logs), prior, counts)

        def improve(_: Any, logs: Float[Array, "2"]) -> Float[Array, "2"]:
            plain = update(logs)
            rest = jnp.eye(2, dtype=logs.dtype) - jax.jacfwd(update)(logs)
            newton = logs + _solve_two(rest, plain - logs)
            least = bound(plain)
            least -= math.sqrt(jnp.finfo(logs.dtype).eps) * (1 + jnp.abs(least))  # its rounding
            return jnp.where(bound(newton) >= least, newton, plain)  # false where newton is nan

        start = jnp.log(jnp.stack(prior))
        return given(jax.lax.fori_loop(0, NUM_NEWTON_STEPS, improve, start))

    def sample_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Gamma
    ) -> tuple[Float[Array, ""], Gamma]:
        """Draw alpha given the weights, or take what it is fixed at."""
        if not self.infer_concentration:
            return super().sample_concentration(key, log_weights, prior)
        return self.draw_concentration(key, log_weights, prior)


def expected_log(gamma: Gamma) -> Float[Array, ""]:
    """E[log alpha] under a Gamma."""
    return digamma(gamma.shape) - jnp.log(gamma.rate)


def gamma_kl_divergence(q: Gamma, p: Gamma) -> Float[Array, ""]:
    """KL(Gamma q || Gamma p)."""
    return (
        (q.shape - p.shape) * digamma(q.shape)
        - gammaln(q.shape)
        + gammaln(p.shape)
        + p.shape * (jnp.log(q.rate) - jnp.log(p.rate))
        + q.shape * (p.rate - q.rate) / q.rate
    )


def _solve_two(matrix: Float[Array, "2 2"], vector: Float[Array, "2"]) -> Float[Array, "2"]:
    """Solution of two linear equations by Cramer's rule: LAPACK stays out of compiled programs."""
    (a, b), (c, d) = matrix
    first, second = vector
    return jnp.stack([d * first - b * second, a * second - c * first]) / (a * d - b * c)
