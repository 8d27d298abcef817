"""The factorisation by halves against NumPy, at sizes that halve evenly and not."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm.families.factorize import (
    cholesky_and_inverse,
    inverse_factor_product,
    solve_upper_transposed,
)


@pytest.mark.parametrize("dim", [1, 24, 25, 50, 101, 384])
def test_factor_and_inverse(dim):
    square = np.random.default_rng(dim).normal(size=(dim + 5, dim))
    matrix = square.T @ square
    lower, inverse = cholesky_and_inverse(jnp.asarray(matrix))
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), atol=1e-11 * dim)
    np.testing.assert_allclose(inverse @ lower, np.eye(dim), atol=1e-11)
    assert np.array_equal(np.triu(inverse, 1), np.zeros((dim, dim)))


@pytest.mark.parametrize("dim", [1, 25, 101, 160])
def test_products_with_the_inverse_factor(dim):
    generator = np.random.default_rng(dim)
    square = generator.normal(size=(dim + 5, dim))
    matrix, upper = square.T @ square, np.triu(generator.normal(size=(dim, dim)))
    found = inverse_factor_product(jnp.asarray(matrix), jnp.asarray(upper))
    expected = np.linalg.solve(np.linalg.cholesky(matrix).T, upper)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10 * dim)
    assert np.array_equal(np.tril(found, -1), np.zeros((dim, dim)))
    vector, upper = generator.normal(size=dim), upper + 2 * dim * np.eye(dim)
    found = solve_upper_transposed(jnp.asarray(upper), jnp.asarray(vector))
    np.testing.assert_allclose(found, np.linalg.solve(upper.T, vector), rtol=1e-8)


def test_indefinite_matrix_gives_nan():
    matrix = jnp.diag(jnp.append(jnp.ones(30), -1.0))
    assert np.isnan(cholesky_and_inverse(matrix)[0]).any()
