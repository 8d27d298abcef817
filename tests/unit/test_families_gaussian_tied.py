"""One covariance for all components: the best q that shares it, an exact bound, an E-step of one product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import (
    GaussianFull,
    GaussianTied,
    Mixture,
    cavi,
    default_prior,
    fit,
    gibbs,
    initialize,
    memoized,
    stochastic,
)
from jaxdpmm.inference import with_moves
from jaxdpmm.model import centre, expected_readout
from jaxdpmm.scoring import SCORERS, score
from jaxdpmm.testing import check_algorithm

D, K, N = 3, 3, 3000
SHARED = np.array([[2.0, 1.2, 0.0], [1.2, 1.0, 0.1], [0.0, 0.1, 0.2]])


@pytest.fixture(scope="module")
def x():
    """Three clusters of one covariance, of 2000, 800 and 200 points."""
    random = np.random.default_rng(0)
    centres = np.repeat(8 * np.eye(3), (2000, 800, 200), axis=0)
    return centres + random.multivariate_normal(np.zeros(D), SHARED, size=N)


@pytest.fixture(scope="module")
def problem(x):
    mixture = Mixture(GaussianTied(D), K)
    prior = default_prior(mixture, x)
    return mixture, prior, initialize(mixture, prior, x, key=jax.random.key(0))


@pytest.fixture(scope="module")
def fitted(problem, x):
    mixture, prior, start = problem
    return fit(cavi(mixture, prior), x, start, num_epochs=30)


def random_components(seed):
    """Naturals of five components with means, counts and scales of their own."""
    random = np.random.default_rng(seed)
    points = random.normal(size=(5, 20, D)) + random.normal(size=(5, 1, D))
    family = GaussianFull(D)
    prior = family.prior(jnp.zeros(D), jnp.eye(D), 0.5, D + 2.0)
    weights = random.random((5, 20))
    return jax.vmap(
        lambda x, w: jax.tree.map(
            lambda leaf, statistic: leaf + jnp.tensordot(w, statistic, 1),
            prior,
            jax.vmap(family.sufficient_statistics)(x),
        )
    )(jnp.asarray(points), jnp.asarray(weights))


def test_no_other_shared_covariance_is_nearer():
    """The sum of KL(q_k || given_k) at `restrict` against that of other scales and degrees of freedom."""
    family, given = GaussianTied(D), random_components(0)
    best = family.restrict(given)
    scale = (
        best.second
        - jnp.einsum("ki,kj->kij", best.first, best.first) / best.mean_count[:, None, None]
    )
    np.testing.assert_allclose(scale, jnp.broadcast_to(scale[:1], scale.shape), atol=1e-12)

    def distance(change, factor):
        second = best.second + change[None]
        moved = best._replace(second=second, dof=best.dof * factor)
        return float(jnp.sum(jax.vmap(family.kl_divergence)(moved, given)))

    least = distance(jnp.zeros((D, D)), 1.0)
    random = np.random.default_rng(1)
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(10):
            change = random.normal(size=(D, D))
            change = jnp.asarray(size * (change + change.T))
            assert distance(change, 1 + size * random.normal() / 10) > least


def test_restricting_twice_changes_nothing():
    best = GaussianTied(D).restrict(random_components(2))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        best,
        GaussianTied(D).restrict(best),
    )


def test_the_shared_covariance_is_found(fitted):
    components = fitted.posterior.components
    readout = jax.vmap(GaussianFull(D).point_params)(components)
    factor = np.asarray(readout.precision_factor[0])
    np.testing.assert_allclose(np.linalg.inv(factor @ factor.T), SHARED, atol=0.1)
    np.testing.assert_allclose(sorted(fitted.posterior.counts), [200, 800, 2000], atol=1)


@pytest.mark.parametrize("backend", [cavi, memoized])
def test_the_bound_is_exact_and_never_falls(problem, x, backend):
    mixture, prior, start = problem
    history = fit(backend(mixture, prior), x, start, num_epochs=12, tolerance=0).history
    bounds = [epoch.objective for epoch in history]
    assert (np.diff(bounds) > -1e-9).all()
    full = Mixture(GaussianFull(D), K)
    free = fit(cavi(full, prior), x, start, num_epochs=30).history[-1].objective
    assert bounds[-1] < free  # sharing restricts q, so that the bound is lower


@pytest.mark.parametrize("backend", [cavi, memoized, stochastic])
def test_backends_keep_their_contract(problem, x, backend):
    mixture, prior, _ = problem
    check_algorithm(backend, mixture, prior, x[::60])


def test_moves_join_what_is_too_many(problem, x):
    _, prior, _ = problem
    mixture = Mixture(GaussianTied(D), 6)
    start = initialize(mixture, prior, x, key=jax.random.key(1))
    result = fit(with_moves(cavi(mixture, prior), ["merge"]), x, start, num_epochs=20)
    assert result.history[-1].num_active == 3


def test_squared_distances_are_those_of_full_covariance(problem, fitted, x):
    mixture, _, _ = problem
    full = Mixture(GaussianFull(D), K)
    params = expected_readout(mixture, fitted.posterior).params
    points = centre(jnp.asarray(x), fitted.posterior.offset)
    np.testing.assert_allclose(
        GaussianTied(D).squared_distance_matrix(params, points),
        GaussianFull(D).squared_distance_matrix(params, points),
        rtol=1e-9,
    )
    for name in SCORERS.keys() - {"residual"}:  # which is of loadings
        ours, theirs = (score(SCORERS[name](m), fitted.posterior, x) for m in (mixture, full))
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9, err_msg=name)


def test_gibbs_says_that_components_are_not_independent(problem, x):
    mixture, prior, start = problem
    with pytest.raises(TypeError, match=r"GaussianTied cannot be sampled: .* use GaussianFull"):
        fit(gibbs(mixture, prior), x, start, key=jax.random.key(0))
