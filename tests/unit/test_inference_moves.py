"""Births, merges and deletions: from too few and from too many components to those that made the data."""

import chex
import jax
import numpy as np
import pytest

from jaxdpmm import GaussianDiagonal, Mixture, Prior, cavi, default_prior, initialize
from jaxdpmm.inference import (
    fit,
    fit_adaptive,
    gibbs,
    memoized,
    online_em,
    stochastic,
    with_moves,
)
from jaxdpmm.inference.data.pieces import as_source
from jaxdpmm.inference.growth.adaptive import with_room
from jaxdpmm.inference.growth.proposals import birth, delete, merge
from jaxdpmm.model import active_components

DIM, NUM_CLUSTERS, NUM_POINTS = 2, 4, 240
FAMILY = GaussianDiagonal(DIM)


def births(epoch):
    return epoch.info["births"]


def removed(epoch):
    return epoch.info["merges"] + epoch.info["deletions"]


@pytest.fixture(scope="module")
def x():
    generator = np.random.default_rng(0)
    centres = np.array([[-8.0, 0], [8, 0], [0, 8], [0, -8]])
    return centres[np.arange(NUM_POINTS) % NUM_CLUSTERS] + generator.standard_normal(
        (NUM_POINTS, DIM)
    )


@pytest.fixture(scope="module")
def prior(x) -> Prior:
    return default_prior(Mixture(FAMILY, NUM_CLUSTERS), x)


def start(prior, x, num_components):
    mixture = Mixture(FAMILY, num_components)
    return mixture, initialize(mixture, prior, x, key=jax.random.key(1))


def fitted(prior, x, num_components):
    mixture, posterior = start(prior, x, num_components)
    return mixture, fit(cavi(mixture, prior), x, posterior, num_epochs=20).posterior


@pytest.fixture(scope="module")
def from_one(x, prior):
    """A fit that starts with one component and needs a second stage."""
    return fit_adaptive(*start_of(prior, x, 1), num_epochs=14)


def start_of(prior, x, num_components):
    mixture, posterior = start(prior, x, num_components)
    return mixture, prior, x, posterior


def assert_found_the_clusters(mixture, result, num_at_start):
    assert mixture.num_components == NUM_CLUSTERS
    history = result.history
    assert [epoch.number for epoch in history] == list(range(1, len(history) + 1))
    net = sum(births(epoch) - removed(epoch) for epoch in history)
    assert np.sign(net) == np.sign(NUM_CLUSTERS - num_at_start) != 0
    np.testing.assert_allclose(result.posterior.counts, NUM_POINTS / NUM_CLUSTERS, atol=0.5)


def test_births_from_one_component(from_one):
    assert_found_the_clusters(*from_one, num_at_start=1)


def test_merges_and_deletions_from_too_many_with_memoized(x, prior):
    found = fit_adaptive(*start_of(prior, x, 12), backend=memoized, batch_size=100, num_epochs=12)
    assert_found_the_clusters(*found, num_at_start=12)


def test_bound_never_falls(x, prior):
    mixture, posterior = start(prior, x, 12)
    algorithm = with_moves(cavi(mixture, prior))
    history = fit(algorithm, x, posterior, num_epochs=12, tolerance=0).history
    bounds = np.array([epoch.objective for epoch in history])
    assert (np.diff(bounds) >= -1e-9 * abs(bounds[0])).all()
    assert removed(history[-1]) == 0  # settled
    assert sum(map(removed, history)) > 0


def batch_of(x):
    return next(iter(as_source(x, FAMILY).sweep()))


@pytest.mark.parametrize("propose", [merge, delete])
def test_superfluous_component_is_proposed_away(x, prior, propose):
    mixture, posterior = start(prior, x, 8)
    proposal = propose(jax.random.key(0), mixture, prior, posterior, batch_of(x))
    active = int(np.sum(active_components(posterior)))
    assert active > NUM_CLUSTERS
    assert int(np.sum(active_components(proposal.posterior))) == active - int(proposal.size)
    assert proposal.size >= 1
    if propose is merge:
        np.testing.assert_allclose(np.sum(proposal.posterior.counts), NUM_POINTS)


def test_birth_parts_two_clusters_that_share_a_component(x, prior):
    mixture, posterior = fitted(prior, x, 1)
    mixture, posterior = with_room(mixture, prior, posterior)
    proposal = birth(jax.random.key(0), mixture, prior, posterior, batch_of(x))
    assert int(proposal.size) == 1
    assert int(np.sum(active_components(proposal.posterior))) == 2
    np.testing.assert_allclose(np.sum(proposal.posterior.counts), NUM_POINTS)
    readout = jax.vmap(FAMILY.point_params)(proposal.posterior.components)
    means = np.asarray(readout.mean[:2])
    assert np.linalg.norm(means[0] - means[1]) > 5


def test_rival_that_is_worse_never_takes_over(x, prior):
    """Four clean components: every move makes the bound fall, so nothing changes."""
    mixture, posterior = fitted(prior, x, NUM_CLUSTERS)
    algorithm = with_moves(cavi(mixture, prior), ["merge", "delete"])
    result = fit(algorithm, x, posterior, num_epochs=4, tolerance=0)
    assert not any(map(removed, result.history))
    assert result.history[-1].num_active == NUM_CLUSTERS


def test_room_changes_neither_components_nor_counts(x, prior):
    mixture, posterior = fitted(prior, x, NUM_CLUSTERS)
    larger, padded = with_room(mixture, prior, posterior)
    assert larger.num_components == 16
    np.testing.assert_allclose(padded.counts[NUM_CLUSTERS:], 0)
    np.testing.assert_allclose(np.sort(padded.counts)[-NUM_CLUSTERS:], np.sort(posterior.counts))


def test_resumed_fit_is_the_same(x, prior, from_one, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(epoch, _):
        if epoch.number == 5:
            raise StoppedError

    arguments = {"num_epochs": 14, "checkpoint": tmp_path}
    with pytest.raises(StoppedError):
        fit_adaptive(*start_of(prior, x, 1), callback=stop, **arguments)
    _, resumed = fit_adaptive(*start_of(prior, x, 1), **arguments)
    _, whole = from_one
    chex.assert_trees_all_equal(resumed.posterior, whole.posterior)
    assert [e.objective for e in resumed.history] == [e.objective for e in whole.history]


@pytest.mark.parametrize(("moves", "got"), [(["merge", "split"], "split"), ([], "none")])
def test_unknown_moves(prior, moves, got):
    mixture = Mixture(FAMILY, 2)
    sentence = f"moves must be some of birth, merge, delete, got {got}; leave with_moves out"
    with pytest.raises(ValueError, match=sentence):
        with_moves(cavi(mixture, prior), moves)


@pytest.mark.parametrize("backend", [online_em, stochastic, gibbs])
def test_moves_need_an_exact_bound(prior, backend):
    algorithm = backend(Mixture(FAMILY, 2), prior)
    sentence = f"must have the exact ELBO as its objective, got {backend.__name__}, whose .*cavi"
    with pytest.raises(TypeError, match=sentence):
        with_moves(algorithm)


def test_no_sweeps_at_all(x, prior):
    with pytest.raises(
        ValueError, match="num_epochs must be at least 1, got 0; the default is 100"
    ):
        fit_adaptive(*start_of(prior, x, 1), num_epochs=0)
