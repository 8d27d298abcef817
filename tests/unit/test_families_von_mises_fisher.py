"""Von Mises-Fisher against SciPy, quadrature and mpmath; then the contract, from 2 to 1,536 dimensions."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats
from scipy import special

from jaxdpmm import (
    Mixture,
    cavi,
    default_prior,
    fit,
    initialize,
    log_predictive_density,
    scoring,
    trees,
)
from jaxdpmm.families import Family, VonMisesFisher
from jaxdpmm.families.sphere import sample_von_mises_fisher
from jaxdpmm.inference import with_moves
from jaxdpmm.testing import check_family


def unit_vector(dim, seed=0):
    vector = np.random.default_rng(seed).standard_normal(dim)
    return jnp.asarray(vector / np.linalg.norm(vector))


def draws(dim, kappa, num_points, seed=1):
    keys = jax.random.split(jax.random.key(seed), num_points)
    of_key = jax.vmap(
        lambda key: sample_von_mises_fisher(key, unit_vector(dim), jnp.asarray(kappa))
    )
    return jax.jit(of_key)(keys)


def posterior(family, prior, x):
    return trees.add(
        prior, jax.tree.map(lambda leaf: leaf.sum(0), jax.vmap(family.sufficient_statistics)(x))
    )


def test_density_is_scipys():
    family, x = VonMisesFisher(5), draws(5, 7.0, 20)
    params = family._params(unit_vector(5), jnp.asarray(7.0))
    ours = jax.vmap(lambda point: family.log_likelihood(params, point))(x)
    theirs = scipy.stats.vonmises_fisher(np.asarray(unit_vector(5)), 7.0).logpdf(np.asarray(x))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("dim", [2, 3, 384, 1536])
def test_normaliser_up_to_large_concentrations(dim):
    family, kappas = VonMisesFisher(dim), [0.1, 10.0, 2000.0, 1e5]
    with mpmath.workdps(60):
        order = mpmath.mpf(dim) / 2 - 1
        expected = [
            float(
                order * mpmath.log(k)
                - mpmath.mpf(dim) / 2 * mpmath.log(2 * mpmath.pi)
                - mpmath.log(mpmath.besseli(order, mpmath.mpf(k)))
                + k
            )
            for k in kappas
        ]
    for dtype, tolerance in ((jnp.float64, 1e-10), (jnp.float32, 1e-5)):
        np.testing.assert_allclose(
            family._scaled_constant(jnp.asarray(kappas, dtype)), expected, rtol=tolerance
        )


@pytest.mark.parametrize(("dim", "kappa"), [(2, 3.0), (3, 50.0), (384, 2000.0), (384, 1e5)])
def test_draws_have_the_right_mean_cosine(dim, kappa):
    cosines = np.asarray(draws(dim, kappa, 4000) @ unit_vector(dim))
    order = dim / 2 - 1
    expected = special.ive(order + 1, kappa) / special.ive(order, kappa)
    assert abs(cosines.mean() - expected) < 5 * cosines.std() / np.sqrt(len(cosines))


@pytest.mark.parametrize("num_points", [0, 1, 30])
@pytest.mark.parametrize("dim", [2, 3])
def test_predictive_density_integrates_to_one(dim, num_points):
    family = VonMisesFisher(dim)
    prior = family.prior(0.6 * unit_vector(dim, 3), 0.7)
    natural = posterior(family, prior, draws(dim, 20.0, num_points)) if num_points else prior
    params = jax.tree.map(lambda leaf: leaf[None], jax.jit(family.predictive_params)(natural))
    mean = np.asarray(params.mean[0])
    other = np.linalg.svd(mean[None])[2][1]
    angles = np.linspace(0, np.pi, 20_001)
    x = jnp.asarray(np.cos(angles)[:, None] * mean + np.sin(angles)[:, None] * other)
    density = np.exp(family.log_predictive_matrix(params, x)[:, 0])
    ring = 2 * np.ones_like(angles) if dim == 2 else 2 * np.pi * np.sin(angles)
    assert np.trapezoid(density * ring, angles) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("dim", "kappa"), [(3, 20.0), pytest.param(384, 2000.0, marks=pytest.mark.slow)]
)
def test_contract(dim, kappa):
    family, x = VonMisesFisher(dim), draws(dim, kappa, 30)
    check_family(family, family.default_prior(x, 5), x, tolerance=1e-6, num_draws=300)


@pytest.mark.parametrize(
    ("dim", "kappa"), [(2, 5.0), pytest.param(1536, 1e5, marks=pytest.mark.slow)]
)
def test_predictive_table_follows_the_exact_density(dim, kappa):
    """Also far from the data, and in float32."""
    family, x = VonMisesFisher(dim), draws(dim, kappa, 30)
    points = jnp.concatenate([x, draws(dim, kappa / 10, 30), -x])
    natural = posterior(family, family.default_prior(x, 5), x)
    exact = jax.jit(jax.vmap(lambda point: Family.log_predictive(family, natural, point)))(points)
    for dtype, near, far in ((jnp.float64, 1e-8, 1e-5), (jnp.float32, 1e-5, 1e-4)):
        cast = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype)[None], natural)
        params = jax.jit(jax.vmap(family.predictive_params))(cast)
        found = np.asarray(
            family.log_predictive_matrix(params, points.astype(dtype))[:, 0], np.float64
        )
        error = np.abs(found - exact) / np.maximum(1, np.abs(exact).max())
        assert error[:30].max() < near
        assert error.max() < far


def test_posterior_finds_concentration_and_mean():
    family, x = VonMisesFisher(50), draws(50, 300.0, 2000)
    params = jax.jit(family.point_params)(posterior(family, family.default_prior(x, 1), x))
    assert float(params.concentration) == pytest.approx(300, rel=0.03)
    assert float(params.mean @ unit_vector(50)) > 0.999
    assert float(jnp.linalg.norm(params.mean)) == pytest.approx(1)


def test_prior_without_direction_is_uniform_with_finite_gradient():
    family = VonMisesFisher(4)
    natural = family.prior(jnp.zeros(4), 1.0)
    assert all(
        np.isfinite(leaf).all()
        for leaf in jax.tree.leaves(jax.jit(family.expected_natural)(natural))
    )
    params = jax.tree.map(lambda leaf: leaf[None], jax.jit(family.predictive_params)(natural))
    found = family.log_predictive_matrix(params, draws(4, 1.0, 10))
    np.testing.assert_allclose(found, family._log_uniform_density, rtol=1e-9)


def test_mixture_of_directions_and_cosine_score(key):
    dim = 16
    centres = np.stack([unit_vector(dim, seed) for seed in range(3)])
    keys = jax.random.split(key, 300)
    labels = np.arange(300) % 3
    x = np.asarray(
        jax.jit(jax.vmap(lambda k, mean: sample_von_mises_fisher(k, mean, jnp.asarray(80.0))))(
            keys, jnp.asarray(centres[labels])
        )
    )
    mixture = Mixture(VonMisesFisher(dim), 6)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=key)
    algorithm = with_moves(cavi(mixture, prior), ["merge"])
    result = fit(algorithm, x, start, num_epochs=30, patience=3)
    objectives = [epoch.objective for epoch in result.history]
    assert np.all(np.diff(objectives) > -1e-6)
    assert result.history[-1].num_active == 3
    scores = scoring.score(scoring.cosine(mixture), result.posterior, np.concatenate([x, -x]))
    assert scores[:300].max() < scores[300:].min()
    density = log_predictive_density(mixture, result.posterior, np.concatenate([x, -x]))
    assert density[:300].min() > density[300:].max()


def test_errors():
    with pytest.raises(
        ValueError, match=r"dim must be at least 2 for directions, got 1; use a Gaussian"
    ):
        VonMisesFisher(1)
    with pytest.raises(
        ValueError, match=r"0 < min_concentration < max_concentration.*got 5.0, 1.0 and 512"
    ):
        VonMisesFisher(3, 5.0, 1.0)
    with pytest.raises(
        ValueError,
        match=r"rows of norm one for VonMisesFisher, got norms up to 1 away.*divide each",
    ):
        VonMisesFisher(3).default_prior(2 * draws(3, 1.0, 5), 2)
