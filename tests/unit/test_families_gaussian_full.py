"""Statistics of the full covariance, which leave out the points that a component has no part in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdpmm import GaussianFull
from jaxdpmm.families.gaussian_full import BLOCK, LEAST_SHARE, ROWS

DIM = BLOCK + 2


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2 * ROWS + 37, DIM))


def responsibilities(kind: str, num_points: int) -> np.ndarray:
    """One-hot, all equal, or one-hot but for shares that rounding swallows."""
    one_hot = np.eye(3)[np.random.default_rng(1).integers(3, size=num_points)]
    one_hot[:, 2] *= 0  # a component without points
    return {"one-hot": one_hot, "equal": np.full((num_points, 3), 1 / 3), "tiny": one_hot + 1e-300}[
        kind
    ]


@pytest.mark.parametrize("kind", ["one-hot", "equal", "tiny"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scatter_is_that_of_all_points(x, kind, dtype):
    weights = responsibilities(kind, len(x))
    of = jax.jit(GaussianFull(DIM).weighted_statistics)
    found = of(jnp.asarray(x, dtype), jnp.asarray(weights, dtype))
    expected = np.einsum("nk,ni,nj->kij", weights, x, x)
    tolerance = 1e-10 if dtype == np.float64 else 2e-3
    np.testing.assert_allclose(found.second, expected, rtol=0, atol=tolerance)
    assert found.second.dtype == dtype
    np.testing.assert_allclose(found.second, np.swapaxes(found.second, 1, 2), atol=tolerance)


def test_a_component_of_small_shares_only_loses_nothing(x):
    """What counts is how a share compares with the component's largest, not with one."""
    weights = np.full((len(x), 1), 1e-12)
    found = GaussianFull(DIM).weighted_statistics(jnp.asarray(x), jnp.asarray(weights)).second[0]
    np.testing.assert_allclose(found, 1e-12 * x.T @ x, atol=1e-22)


@pytest.mark.parametrize("num_points", [2, 5, 50])
def test_prior_correlations_are_shrunk_as_scikit_learn_does(num_points):
    """With fewer than ten points per feature; with more they are the data's but for rounding."""
    peer = pytest.importorskip("sklearn.covariance")
    random = np.random.default_rng(0)
    x = random.normal(size=(num_points, 6)) * np.array([5, 3, 1, 1, 0.3, 0.1])
    scale = np.sqrt(np.mean(x**2, axis=0))
    correlation, _ = peer.oas(x / scale, assume_centered=True)
    expected = correlation * np.outer(scale, scale)
    np.testing.assert_allclose(GaussianFull(6).covariance(jnp.asarray(x)), expected, rtol=1e-10)


def test_prior_covariance_of_many_points_is_theirs_but_for_a_thousandth_of_correlations():
    x = np.random.default_rng(0).normal(size=(60, 6)) * np.array([5, 3, 1, 1, 0.3, 0.1])
    found = GaussianFull(6).covariance(jnp.asarray(x))
    expected = x.T @ x / 60 * (1 - LEAST_SHARE * (1 - np.eye(6)))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_prior_covariance_of_constant_points_is_positive():
    found = GaussianFull(3).covariance(jnp.zeros((4, 3)))
    assert np.all(np.linalg.eigvalsh(found) > 0)


def test_a_drawn_precision_has_the_factor_of_bartlett(x):
    """L' times the factor of the precision: chi on the diagonal, independent normals above, nothing below."""
    family = GaussianFull(DIM)
    covariance = np.cov(x.T)
    natural = family.prior(jnp.zeros(DIM), jnp.asarray(covariance), 1.0, DIM + 5.0)
    params = jax.jit(family.sample_params)(jax.random.key(3), natural)
    found = np.linalg.cholesky((DIM + 5) * covariance).T @ np.asarray(params.precision_factor)
    assert np.max(np.abs(np.tril(found, -1))) < 1e-10
    above = found[np.triu_indices(DIM, 1)]
    assert len(np.unique(above)) == len(above)
    assert stats.kstest(above, "norm").pvalue > 0.01
    degrees = DIM + 5 - np.arange(DIM - 1, -1, -1)
    assert stats.kstest(stats.chi2.cdf(np.diag(found) ** 2, degrees), "uniform").pvalue > 0.01
