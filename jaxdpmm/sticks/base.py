"""How many components there are and how large: the contract of stick-breaking priors.

Weights are broken off a stick of length one: w_k = v_k prod_{j<k} (1 - v_j), truncated at K components by
v_K = 1, so that K - 1 fractions are random. Every prior here has independent Beta fractions given its concentration
alpha. Counts of points add to their parameters, so that one function, `fractions`, gives p(v | counts, alpha) to Gibbs
and, at the mean of q(alpha), q(v) to variational inference. Not here: what a component looks like (`families/`).
Next file to read: `concentration.py`.
"""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma
from jaxtyping import Array, Bool, Float, PRNGKeyArray

NUM_UPDATES = (
    1000  # of q(v) and q(alpha) in turn, where a prior of the weights knows no shorter way
)


class Gamma(NamedTuple):
    """Gamma distribution in shape and rate; mean shape / rate."""

    shape: Float[Array, ""]
    rate: Float[Array, ""]


class Sticks(NamedTuple):
    """q(v_k) = Beta(a_k, b_k) for the K - 1 free fractions, and q(alpha) of the concentration.

    Attributes:
        a: first parameter of each Beta, (K-1,).
        b: second parameter of each Beta, (K-1,).
        concentration: q(alpha), a tree like the prior of the concentration; a `Gamma` for the priors of this package.
    """

    a: Float[Array, " J"]
    b: Float[Array, " J"]
    concentration: Any


class StickBreaking(abc.ABC):
    """A prior of mixture weights. Required: `prior_fractions`, `concentration` and `kl_divergence`.

    Most priors of one's own need the first of these alone: `FixedConcentration` has the other two for an alpha that is
    known, `GammaConcentration` for one that is inferred under a Gamma prior. Gibbs needs `sample_concentration`.
    """

    @abc.abstractmethod
    def prior_fractions(
        self, alpha: Float[Array, ""], num_components: int
    ) -> tuple[float | Array, float | Array]:
        """Beta parameters a and b of p(v_k | alpha), k = 1, ..., K - 1.

        Args:
            alpha: the concentration, a scalar whose type the results have.
            num_components: K.

        Returns:
            a and b, each of shape (K-1,) or one number for all.
        """

    @abc.abstractmethod
    def concentration(
        self, a: Float[Array, " J"], b: Float[Array, " J"], prior: Any, previous: Any
    ) -> Any:
        """q(alpha) given q(v), a tree like `prior`.

        Args:
            a: first Beta parameter of q(v), (K-1,).
            b: second Beta parameter of q(v), (K-1,).
            prior: the concentration's prior.
            previous: the last q(alpha), for updates that improve it in place of finding the best at once.
        """

    @abc.abstractmethod
    def kl_divergence(self, sticks: Sticks, prior: Any) -> Float[Array, ""]:
        """KL(q(v) q(alpha) || p(v | alpha) p(alpha)), a scalar, never negative."""

    def default_prior(self, dtype: Any = jnp.float32) -> Any:
        """A weak prior of the concentration, the tree that all others take as `prior`: by default Gamma(1, 1).

        References:
            Escobar and West (1995), Bayesian density estimation and inference using mixtures.
        """
        return Gamma(jnp.ones((), dtype), jnp.ones((), dtype))

    def mean_concentration(self, concentration: Any) -> Float[Array, ""]:
        """E[alpha] under q(alpha) or the prior; to be written where these are no `Gamma`."""
        return concentration.shape / concentration.rate

    def fractions(
        self, counts: Float[Array, " K"], alpha: Float[Array, ""]
    ) -> tuple[Float[Array, " J"], Float[Array, " J"]]:
        """Beta parameters of p(v_k | counts, alpha): those of the prior, plus N_k and sum_{j>k} N_j.

        Args:
            counts: number of points, expected or drawn, of each component.
            alpha: the concentration, drawn (Gibbs) or E[alpha] (variational inference).

        References:
            Ishwaran and James (2001), section 5.2; Blei and Jordan (2006), equations 18 and 19.
        """
        a, b = self.prior_fractions(alpha, counts.shape[0])
        return a + counts[:-1], b + remaining_counts(counts)

    def posterior(self, counts: Float[Array, " K"], prior: Any, previous: Sticks | None) -> Sticks:
        """q(v) given the expected number of points of each component, then q(alpha) given q(v).

        Args:
            counts: expected number of points, by component.
            prior: the concentration's prior.
            previous: the last q, from which E[alpha] is taken; None at the start, when the prior's is.
        """
        known = prior if previous is None else previous.concentration
        a, b = self.fractions(counts, self.mean_concentration(known))
        return Sticks(a, b, self.concentration(a, b, prior, known))

    def settled(self, counts: Float[Array, " K"], prior: Any) -> Sticks:
        """The q that repeated updates lead to: it depends on the counts alone, not on an earlier q.

        Args:
            counts: expected number of points, by component.
            prior: the concentration's prior.
        """

        def update(_: Any, found: Sticks) -> Sticks:
            return self.posterior(counts, prior, found)

        return jax.lax.fori_loop(1, NUM_UPDATES, update, self.posterior(counts, prior, None))

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
    """E[log v_k] and E[log(1 - v_k)] of the K - 1 free fractions; a or b of 0 is a fraction of 0 or 1 for sure."""
    total = digamma(sticks.a + sticks.b)
    a, b = (jnp.where(one > 0, digamma(one), -jnp.inf) for one in (sticks.a, sticks.b))
    return a - total, b - total


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


def without_weight(sticks: Sticks, hidden: Bool[Array, " K"]) -> Sticks:
    """Sticks for scoring alone, in which hidden components have no weight at all, and the others all of it.

    A hidden component's fraction is 0 for sure, Beta(0, b), and that of the last one that is not hidden is 1, as if
    the truncation were there. Where all are hidden the last one has the weight.

    Args:
        sticks: q(v), of counts that are 0 for hidden components.
        hidden: which components, (K,).
    """
    places = jnp.arange(hidden.shape[0])
    last = jnp.max(jnp.where(hidden, -1, places))
    a = jnp.where(hidden[:-1], 0, sticks.a)
    b = jnp.where(places[:-1] == last, 0, sticks.b)
    return sticks._replace(a=a, b=b)


def sample_log_weights(key: PRNGKeyArray, sticks: Sticks) -> Float[Array, " K"]:
    """Draw log w from q(v), exact also where a weight is too small for its own logarithm."""
    log_v, log_rest = _sample_log_beta(key, sticks.a, sticks.b)
    return break_sticks(log_v, log_rest)


def beta_kl_divergence(
    a: Array, b: Array, prior_a: float | Array, prior_b: float | Array
) -> Float[Array, " J"]:
    """KL(Beta(a, b) || Beta(prior_a, prior_b)), elementwise."""
    return (
        betaln(prior_a, prior_b)
        - betaln(a, b)
        + (a - prior_a) * digamma(a)
        + (b - prior_b) * digamma(b)
        + (prior_a - a + prior_b - b) * digamma(a + b)
    )


def sticks_bound(
    sticks: StickBreaking, found: Sticks, prior: Any, counts: Float[Array, " K"]
) -> Float[Array, ""]:
    """The part of the ELBO that depends on q(v) and q(alpha): sum_k counts_k E[log w_k] minus the divergence."""
    return jnp.sum(counts * expected_log_weights(found)) - sticks.kl_divergence(found, prior)


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
