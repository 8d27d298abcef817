# %% [markdown]
# # A mixture as a modelling library
#
# No images here: points in the plane, and the questions that one asks of a mixture. How many components are there,
# how sure is that, does the model describe the data, and which family describes them best?

# %%
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot

import jaxdpmm
from jaxdpmm import pictures

random = np.random.default_rng(0)
centres = np.array([[-5, 0], [0, 4], [5, 0], [0, -4]], np.float32)
tilted = np.array([[1.0, 0.8], [0.0, 0.6]], np.float32)  # points of one component are correlated
labels = random.choice(4, 1200, p=[0.4, 0.3, 0.2, 0.1])
x = centres[labels] + random.normal(size=(1200, 2)).astype(np.float32) @ tilted
x, held_out = x[:800], x[800:]

# %% [markdown]
# ## A prior and a fit
#
# A mixture is a family of components and the largest number of them. Its prior has a scale that is taken from the
# data. The fit goes up the evidence lower bound (ELBO); *moves* join, split and delete components where the bound
# rises.

# %%
mixture = jaxdpmm.Mixture(jaxdpmm.GaussianFull(dim=2), num_components=15)
prior = jaxdpmm.default_prior(mixture, x)
start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
backend = jaxdpmm.with_moves(jaxdpmm.cavi(mixture, prior))
result = jaxdpmm.fit(backend, x, start, num_epochs=60)
print(int(jaxdpmm.active_components(result.posterior).sum()), "components hold data")

# %%
figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
_ = pictures.draw_objective(axes[0], result.history)
_ = pictures.draw_sizes(axes[1], mixture, prior, result.posterior)
_ = pictures.draw_density(axes[2], mixture, result.posterior, x)

# %% [markdown]
# ## Families
#
# Held-out log predictive density is in nats per point for every Gaussian family, so families can be compared without
# any label. The points are correlated: full covariance describes them best, and it needs fewer components.


# %%
def tell(mixture, posterior):
    """Print how well a mixture describes points that it has not seen."""
    density = jaxdpmm.log_predictive_density(mixture, posterior, held_out).mean()
    active = int(jaxdpmm.active_components(posterior).sum())
    name = type(mixture.family).__name__
    print(f"{name:<18} {density:7.3f} nats per point, {active:2d} components")


tell(mixture, result.posterior)
for kind in (jaxdpmm.GaussianDiagonal, jaxdpmm.GaussianSpherical):
    other = jaxdpmm.Mixture(kind(dim=2), num_components=15)
    other_prior = jaxdpmm.default_prior(other, x)
    begin = jaxdpmm.initialize(other, other_prior, x, key=jax.random.key(0))
    fitted = jaxdpmm.fit(jaxdpmm.cavi(other, other_prior), x, begin, num_epochs=60)
    tell(other, fitted.posterior)

# %% [markdown]
# ## Does the model describe the data?
#
# A posterior predictive check: draw data sets from the fitted mixture and compare a number of each with that of the
# true data. Here the number is the share of points further than 5 from the origin, and the data were not learned
# from.

# %%
from jaxdpmm.sklearn import DirichletProcessMixture

model = DirichletProcessMixture(15, covariance_type="full", random_state=0).fit(x)
far = [np.mean(np.hypot(*model.sample(len(held_out))[0].T) > 5) for _ in range(50)]
true = np.mean(np.hypot(*held_out.T) > 5)
figure, axes = pyplot.subplots(figsize=(5, 3), layout="constrained")
axes.hist(far, 15, label="drawn")
axes.axvline(true, color="C1", label="true")
axes.set(xlabel="share of points further than 5 away", ylabel="data sets")
_ = axes.legend()

# %% [markdown]
# ## How many components, and what does alpha do?
#
# The concentration alpha says how readily the process opens a new component: a priori it expects about alpha log(1 +
# N / alpha) of them. A prior that holds alpha at a value shows what the data make of it; by default alpha is
# inferred.

# %%
from jaxdpmm.sticks import Gamma

alphas = np.array([0.1, 1.0, 10.0, 100.0])
found = []
for alpha in alphas:
    # a Gamma prior with this mean, so narrow that the data do not move it
    fixed = prior._replace(concentration=Gamma(jnp.float32(1e6), jnp.float32(1e6 / alpha)))
    fitted = jaxdpmm.fit(jaxdpmm.cavi(mixture, fixed), x, start, num_epochs=60)
    found.append(int(jaxdpmm.active_components(fitted.posterior).sum()))
figure, axes = pyplot.subplots(figsize=(5, 3), layout="constrained")
axes.semilogx(alphas, alphas * np.log1p(len(x) / alphas), label="expected by the prior")
axes.semilogx(alphas, found, "o-", label="components with data, at most 15")
axes.set(xlabel="alpha", ylabel="components", ylim=(0, 30))
_ = axes.legend()
inferred = result.posterior.sticks.concentration
print(f"inferred: alpha = {inferred.shape / inferred.rate:.2f}")

# %% [markdown]
# ## Not only a point
#
# Gibbs sampling draws from the posterior, so that questions get answers with an uncertainty, here the number of
# components.

# %%
from numpyro.infer import MCMC

from jaxdpmm.inference.numpyro import DPMMGibbs

kernel = DPMMGibbs(mixture, prior, start=result.posterior)
chain = MCMC(kernel, num_warmup=100, num_samples=300, progress_bar=False)
chain.run(jax.random.key(1), x)
counts = np.bincount(np.asarray(chain.get_samples()["num_occupied"], int))
for number, draws in enumerate(counts):
    if draws:
        print(f"{number} components in {draws / counts.sum():.0%} of the draws")
