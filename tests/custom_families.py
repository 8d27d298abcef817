"""Families as a user would write them: the two required functions, and what their likelihood adds."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax.scipy.special import betaln, gammaln

from jaxdpmm import Family


@dataclass(frozen=True)
class PoissonGamma(Family):
    """Counts: x ~ Poisson(rate), rate ~ Gamma(a, b)."""

    def sufficient_statistics(self, x):
        return x, jnp.ones_like(x)

    def log_partition(self, natural):
        a, b = natural
        return gammaln(a) - a * jnp.log(b)

    def log_base_measure(self, x):
        return -gammaln(x + 1)


@dataclass(frozen=True)
class BernoulliBeta(Family):
    """Vectors of zeros and ones: x_d ~ Bernoulli(p_d), p_d ~ Beta(a_d, b_d)."""

    def sufficient_statistics(self, x):
        return {"ones": x, "zeros": 1 - x}

    def log_partition(self, natural):
        return jnp.sum(betaln(natural["ones"], natural["zeros"]))
