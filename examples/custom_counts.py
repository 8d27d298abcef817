"""A family of one's own in ten lines: counts, Poisson under a Gamma prior, through every backend."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

import jaxdpmm


@dataclass(frozen=True)
class PoissonGamma(jaxdpmm.Family):
    """Counts x ~ Poisson(rate), rate ~ Gamma(a, b); the first two functions are all that is required."""

    def sufficient_statistics(self, x):
        return x, jnp.ones_like(x)

    def log_partition(self, natural):
        a, b = natural
        return gammaln(a) - a * jnp.log(b)

    def log_base_measure(self, x):
        return -gammaln(x + 1)

    def sample_params(self, key, natural):  # for Gibbs: a draw of what multiplies T(x)
        a, b = natural
        rate = jax.random.gamma(key, a) / b
        return jnp.log(rate), -rate


random = np.random.default_rng(0)
x = random.poisson(np.where(random.random(4000) < 0.7, 3, 30)).astype(np.float32)
x, held_out = x[:3000], x[3000:]

mixture = jaxdpmm.Mixture(PoissonGamma(), num_components=10)
component = (jnp.float32(1.0), jnp.float32(0.1))  # a = 1 and b = 0.1: rates of about 10
prior = jaxdpmm.Prior(component, mixture.sticks.default_prior(jnp.float32))
jaxdpmm.testing.check_family(PoissonGamma(), component, jnp.asarray(x[:20]), tolerance=1e-4)

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
