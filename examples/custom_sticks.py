"""A prior of the weights of one's own in one function: sticks v_k ~ Beta(a, b), through every backend."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import jaxdpmm
from jaxdpmm.inference.truncation import last_stick_mass
from jaxdpmm.sticks import FixedConcentration


@dataclass(frozen=True)
class BetaSticks(FixedConcentration):
    """Beta two-parameter process; with a > 1 the first components are large for sure."""

    a: float = 2.0
    b: float = 3.0

    def prior_fractions(self, alpha, num_components):
        return self.a, self.b


random = np.random.default_rng(0)
centres = np.array([[-4, 0], [0, 4], [4, 0]])
x = centres[random.integers(3, size=4000)] + 0.5 * random.normal(size=(4000, 2))
x, held_out = np.float32(x[:3000]), np.float32(x[3000:])

mixture = jaxdpmm.Mixture(jaxdpmm.GaussianFull(2), num_components=10, sticks=BetaSticks())
prior = jaxdpmm.default_prior(mixture, x)
jaxdpmm.testing.check_sticks(
    BetaSticks(), prior.concentration, jnp.array([50.0, 30.0, 0.0]), tolerance=1e-4
)

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
    mass = float(last_stick_mass(result.posterior))
    print(f"{backend.__name__:<10} last stick {mass:.1e}, held-out log density {density:.3f}")
