import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxdpmm import GaussianDiagonal, Mixture, Prior
from jaxdpmm.detection import DetectorConfig, fit_mixture
from jaxdpmm.detection.learning import separation_facts
from jaxdpmm.grouping import label_statistics
from jaxdpmm.model import global_update
from jaxdpmm.separation import separation

NUM_POINTS = 20_000


def fitted(means, num_components=None):
    """A mixture of clusters of unit variance about known means, and its points."""
    means = np.asarray(means, float)
    labels = np.arange(NUM_POINTS) % len(means)
    x = means[labels] + np.random.default_rng(0).normal(size=(NUM_POINTS, means.shape[1]))
    dim = means.shape[1]
    mixture = Mixture(GaussianDiagonal(dim), num_components or len(means))
    component = mixture.family.prior(jnp.zeros(dim), jnp.ones(dim), 0.01, 3.0)
    prior = Prior(component, mixture.sticks.default_prior(jnp.float64))
    ones = jnp.ones(len(x))
    stats = label_statistics(mixture, jnp.asarray(labels), jnp.asarray(x), ones, None)
    return mixture, global_update(mixture, prior, stats), x


@pytest.mark.parametrize("distance", [1.0, 3.0])
def test_overlap_of_two_gaussians_is_the_error_of_the_best_guess(distance):
    found = separation(*fitted([[0.0], [distance]])).over_points()
    np.testing.assert_allclose(found["overlap"], norm.cdf(-distance / 2), atol=0.01)
    np.testing.assert_allclose(found["between"], distance, atol=0.05)


def test_clusters_are_put_in_the_known_order():
    square = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    found = [separation(*fitted(size * square)).over_points() for size in (8, 4, 2)]
    for name in ("within_over_between", "overlap", "contested"):
        values = [one[name] for one in found]
        assert values == sorted(values), name
    assert found[0]["contested"] < 0.001
    assert found[2]["contested"] > 0.3


def test_of_each_component_its_spread_and_its_neighbour():
    found = separation(*fitted([[0.0, 0, 0], [30, 0, 0], [40, 0, 0]]))
    np.testing.assert_allclose(found.within, np.sqrt(3), atol=0.05)
    np.testing.assert_array_equal(found.neighbour, [1, 2, 1])
    np.testing.assert_allclose(found.between, [30, 10, 10], atol=0.1)
    assert found.num_points.sum() == NUM_POINTS


def test_components_without_points_are_left_out():
    mixture, posterior, x = fitted([[0.0, 0], [20, 0]], num_components=4)
    found = separation(mixture, posterior, x)
    np.testing.assert_array_equal(found.num_points[2:], 0)
    np.testing.assert_array_equal(found.neighbour, [1, 0, -1, -1])
    assert np.isnan(found.within[2:]).all()
    np.testing.assert_allclose(found.over_points()["between"], 20, atol=0.1)


def test_a_component_that_stands_alone_has_no_neighbour():
    found = separation(*fitted([[1.0, 2]]))
    assert found.neighbour == [-1]
    assert np.isnan(found.over_points()["between"])
    np.testing.assert_allclose(found.overlap, 0)


def test_no_points_are_told_in_a_sentence():
    mixture, posterior, x = fitted([[1.0, 2]])
    with pytest.raises(ValueError, match="x must hold at least one point, got none; give patches"):
        separation(mixture, posterior, x[:0])


@pytest.mark.parametrize("covariance", ["spherical", "low_rank"])
def test_a_prior_of_more_counts_leaves_fewer_components_further_apart(covariance):
    """Six clusters that overlap by pairs, and more components than needed."""
    random = np.random.default_rng(0)
    centres = 8 * random.normal(size=(3, 6))
    centres = np.concatenate([centres, centres + 1.8 * random.normal(size=(3, 6))])
    x = (centres[np.arange(600) % 6] + random.normal(size=(600, 6))).astype(np.float32)
    config = DetectorConfig(covariance=covariance, rank=2, num_components=30, num_epochs=20)
    found = []
    for counts in (1.0, 10.0):
        state = fit_mixture(x, dataclasses.replace(config, prior_counts=counts))
        facts = separation_facts(state, x, 0)
        found.append((state.mixture.num_components, facts.within_over_between))
        assert 0 <= facts.contested <= 1
    assert found[1][0] < found[0][0]
    assert found[1][1] < found[0][1]


def test_facts_of_a_single_component_have_no_ratio():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    facts = separation_facts(fit_mixture(x, DetectorConfig(num_components=1)), x, 0)
    assert (facts.within_over_between, facts.contested) == (None, None)
