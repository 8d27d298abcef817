"""Fits whose programs factorise several batches of matrices at once, on a few cores; as a script only.

python pinned_fits.py NUM_CORES TIMES NAME[,NAME...]
"""

import os
import sys

if __name__ == "__main__":  # before JAX counts the cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])

import jax
import jax.numpy as jnp
import numpy as np

import jaxdpmm
from jaxdpmm.families import GaussianLowRank
from jaxdpmm.families.factorize import cholesky_and_inverse, solve_upper_transposed
from jaxdpmm.inference import fit, fit_adaptive
from jaxdpmm.inference.backends import label_switching, split_merge
from jaxdpmm.inference.backends.gibbs import gibbs
from jaxdpmm.inference.backends.memoized import memoized

DIM = 24
GENERATOR = np.random.default_rng(0)
LEVELS = 3 * GENERATOR.integers(0, 8, size=(1500, 1))
X = (GENERATOR.normal(size=(1500, DIM)) + LEVELS).astype(np.float32)


def batches():
    """Six independent batches of blocks in one program, run often: what every fit below does by and by."""
    matrices = [jnp.broadcast_to(k * jnp.eye(DIM) + 0.1, (512, DIM, DIM)) for k in range(1, 7)]

    @jax.jit
    def factorise(matrices):
        factors = [jax.vmap(cholesky_and_inverse)(matrix)[1] for matrix in matrices]
        upper = [jnp.swapaxes(factor, 1, 2) for factor in factors]
        return [jax.vmap(solve_upper_transposed)(factor, factor[:, :, -1]) for factor in upper]

    for _ in range(30):
        jax.block_until_ready(factorise(matrices))


def problem(family, num_components, num_in_prior=12):
    """Mixture, prior and start."""
    mixture = jaxdpmm.Mixture(family, num_components)
    prior = jaxdpmm.default_prior(jaxdpmm.Mixture(family, num_in_prior), X)
    return mixture, prior, jaxdpmm.initialize(mixture, prior, X, key=jax.random.key(0))


def births():
    """Births, merges and deletions of full covariances."""
    mixture, prior, start = problem(jaxdpmm.GaussianFull(DIM), 1)
    settings = {"backend": memoized, "batch_size": 500, "key": jax.random.key(3)}
    fit_adaptive(mixture, prior, X, start, num_epochs=25, **settings)


def births_of_low_rank():
    """The same with factors."""
    mixture, prior, start = problem(GaussianLowRank(DIM, 8), 2)
    fit_adaptive(mixture, prior, X, start, key=jax.random.key(3), num_epochs=12)


def full():
    """Sweeps of full covariances, two blocks each."""
    family = jaxdpmm.ProductFamily(
        (
            jaxdpmm.Block("first", jaxdpmm.GaussianFull(DIM // 2)),
            jaxdpmm.Block("second", jaxdpmm.GaussianFull(DIM // 2)),
        )
    )
    mixture, prior, start = problem(family, 30)
    result = fit(jaxdpmm.cavi(mixture, prior), X, start, num_epochs=20, tolerance=0.0)
    jaxdpmm.log_predictive_density(mixture, result.posterior, X)


def gibbs_with_moves():
    """Sweeps that draw, and moves on their labels."""
    mixture, prior, start = problem(jaxdpmm.GaussianFull(DIM), 30)
    moves = (label_switching(), split_merge())
    sampler = gibbs(mixture, prior, moves=moves)
    fit(sampler, X, start, key=jax.random.key(1), num_epochs=30, tolerance=0.0)


def numpyro_sites():
    """Gradients through NumPyro's model and a guide of conjugate form."""
    import optax
    from numpyro.infer import SVI, TraceMeanField_ELBO

    from jaxdpmm.inference.numpyro.svi import numpyro_model, structured_guide, to_posterior

    mixture, prior, start = problem(jaxdpmm.GaussianFull(DIM), 30)
    model, guide = numpyro_model(mixture, prior), structured_guide(mixture, prior, start)
    svi = SVI(model, guide, optax.adam(0.001), TraceMeanField_ELBO())
    result = svi.run(jax.random.key(0), 20, X, progress_bar=False)
    to_posterior(mixture, prior, result.params, X)


CASES = {
    "batches": batches,
    "births": births,
    "low-rank": births_of_low_rank,
    "full": full,
    "gibbs": gibbs_with_moves,
    "numpyro": numpyro_sites,
}


def main(num_cores, times, names):
    """Run each case so many times."""
    assert len(os.sched_getaffinity(0)) == min(int(num_cores), os.cpu_count())
    for name in names.split(","):
        for _ in range(int(times)):
            CASES[name]()
        print(name, "ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
