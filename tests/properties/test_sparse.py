"""Sparse and candidate E-steps: equal to the dense one where they keep all, and a rising bound where not."""

import jax
import numpy as np
import pytest

from jaxdpmm import (
    GaussianDiagonal,
    GaussianFull,
    GaussianSpherical,
    Mixture,
    cavi,
    default_prior,
    fit,
    initialize,
)
from jaxdpmm.grouping import group_by_component
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.stochastic import robbins_monro, stochastic
from jaxdpmm.inference.local_steps.sparse import candidates, sparse

K = 8


def problem(family_type, key, num_points=300):
    random = np.random.default_rng(3)
    centres = 4 * random.normal(size=(5, 3))
    x = centres[random.integers(0, 5, num_points)] + random.normal(size=(num_points, 3))
    mixture = Mixture(family_type(3), K)
    prior = default_prior(mixture, x)
    return x, mixture, prior, initialize(mixture, prior, x, key=key)


def objectives(algorithm, x, start, **options):
    result = fit(algorithm, x, start, tolerance=0.0, num_epochs=12, **options)
    return np.array([epoch.objective for epoch in result.history])


@pytest.mark.parametrize("family_type", [GaussianFull, GaussianDiagonal, GaussianSpherical])
@pytest.mark.parametrize("local_step", [sparse(2 * K), candidates(K, K)])
def test_keeping_all_components_is_dense(family_type, local_step, key):
    x, mixture, prior, start = problem(family_type, key)
    dense = objectives(cavi(mixture, prior), x, start)
    restricted = objectives(cavi(mixture, prior, local_step), x, start)
    np.testing.assert_allclose(restricted, dense, rtol=1e-10)


@pytest.mark.parametrize("make", [cavi, memoized])
@pytest.mark.parametrize("local_step", [sparse(1), candidates(4, 2)])
def test_restricted_bound_never_falls(make, local_step, key):
    x, mixture, prior, start = problem(GaussianFull, key)
    bounds = objectives(make(mixture, prior, local_step), x, start, batch_size=77)
    assert (np.diff(bounds) > -1e-8 * np.abs(bounds[1:])).all()


def test_restricted_bound_is_below_the_dense_one_of_the_same_posterior(key):
    x, mixture, prior, start = problem(GaussianDiagonal, key)
    dense = objectives(cavi(mixture, prior), x, start)[0]
    assert objectives(cavi(mixture, prior, sparse(1)), x, start)[0] < dense


def test_memoized_with_one_batch_is_cavi(key):
    x, mixture, prior, start = problem(GaussianFull, key)
    np.testing.assert_allclose(
        objectives(memoized(mixture, prior), x, start),
        objectives(cavi(mixture, prior), x, start),
        rtol=1e-10,
    )


def test_memoized_reaches_the_optimum_of_cavi(key):
    x, mixture, prior, start = problem(GaussianFull, key)
    ours = fit(memoized(mixture, prior), x, start, tolerance=1e-9, num_epochs=300, batch_size=60)
    theirs = fit(cavi(mixture, prior), x, start, tolerance=1e-9, num_epochs=300)
    np.testing.assert_allclose(ours.history[-1].objective, theirs.history[-1].objective, rtol=1e-3)


def test_memoized_total_is_the_sum_of_its_batches(key):
    x, mixture, prior, start = problem(GaussianFull, key)
    state = fit(memoized(mixture, prior), x, start, num_epochs=5, batch_size=60).state
    for total, batches in zip(
        jax.tree.leaves(state.total), jax.tree.leaves(state.batches), strict=True
    ):
        np.testing.assert_allclose(total, batches.sum(0), rtol=1e-9, atol=1e-9)


def test_stochastic_with_steps_of_one_is_cavi(key):
    x, mixture, prior, start = problem(GaussianFull, key)
    np.testing.assert_allclose(
        objectives(stochastic(mixture, prior, lambda step: 1.0), x, start),
        objectives(cavi(mixture, prior), x, start),
        rtol=1e-9,
    )


def test_groups_hold_every_pair_once_in_blocks_of_its_component():
    component = np.random.default_rng(0).integers(0, 7, 500)
    groups = group_by_component(jax.numpy.asarray(component), 9, block_size=16)
    pairs, owner = np.asarray(groups.pairs), np.asarray(groups.component)
    is_pair = pairs < 500
    assert sorted(pairs[is_pair]) == list(range(500))
    for block in range(int(groups.num_used)):
        members = pairs[block][is_pair[block]]
        assert len(members) > 0
        assert (component[members] == owner[block]).all()
    assert not is_pair[int(groups.num_used) :].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sparse(0), "num_kept must be a whole number of at least 1, got 0"),
        (lambda: candidates(2, 3), "num_candidates must be at least num_kept = 3, got 2; use 12"),
        (lambda: robbins_monro(1.0, 0.4), r"forgetting in \(0.5, 1\], got 1.0 and 0.4"),
    ],
)
def test_bad_settings_are_explained(make, message):
    with pytest.raises(ValueError, match=message):
        make()
