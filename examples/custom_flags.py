"""A family of one's own: vectors of zeros and ones, Bernoulli under Beta priors, through every backend."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln

import jaxdpmm


@dataclass(frozen=True)
class BernoulliBeta(jaxdpmm.Family):
    """Flags x_d ~ Bernoulli(p_d), p_d ~ Beta(a_d, b_d); the natural parameter is any tree, here a dict."""

    def sufficient_statistics(self, x):
        return {"ones": x, "zeros": 1 - x}

    def log_partition(self, natural):
        return jnp.sum(betaln(natural["ones"], natural["zeros"]))

    def sample_params(self, key, natural):  # log p and log (1 - p), by logs of Gamma draws
        key_ones, key_zeros = jax.random.split(key)
        ones = jax.random.loggamma(key_ones, natural["ones"])
        zeros = jax.random.loggamma(key_zeros, natural["zeros"])
        total = jnp.logaddexp(ones, zeros)
        return {"ones": ones - total, "zeros": zeros - total}


random = np.random.default_rng(0)
patterns = random.choice([0.05, 0.95], size=(3, 12))
x = (random.random((4000, 12)) < patterns[random.integers(3, size=4000)]).astype(np.float32)
x, held_out = x[:3000], x[3000:]

mixture = jaxdpmm.Mixture(BernoulliBeta(), num_components=10)
half = jnp.full(12, 0.5, jnp.float32)
prior = jaxdpmm.Prior({"ones": half, "zeros": half}, mixture.sticks.default_prior(jnp.float32))

start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
for backend in (jaxdpmm.cavi, jaxdpmm.memoized, jaxdpmm.stochastic, jaxdpmm.gibbs):
    result = jaxdpmm.fit(
        backend(mixture, prior),
        x,
        start,
        key=jax.random.key(1),
        num_epochs=40,
        tolerance=0,
        batch_size=1000,
    )
    density = jaxdpmm.log_predictive_density(mixture, result.posterior, held_out).mean()
    active = int(jaxdpmm.active_components(result.posterior).sum())
    print(f"{backend.__name__:<10} {active:2d} components, held-out log density {density:.3f}")
