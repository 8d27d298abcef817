"""Fits do not depend on the units of the features: a default prior and a start follow scaling and rotation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm import GaussianDiagonal, GaussianFull, GaussianSpherical, Mixture
from jaxdpmm.families import GaussianLowRank
from jaxdpmm.families.gaussian_full import LEAST_SHARE

GENERATOR = np.random.default_rng(0)
CENTRES = np.array([[0, 0, 0], [8, 0, -8], [0, 8, 8]])
X = CENTRES[np.arange(300) % 3] + GENERATOR.normal(size=(300, 3))
TEST = CENTRES[np.arange(60) % 3] + GENERATOR.normal(size=(60, 3))
ROTATION = np.linalg.qr(GENERATOR.normal(size=(3, 3)))[0]
FAMILIES = {
    "diagonal": GaussianDiagonal(3),
    "full": GaussianFull(3),
    "low-rank": GaussianLowRank(3, 1),
    "spherical": GaussianSpherical(3),
}


def fitted(family, x, test):
    """Log densities, labels of the test points, number of components."""
    mixture = Mixture(family, 6)
    prior = jaxdpmm.default_prior(mixture, x)
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    result = jaxdpmm.fit(jaxdpmm.cavi(mixture, prior), x, start, num_epochs=15, tolerance=0.0)
    readout = jaxdpmm.model.expected_readout(mixture, result.posterior)
    labels = np.argmax(jaxdpmm.model.log_joint(mixture, readout, jnp.asarray(test)), axis=1)
    density = jaxdpmm.log_predictive_density(mixture, result.posterior, test)
    return np.asarray(density), labels, result.history[-1].num_active


@pytest.mark.parametrize("name", ["diagonal", "full"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-7), (np.float32, 5e-3)])
def test_fits_follow_scaling(name, dtype, tolerance):
    scale = np.array([1e6, 1.0, 1e-6])
    x, test = X.astype(dtype), TEST.astype(dtype)
    density, labels, number = fitted(FAMILIES[name], x, test)
    scaled = fitted(FAMILIES[name], (x * scale).astype(dtype), (test * scale).astype(dtype))
    np.testing.assert_allclose(scaled[0] + np.log(scale).sum(), density, atol=tolerance)
    assert np.array_equal(scaled[1], labels)
    assert scaled[2] == number


@pytest.mark.parametrize("name", ["full", "spherical"])
def test_prior_follows_rotation(name):
    """All that full covariance takes from correlations of so many points is LEAST_SHARE, twice here."""
    found = FAMILIES[name].covariance(jnp.asarray((X - X.mean(0)) @ ROTATION))
    covariance = np.asarray(FAMILIES[name].covariance(jnp.asarray(X - X.mean(0))))
    expected = ROTATION.T @ covariance @ ROTATION if covariance.ndim else covariance
    allowed = 2 * LEAST_SHARE * np.max(covariance) if covariance.ndim else 1e-9
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("name", ["diagonal", "full", "low-rank"])
@pytest.mark.parametrize("num_points", [4, 300])
def test_prior_follows_scaling(name, num_points):
    scale = np.array([1e6, 1.0, 1e-6])
    x = X[:num_points] - X[:num_points].mean(0)
    found = FAMILIES[name].covariance(jnp.asarray(x * scale))
    covariance = np.asarray(FAMILIES[name].covariance(jnp.asarray(x)))
    factor = np.outer(scale, scale) if covariance.ndim == 2 else scale**2
    np.testing.assert_allclose(found, covariance * factor, rtol=1e-9)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_constant_features_and_equal_points_have_a_variance(name):
    """And constant features change nothing of the others' variances."""
    family = FAMILIES[name]
    constant = X * np.array([1.0, 1.0, 0.0]) + 0.1
    centred = constant - np.asarray(family.reference_point(jnp.asarray(constant)))
    assert np.all(centred[:, 2] == 0)
    found = np.asarray(family.covariance(jnp.asarray(centred)))
    assert np.isfinite(found).all()
    if found.ndim:
        variances = np.diagonal(found) if found.ndim == 2 else found
        np.testing.assert_allclose(variances[:2], np.var(X[:, :2], axis=0))
        np.testing.assert_allclose(variances[2], 1e-6 * np.sqrt(np.prod(variances[:2])))
    equal = np.asarray(family.covariance(jnp.zeros((5, 3))))
    np.testing.assert_allclose(equal, np.eye(3) if equal.ndim == 2 else np.ones(equal.shape))


def test_single_and_double_precision_have_one_prior():
    """Also of data that are all but flat, where what is taken from correlations decides the narrow direction."""
    flat = (X - X.mean(0)) @ np.diag([1, 1, 1e-4]) @ ROTATION
    double, single = (
        np.linalg.eigvalsh(FAMILIES["full"].covariance(jnp.asarray(flat, dtype)))
        for dtype in (np.float64, np.float32)
    )
    np.testing.assert_allclose(single, double, rtol=5e-3)
