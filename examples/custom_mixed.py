"""Numbers and a category in one component: a family of one's own beside a built-in one, through every backend."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

import jaxdpmm
from jaxdpmm.families import Block, ProductFamily


@dataclass(frozen=True)
class CategoricalDirichlet(jaxdpmm.Family):
    """One of several kinds, one-hot, under a Dirichlet prior."""

    def sufficient_statistics(self, x):
        return x

    def log_partition(self, natural):
        return jnp.sum(gammaln(natural)) - gammaln(jnp.sum(natural))

    def default_prior(self, x, num_components):
        return jnp.ones_like(x[0])

    def sample_params(self, key, natural):
        log_gamma = jax.random.loggamma(key, natural)
        return log_gamma - jax.nn.logsumexp(log_gamma)


family = ProductFamily(
    (
        Block("size", jaxdpmm.GaussianDiagonal(2)),
        Block("kind", CategoricalDirichlet(), shape=(3,)),
    )
)
random = np.random.default_rng(0)
label = random.integers(3, size=4000)
size = np.array([[0, 0], [0, 0], [4, 1]])[label] + 0.5 * random.normal(size=(4000, 2))
kind = np.eye(3)[np.where(random.random(4000) < 0.9, label, random.integers(3, size=4000))]
x = np.hstack([size, kind]).astype(np.float32)  # labels 0 and 1 differ in their kind only
x, held_out = x[:3000], x[3000:]

mixture = jaxdpmm.Mixture(family, num_components=10)
prior = jaxdpmm.default_prior(mixture, x)

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
