"""Distance to the nearest tangent space, against the formula in NumPy and a curved sheet whose distance is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.model import active_components
from jaxdpmm.scoring import component_means, residual, score


def sheet(num_points, height, seed):
    """Points over the half cylinder x^2 + y^2 = 25, y > 0, turned into eight dimensions, and noise of 0.01."""
    random = np.random.default_rng(seed)
    angle = np.pi * random.uniform(0.1, 0.9, num_points)
    radius = 5 + height
    x = np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), random.uniform(-3, 3, num_points)]
    )
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    return x.T @ rotation[:3] + 2 + 0.01 * random.normal(size=(num_points, 8))


@pytest.fixture(scope="module")
def fitted():
    x = sheet(4_000, 0, 0)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianLowRank(8, 2), 60)
    prior = jaxdpmm.default_prior(mixture, x)
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0), start="coverage")
    algorithm = jaxdpmm.cavi(mixture, prior)
    return mixture, jaxdpmm.fit(algorithm, x, start, num_epochs=10).posterior


def of_formula(mixture, posterior, x, num_nearest, noise):
    """The docstring's r(x), component by component."""
    loadings, variances = jax.vmap(mixture.family.loadings_and_noise)(posterior.components)
    counts = np.where(active_components(posterior), posterior.counts, 0)
    if noise is None:
        noise = np.average(np.mean(variances, axis=1), weights=counts)
    means = np.asarray(component_means(mixture, posterior))
    found = []
    for point in x:
        nearest = np.argsort(np.linalg.norm(means - point, axis=1))[:num_nearest]
        covariances = [loadings[k] @ loadings[k].T + noise * np.eye(8) for k in nearest]
        found.append(
            min(
                noise * (point - means[k]) @ np.linalg.solve(covariance, point - means[k])
                for k, covariance in zip(nearest, covariances, strict=True)
            )
        )
    return np.array(found)


@pytest.mark.parametrize("num_nearest", [1, 4])
@pytest.mark.parametrize("noise", [None, 0.5])
def test_is_the_formula(fitted, num_nearest, noise):
    x = sheet(20, 0.3, 5)
    found = score(residual(fitted[0], num_nearest, noise), fitted[1], x)
    np.testing.assert_allclose(found, of_formula(*fitted, x, num_nearest, noise), rtol=1e-9)


@pytest.mark.parametrize("height", [0.5, 1.0, 2.0])
def test_is_the_squared_distance_to_a_sheet(fitted, height):
    """Within 5 %, where the distance to the nearest mean is five times as wrong."""
    x = sheet(200, height, 7)
    found = np.sqrt(score(residual(fitted[0], 1, noise=0.0), fitted[1], x))
    np.testing.assert_allclose(np.median(found), height, rtol=0.05)
    to_means = score(jaxdpmm.scoring.euclidean(fitted[0]), fitted[1], x)
    assert abs(np.median(found) - height) < 0.2 * abs(np.median(to_means) - height)


def test_grows_with_the_noise_from_the_tangent_space_to_the_mean(fitted):
    x = sheet(50, 0.5, 3)
    values = [score(residual(fitted[0], 1, noise), fitted[1], x) for noise in (0.0, 0.01, 1.0, 1e9)]
    assert all(np.all(more >= less - 1e-9) for less, more in itertools.pairwise(values))
    means = np.asarray(component_means(*fitted))
    nearest = np.linalg.norm(x[:, None] - means, axis=2).min(axis=1) ** 2
    np.testing.assert_allclose(values[-1], nearest, rtol=1e-6)


def test_single_precision_of_patch_like_features(fitted):
    mixture, posterior = fitted
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), posterior)
    x = sheet(100, 0.5, 3)
    found = score(residual(mixture), single, x.astype(np.float32))
    np.testing.assert_allclose(found, score(residual(mixture), posterior, x), rtol=1e-3)


def test_components_without_data_are_never_the_nearest(fitted):
    x = sheet(50, 0, 2)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianLowRank(8, 2), 70)
    prior = jaxdpmm.default_prior(mixture, x)
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0), start="coverage")
    away = x + 100
    few = jaxdpmm.compact(mixture, prior, start)
    assert few[0].num_components <= 50
    found = score(residual(mixture), start, away)
    np.testing.assert_allclose(found, score(residual(few[0]), few[1], away), rtol=1e-9)


def test_one_sentence_of_what_cannot_be(fitted):
    with pytest.raises(TypeError, match=r"score 'residual' needs the family GaussianLowRank, got"):
        residual(jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(8), 3))
    with pytest.raises(
        ValueError, match=r"num_nearest must be at least 1, got 0; the default is 4"
    ):
        residual(fitted[0], 0)
    with pytest.raises(ValueError, match=r"noise must be a variance of at least 0, got -1"):
        residual(fitted[0], noise=-1)
