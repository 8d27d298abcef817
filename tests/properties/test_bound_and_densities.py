"""The bound never falls, and predictive densities integrate to one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdpmm import (
    DirichletProcess,
    GaussianDiagonal,
    GaussianFull,
    GaussianSpherical,
    Mixture,
    cavi,
    compact,
    default_prior,
    fit,
    initialize,
    log_predictive_density,
)
from jaxdpmm.model import Batch

FAMILIES = [GaussianFull, GaussianDiagonal, GaussianSpherical]


def random_points(seed: int, dim: int, num_points: int = 120) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(4, dim)) * random.uniform(0.5, 5)
    return centres[random.integers(0, 4, num_points)] + random.normal(size=(num_points, dim))


@partial(jax.jit, static_argnums=0)
def bounds_of_sweeps(mixture, prior, start, x):
    """The bound after each of 200 sweeps, all in one program."""
    algorithm = cavi(mixture, prior)
    total = jnp.asarray(float(len(x)))
    batch = Batch(x, jnp.ones(len(x)), jnp.asarray(0), jnp.asarray(True), total)

    def sweep(state, key):
        state, info = algorithm.step(key, state, batch)
        return state, info.objective

    keys = jax.random.split(jax.random.key(0), 200)
    return jax.lax.scan(sweep, algorithm.init(start), keys)[1]


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**16),
    family_type=st.sampled_from(FAMILIES),
    infer_concentration=st.booleans(),
)
def test_elbo_never_falls_over_200_sweeps(seed, family_type, infer_concentration):
    x = random_points(seed, dim=2)
    mixture = Mixture(family_type(2), 6, DirichletProcess(infer_concentration))
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(seed), num_iterations=0)
    bounds = bounds_of_sweeps(mixture, prior, start, jnp.asarray(x))
    assert len(bounds) == 200
    assert (np.diff(bounds) >= -1e-9 * np.abs(bounds[1:])).all()


@pytest.mark.parametrize("family_type", FAMILIES)
@pytest.mark.parametrize("dim", [1, 2])
def test_predictive_integrates_to_one(family_type, dim, key):
    x = random_points(1, dim)
    mixture = Mixture(family_type(dim), 4)
    prior = default_prior(mixture, x)
    result = fit(cavi(mixture, prior), x, initialize(mixture, prior, x, key=key))
    # An empty component has the prior's heavy tails, which no grid holds
    mixture, posterior = compact(mixture, prior, result.posterior)
    axis = np.linspace(-60, 60, 120_001 if dim == 1 else 1501)
    grid = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    density = np.exp(log_predictive_density(mixture, posterior, jnp.asarray(grid)))
    total = density.sum() * (axis[1] - axis[0]) ** dim
    np.testing.assert_allclose(total, 1, atol=2e-4)


@pytest.mark.parametrize("family_type", FAMILIES)
def test_one_dimension_is_the_same_for_all_covariances(family_type, key):
    x = random_points(2, dim=1)
    bounds = []
    for each in (GaussianFull, family_type):
        mixture = Mixture(each(1), 4)
        prior = default_prior(mixture, x)._replace(
            component=each(1).prior(jnp.zeros(1), jnp.ones(_shape(each)), 0.1, 3.0)
        )
        start = initialize(mixture, prior, x, key=key)
        bounds.append(fit(cavi(mixture, prior), x, start).history[-1].objective)
    np.testing.assert_allclose(bounds[1], bounds[0], rtol=1e-10)


def _shape(family_type):
    return {GaussianFull: (1, 1), GaussianDiagonal: (1,), GaussianSpherical: ()}[family_type]


@pytest.mark.parametrize("num_points", [4000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_float32_agrees_with_float64_on_tight_clusters(num_points, key):
    """Unit-norm features of 384 dimensions, spread 0.003 within clusters."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(20, 384))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    x = centres[random.integers(0, 20, num_points)] + 0.003 * random.normal(size=(num_points, 384))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    densities = []
    for dtype in (np.float32, np.float64):
        points = x.astype(dtype)
        mixture = Mixture(GaussianDiagonal(384), 20)
        prior = default_prior(mixture, points[:10_000])
        start = initialize(mixture, prior, points, key=key, sample_size=2000)
        result = fit(cavi(mixture, prior), points, start, num_epochs=3)
        assert np.isfinite([epoch.objective for epoch in result.history]).all()
        densities.append(log_predictive_density(mixture, result.posterior, points[::10]))
    assert densities[0].dtype == np.float32
    assert np.isfinite(densities[0]).all()
    difference = densities[0].astype(np.float64) - densities[1]
    assert abs(difference.mean()) < 1e-3
