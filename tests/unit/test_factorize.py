"""The factorisation by halves against NumPy, at sizes that halve evenly and not."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm.families.factorize import cholesky_and_inverse


@pytest.mark.parametrize("dim", [1, 24, 25, 50, 101, 384])
def test_factor_and_inverse(dim):
    square = np.random.default_rng(dim).normal(size=(dim + 5, dim))
    matrix = square.T @ square
    lower, inverse = cholesky_and_inverse(jnp.asarray(matrix))
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), atol=1e-11 * dim)
    np.testing.assert_allclose(inverse @ lower, np.eye(dim), atol=1e-11)
    assert np.array_equal(np.triu(inverse, 1), np.zeros((dim, dim)))


def test_indefinite_matrix_gives_nan():
    matrix = jnp.diag(jnp.append(jnp.ones(30), -1.0))
    assert np.isnan(cholesky_and_inverse(matrix)[0]).any()
