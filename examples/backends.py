"""One model, six ways to its posterior, and a table of how far they agree.

The model is a Dirichlet process mixture of Gaussians, truncated at ten components:

    alpha ~ Gamma(1, 1)                                concentration
    v_k ~ Beta(1, alpha),  w_k = v_k prod_{j<k} (1 - v_j)    weights
    lambda_k, mu_k ~ Normal-Gamma                      precision and mean of each feature
    z_n ~ Categorical(w),  x_n ~ N(mu_{z_n}, 1 / lambda_{z_n})

Three backends optimise a posterior: CAVI on all data at once, memoized CAVI on batches with an exact bound, online EM
on a stream. Gibbs draws from it, labels and all. With the labels summed out it is an ordinary NumPyro model, for SVI
with any guide and for NUTS. Each is asked the same: how likely are points that it has not seen, how many components
hold data, and what is alpha.

    python examples/backends.py            # a minute
    python examples/backends.py --quick    # short chains
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro.infer import MCMC, NUTS, SVI, TraceMeanField_ELBO, init_to_value

import jaxdpmm
from jaxdpmm.inference.backends import label_switching, split_merge
from jaxdpmm.inference.backends.gibbs import sample_labels
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.online_em import online_em
from jaxdpmm.inference.growth.moves import with_moves
from jaxdpmm.inference.numpyro.kernel import DPMMGibbs
from jaxdpmm.inference.numpyro.svi import (
    draw_readouts,
    initial_values,
    numpyro_model,
    structured_guide,
    to_posterior,
)
from jaxdpmm.scoring.uncertainty import log_density_over_draws

shorter = 10 if "--quick" in sys.argv else 1

# Four clusters of unequal size, and points of the same law that no backend sees.
random = np.random.default_rng(0)
centres = np.array([[-4, 0], [0, 4], [4, 0], [0, -4]], np.float32)
labels = random.choice(4, size=1000, p=[0.4, 0.3, 0.2, 0.1])
x = centres[labels] + random.normal(size=(1000, 2)).astype(np.float32)
x, held_out = x[:500], x[500:]

mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(dim=2), num_components=10)
prior = jaxdpmm.default_prior(mixture, x)

# k-means finds ten clusters where there are four; CAVI with merges joins them. Here everyone starts.
start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
joining = with_moves(jaxdpmm.cavi(mixture, prior), ("merge",))
start = jaxdpmm.fit(joining, x, start, num_epochs=40, tolerance=0).posterior


def of_posterior(posterior):
    """Answers of a posterior of closed form; its density integrates over all parameters."""
    density = jaxdpmm.log_predictive_density(mixture, posterior, held_out).mean()
    alpha = posterior.sticks.concentration
    return density, jaxdpmm.active_components(posterior).sum(), alpha.shape / alpha.rate


def cavi():
    """Coordinate ascent: every sweep raises the bound, until nothing moves."""
    return of_posterior(jaxdpmm.fit(jaxdpmm.cavi(mixture, prior), x, start).posterior)


def memoized_cavi():
    """The same optimum from batches of 100 points, each remembered by its statistics alone."""
    backend = memoized(mixture, prior)
    return of_posterior(jaxdpmm.fit(backend, x, start, batch_size=100).posterior)


def online():
    """Point estimates from averages that forget; the objective never settles, so we say when to stop."""
    backend = online_em(mixture, prior, step_size=0.1)
    fitted = jaxdpmm.fit(backend, x, start, batch_size=100, num_epochs=50, tolerance=0)
    return of_posterior(fitted.posterior)


def gibbs():
    """Draws of labels, weights and parameters; moves let whole clusters join, part and swap places."""
    kernel = DPMMGibbs(mixture, prior, start=start, moves=(label_switching(), split_merge()))
    mcmc = MCMC(kernel, num_warmup=500 // shorter, num_samples=2000 // shorter, progress_bar=False)
    mcmc.run(jax.random.key(1), x, extra_fields=("posterior",))
    draws, samples = mcmc.get_extra_fields()["posterior"], mcmc.get_samples()
    density = log_density_over_draws(mixture, draws, held_out).mean()
    return density, samples["num_occupied"].mean(), samples["alpha"].mean()


def numpyro_svi():
    """Stochastic gradients of the bound, with a guide of CAVI's own form."""
    model, guide = numpyro_model(mixture, prior), structured_guide(mixture, prior, start)
    svi = SVI(model, guide, optax.adam(0.02), TraceMeanField_ELBO())
    result = svi.run(jax.random.key(2), 3000 // shorter, x, progress_bar=False)
    return of_posterior(to_posterior(mixture, prior, result.params, x))


def nuts():
    """Gradients through the density with its labels summed out; labels are drawn afterwards."""
    values = initial_values(mixture, prior, start, jax.random.key(3))
    kernel = NUTS(
        numpyro_model(mixture, prior), init_strategy=init_to_value(values=values), max_tree_depth=7
    )
    num_draws = 500 // shorter
    mcmc = MCMC(kernel, num_warmup=num_draws, num_samples=num_draws, progress_bar=False)
    mcmc.run(jax.random.key(4), x)
    draws = draw_readouts(mixture, prior, mcmc.get_samples())

    def num_occupied(key, draw):
        labels, _ = sample_labels(mixture, key, draw, jnp.asarray(x), jnp.ones(len(x)))
        return (jnp.bincount(labels, length=mixture.num_components) > 0).sum()

    occupied = jax.vmap(num_occupied)(jax.random.split(jax.random.key(5), num_draws), draws)
    density = log_density_over_draws(mixture, draws, held_out).mean()
    return density, occupied.mean(), mcmc.get_samples()["alpha"].mean()


print(f"{'backend':<14} {'held-out density':>16} {'components':>10} {'alpha':>6} {'seconds':>8}")
for backend in (cavi, memoized_cavi, online, gibbs, numpyro_svi, nuts):
    begin = time.perf_counter()
    density, occupied, alpha = map(float, backend())
    seconds = time.perf_counter() - begin
    print(f"{backend.__name__:<14} {density:16.3f} {occupied:10.1f} {alpha:6.2f} {seconds:8.1f}")
