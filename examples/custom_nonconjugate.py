"""A likelihood without a conjugate prior: heavy-tailed clusters, fitted by gradients through NumPyro."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from numpyro.infer.initialization import init_to_value

import jaxdpmm
from jaxdpmm.inference.initialize import k_means
from jaxdpmm.inference.numpyro.families import component_readout
from jaxdpmm.inference.numpyro.svi import draw_readouts, numpyro_model
from jaxdpmm.scoring.uncertainty import drawn, log_density_over_draws, score_over_draws


class Scales(NamedTuple):
    """Hyper-parameters: how far centres spread, and the median width of a cluster."""

    centre: jax.Array
    width: jax.Array


@dataclass(frozen=True)
class HeavyTails(jaxdpmm.families.Likelihood):
    """Student-t with 3 degrees of freedom in every feature."""

    def log_likelihood(self, params, x):
        return jnp.sum(dist.StudentT(3.0, params["centre"], params["width"]).log_prob(x))


@component_readout.register
def _(family: HeavyTails, scales: Scales):  # the prior of K components, any NumPyro code
    centre = numpyro.sample("centre", dist.Normal(0, scales.centre).to_event(1))
    width = numpyro.sample("width", dist.LogNormal(jnp.log(scales.width), 1.0).to_event(1))
    return {"centre": centre, "width": width}


random = np.random.default_rng(0)
centres = np.array([[-6, 0], [0, 6], [6, 0]])
x = centres[random.integers(3, size=1500)] + 0.5 * random.standard_t(3, size=(1500, 2))
x, held_out = np.float32(x[:1000]), np.float32(x[1000:])

K = 6
mixture = jaxdpmm.Mixture(HeavyTails(), num_components=K)
ones = jnp.ones(2, jnp.float32)
prior = jaxdpmm.Prior(Scales(5 * ones, ones), mixture.sticks.default_prior(jnp.float32))

model = numpyro_model(mixture, prior)
labels = k_means(jax.random.key(0), jnp.asarray(x), K)  # where to start
one_hot = jax.nn.one_hot(labels, K)
start = {"centre": one_hot.T @ x / jnp.maximum(one_hot.sum(0), 1)[:, None]}
guide = AutoNormal(model, init_loc_fn=init_to_value(values=start))
svi = SVI(model, guide, optax.adam(0.02), Trace_ELBO())
result = svi.run(jax.random.key(1), 1500, x, progress_bar=False)

samples = guide.sample_posterior(jax.random.key(2), result.params, sample_shape=(50,))
draws = draw_readouts(mixture, prior, samples)
density = log_density_over_draws(mixture, draws, held_out).mean()
far = score_over_draws(drawn(mixture), draws, np.float32([[-6, 0], [20, 20]]))
print(f"svi        held-out log density {density:.3f}")
print(f"score of a centre {far.mean[0]:.1f}, of a point far off {far.mean[1]:.1f}")
