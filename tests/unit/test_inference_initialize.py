"""The prior from clusters: the spread of points about their own centre, and not about everyone's."""

import chex
import jax
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.families import VonMisesFisher
from jaxdpmm.inference import ArraySource, clustered_prior

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Four clusters of unit variance, 20 apart."""
    random = np.random.default_rng(0)
    return random.normal(size=(2_000, 3)) + 20 * random.integers(0, 4, size=(2_000, 1))


@pytest.mark.parametrize("family", [jaxdpmm.GaussianFull, jaxdpmm.GaussianDiagonal])
def test_covariance_is_that_within_clusters(points, family):
    mixture = jaxdpmm.Mixture(family(3), 4)
    prior = clustered_prior(mixture, points, key=KEY)
    component = prior.component
    variances = np.asarray(component.second / component.dof)
    variances = np.diag(variances) if variances.ndim == 2 else variances
    np.testing.assert_allclose(variances, 1, rtol=0.1)
    np.testing.assert_allclose(prior.offset, points.mean(axis=0), rtol=1e-6)


def test_one_component_is_the_default_prior(points):
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianFull(3), 1)
    expected = jaxdpmm.default_prior(mixture, points)
    found = clustered_prior(mixture, points, key=KEY)
    chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-9)


def test_takes_a_source_of_batches(points):
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianFull(3), 4)
    source = ArraySource(points, mixture.family, batch_size=500)
    component = clustered_prior(mixture, source, key=KEY, sample_size=1_000).component
    np.testing.assert_allclose(np.diag(component.second / component.dof), 1, rtol=0.15)


def test_fewer_points_than_components(points):
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianFull(3), 4)
    with pytest.raises(ValueError, match=r"num_components must not exceed.*4 components for 3"):
        clustered_prior(mixture, points[:3], key=KEY)


def test_a_family_that_is_not_gaussian(points):
    mixture = jaxdpmm.Mixture(VonMisesFisher(3), 4)
    with pytest.raises(TypeError, match=r"mixture must have Gaussian components, got VonMisesF"):
        clustered_prior(mixture, points, key=KEY)
