"""Squared distances by one product, against SciPy's differences."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxdpmm.distances import nearest_centres, relative_squares, squared_distances, squared_norms

X = np.random.default_rng(0).normal(size=(200, 7))
CENTRES = X[::20] + 0.1


@pytest.mark.parametrize("given", [False, True])
def test_squares_are_those_of_differences(given):
    norms = (squared_norms(jnp.asarray(X)), squared_norms(jnp.asarray(CENTRES))) if given else ()
    found = squared_distances(jnp.asarray(X), jnp.asarray(CENTRES), *norms)
    np.testing.assert_allclose(found, cdist(X, CENTRES) ** 2, rtol=1e-12, atol=1e-13)


def test_a_point_is_never_at_a_negative_distance_from_itself():
    far = jnp.asarray(X + 1e3, jnp.float32)
    found = squared_distances(far, far)
    assert found.min() == 0
    assert float(jnp.max(jnp.diagonal(found))) < 8 * 7e6 * np.finfo(np.float32).eps


def test_what_is_left_out_is_the_same_for_every_centre():
    x, centres = jnp.asarray(X), jnp.asarray(CENTRES)
    rest = cdist(X, CENTRES) ** 2 - relative_squares(x, centres)
    np.testing.assert_allclose(rest, np.repeat((X**2).sum(1)[:, None], 10, axis=1), rtol=1e-12)
    np.testing.assert_array_equal(nearest_centres(x, centres), cdist(X, CENTRES).argmin(1))


def test_an_infinite_norm_leaves_a_centre_out():
    norms = squared_norms(jnp.asarray(CENTRES)).at[3].set(jnp.inf)
    chosen = jnp.argmin(relative_squares(jnp.asarray(X), jnp.asarray(CENTRES), norms), axis=1)
    distances = cdist(X, CENTRES)
    assert (distances.argmin(1) == 3).any()
    distances[:, 3] = np.inf
    np.testing.assert_array_equal(chosen, distances.argmin(1))
