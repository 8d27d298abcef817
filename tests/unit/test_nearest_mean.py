"""Each point whole to the nearest mean: statistics are those of the labels, and what is reported is a bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import jaxdpmm
from jaxdpmm.families import GaussianLowRank, GaussianSpherical, VonMisesFisher
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference import LocalStep, dense, initialize, nearest_mean
from jaxdpmm.model import Batch, Mixture, default_prior, expected_readout

X = np.random.default_rng(0).normal(size=(60, 4)) + 5
WEIGHT = np.random.default_rng(1).integers(0, 3, 60).astype(float)


def step_of(family, step: LocalStep):
    """What an E-step finds in all points under a start for coverage, and what it was given."""
    mixture = Mixture(family, 6)
    prior = default_prior(mixture, X)
    start = initialize(mixture, prior, X, key=jax.random.key(0), start="coverage", one_unit=True)
    readout = expected_readout(mixture, start)
    batch = Batch(jnp.asarray(X), jnp.asarray(WEIGHT), jnp.int32(0), True, float(WEIGHT.sum()))
    return mixture, readout, step.step(mixture, readout, batch, ())


@pytest.mark.parametrize("family", [GaussianSpherical(4), GaussianLowRank(4, 2)])
def test_statistics_are_those_of_the_nearest_means(family):
    mixture, readout, found = step_of(family, nearest_mean())
    means = np.asarray(readout.params.mean) + np.asarray(readout.offset)
    labels = NearestNeighbors(n_neighbors=1).fit(means).kneighbors(X)[1][:, 0]
    np.testing.assert_allclose(found.stats.counts, np.bincount(labels, WEIGHT, 6))
    wanted = label_statistics(
        mixture,
        jnp.asarray(labels),
        jnp.asarray(X),
        jnp.asarray(WEIGHT),
        readout.offset,
        readout.params,
    )
    for one, other in zip(*map(jax.tree.leaves, (found.stats, wanted)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_it_reports_less_than_all_components_together():
    family = GaussianSpherical(4)
    reported = [float(step_of(family, step)[2].log_evidence) for step in (nearest_mean(), dense)]
    assert reported[0] < reported[1]
    assert np.isfinite(reported).all()


def test_components_that_are_no_gaussians_are_refused_in_one_sentence():
    x = X / np.linalg.norm(X, axis=1, keepdims=True)
    mixture = Mixture(VonMisesFisher(4), 3)
    algorithm = jaxdpmm.cavi(mixture, default_prior(mixture, x), local_step=nearest_mean())
    start = initialize(mixture, algorithm.prior, x, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"^mixture must have Gaussian .* got VonMisesFisher; use"):
        jaxdpmm.fit(algorithm, x, start, num_epochs=1)
