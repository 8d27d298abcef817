# %% [markdown]
# # A family and a prior of your own, through every backend
#
# Research code often needs a model that no library has. A component family is two functions of one point and one
# component; a prior of the weights is one. Each is checked by a function of `jaxdpmm.testing`, and then runs through
# all ways to fit.
#
# ## A family: counts
#
# The number of events per hour is Poisson, and its rate has a Gamma prior. T(x) is a tree with the shape of the
# natural parameter, and A is the log normaliser of the prior:

# %%
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from matplotlib import pyplot

import jaxdpmm
from jaxdpmm.sticks import FixedConcentration


@dataclass(frozen=True)
class PoissonGamma(jaxdpmm.Family):
    """Counts x ~ Poisson(rate) with rate ~ Gamma(a, b)."""

    def sufficient_statistics(self, x):
        """T(x)."""
        return x, jnp.ones_like(x)

    def log_partition(self, natural):
        """A: the log normaliser of Gamma(a, b)."""
        a, b = natural
        return gammaln(a) - a * jnp.log(b)

    def log_base_measure(self, x):
        """What the likelihood has beyond T(x)."""
        return -gammaln(x + 1)

    def sample_params(self, key, natural):
        """A draw of what multiplies T(x); for Gibbs only."""
        rate = jax.random.gamma(key, natural[0]) / natural[1]
        return jnp.log(rate), -rate


component = (jnp.float32(1.0), jnp.float32(0.1))  # a and b: rates of about 10
random = np.random.default_rng(0)
x = random.poisson(np.repeat([3, 12, 40], [600, 300, 100])).astype(np.float32)
jaxdpmm.testing.check_family(PoissonGamma(), component, jnp.asarray(x[::50]), tolerance=1e-4)

# %% [markdown]
# Silence means that the family keeps its contract: trees agree, derivatives are moments, the predictive density
# integrates. A mistake is named, here a sign:


# %%
@dataclass(frozen=True)
class Wrong(PoissonGamma):
    """A log normaliser with a wrong sign."""

    def log_partition(self, natural):
        """Minus A."""
        return -super().log_partition(natural)


try:
    jaxdpmm.testing.check_family(Wrong(), component, jnp.asarray(x[::50]), tolerance=1e-4)
except AssertionError as error:
    print(error)

# %% [markdown]
# ## A prior of the weights
#
# Sticks v_k ~ Beta(2, 3): the first components are large for sure. A stick-breaking prior without a concentration to
# learn is one function:


# %%
@dataclass(frozen=True)
class BetaSticks(FixedConcentration):
    """v_k ~ Beta(2, 3)."""

    def prior_fractions(self, alpha, num_components):
        """The two parameters of each stick."""
        return 2.0, 3.0


mixture = jaxdpmm.Mixture(PoissonGamma(), num_components=8, sticks=BetaSticks())
prior = jaxdpmm.Prior(component, mixture.sticks.default_prior(jnp.float32))
counts = jnp.array([50.0, 30.0, 0.0])
jaxdpmm.testing.check_sticks(BetaSticks(), prior.concentration, counts, tolerance=1e-4)

# %% [markdown]
# ## Every backend
#
# The posterior of one backend is where any other may start.

# %%
start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
grid = np.arange(60, dtype=np.float32)
figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
axes.hist(x, np.arange(61) - 0.5, density=True, color="0.85")
for backend in (jaxdpmm.cavi, jaxdpmm.memoized, jaxdpmm.stochastic, jaxdpmm.gibbs):
    result = jaxdpmm.fit(
        backend(mixture, prior),
        x,
        start,
        key=jax.random.key(1),
        num_epochs=30,
        tolerance=0,
        batch_size=250,
    )
    density = jaxdpmm.log_predictive_density(mixture, result.posterior, grid)
    axes.plot(grid, np.exp(density), label=backend.__name__)
    print(f"{backend.__name__:<10} {density[3]:.3f} nats for 3 events, {density[25]:.3f} for 25")
axes.set(xlabel="events per hour", ylabel="predictive density")
_ = axes.legend()
