"""Many short Gibbs chains at once: what the tests of the sampler share."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdpmm.inference.base import Layout
from jaxdpmm.model import Batch


def one_batch(x) -> Batch:
    """All points in one batch."""
    x = jnp.asarray(x)
    ones = jnp.ones(x.shape[0], x.dtype)
    return Batch(x, ones, jnp.asarray(0), jnp.asarray(True), jnp.sum(ones))


def run_chains(algorithm, start, x, key, num_chains, num_sweeps, observe):
    """`observe(state)` of every sweep of independent chains, leaves (num_chains, num_sweeps, ...)."""
    batch = one_batch(x)
    state = algorithm.init(start, Layout(1, batch.x.shape[0]))

    def of_chain(key):
        def sweep(state, key):
            state, _ = algorithm.step(key, state, batch)
            return state, observe(state)

        return jax.lax.scan(sweep, state, jax.random.split(key, num_sweeps))[1]

    return jax.jit(jax.vmap(of_chain))(jax.random.split(key, num_chains))


def z_score(draws, exact) -> np.ndarray:
    """Distance of the mean over independent chains (axis 0) from `exact`, in standard errors."""
    draws = np.asarray(draws, float)
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    return np.abs(draws.mean(axis=0) - exact) / np.maximum(error, 1e-12)
