"""The predictive density over the components whose means are nearest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.scoring import nearest_predictive, predictive, score
from jaxdpmm.scoring.nearest import Nearest


@pytest.fixture(scope="module", params=[jaxdpmm.GaussianFull, jaxdpmm.GaussianSpherical])
def fitted(request):
    """Mixture, posterior and points of six overlapping clusters."""
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3)) + 3 * random.integers(0, 6, size=(300, 1))
    mixture = jaxdpmm.Mixture(request.param(3), 6)
    prior = jaxdpmm.default_prior(mixture, x)
    posterior = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    return mixture, posterior, x


def test_all_components_give_the_predictive_density(fitted):
    mixture, posterior, x = fitted
    found = score(nearest_predictive(mixture, 10), posterior, x)
    np.testing.assert_allclose(found, score(predictive(mixture), posterior, x), rtol=1e-10)


def test_sums_over_the_components_with_the_nearest_means(fitted):
    mixture, posterior, x = fitted
    (means, _), (log_weights, params, offset) = jax.device_get(
        nearest_predictive(mixture).prepare(posterior)
    )
    joint = log_weights + np.asarray(
        mixture.family.log_predictive_matrix(jax.device_put(params), jnp.asarray(x - offset))
    )
    distance = np.linalg.norm(x[:, None] - means, axis=2)
    nearest = np.argsort(distance, axis=1)[:, :2]
    expected = -np.logaddexp.reduce(np.take_along_axis(joint, nearest, axis=1), axis=1)
    found = score(nearest_predictive(mixture, 2), posterior, x)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert np.any(found > -np.logaddexp.reduce(joint, axis=1) + 1e-6)


def test_prepared_are_the_means_and_the_predictive(fitted):
    mixture, posterior, _ = fitted
    prepared = nearest_predictive(mixture).prepare(posterior)
    assert isinstance(prepared, Nearest)
    assert prepared.means.vectors.shape == (6, 3)


def test_no_candidates(fitted):
    with pytest.raises(ValueError, match=r"num_candidates must be at least 1, got 0; the default"):
        nearest_predictive(fitted[0], 0)
