"""Sites that exchange statistics: the exact sum, and weights for a batch that go to the site it came from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import GaussianSpherical, Mixture, default_prior, initialize
from jaxdpmm.inference import from_stats, merge, partial_fit
from jaxdpmm.scoring import log_predictive_density
from jaxdpmm.sites import check_same_backbone, merge_for, site_shares
from jaxdpmm.trees import add

MIXTURE = Mixture(GaussianSpherical(4), 4)
CENTRES = 8 * np.random.default_rng(0).normal(size=(3, 4))


def points(site, num_points, seed=0):
    random = np.random.default_rng((site, seed))
    kinds = random.integers(3, size=num_points)
    return CENTRES[kinds] + 2 * site + random.normal(size=(num_points, 4))


@pytest.fixture(scope="module")
def sites():
    data = [points(site, 400) for site in range(2)]
    whole = np.concatenate(data)
    prior = default_prior(MIXTURE, whole)
    start = initialize(MIXTURE, prior, whole, key=jax.random.key(0))
    stats = [partial_fit(MIXTURE, prior, start, x)[1] for x in data]
    return prior, start, whole, stats


def test_statistics_of_sites_add_up_to_the_sweep_over_all_data(sites):
    prior, start, whole, stats = sites
    together = from_stats(MIXTURE, prior, add(*stats))
    expected = from_stats(MIXTURE, prior, partial_fit(MIXTURE, prior, start, whole)[1])
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    parts = [from_stats(MIXTURE, prior, one) for one in stats]
    merged = merge(MIXTURE, prior, parts)
    np.testing.assert_allclose(merged.counts, together.counts, rtol=1e-9)


def test_weights_go_to_the_site_that_a_batch_came_from(sites):
    prior, _, _, stats = sites
    parts = [from_stats(MIXTURE, prior, one) for one in stats]
    for site in range(2):
        batch = points(site, 200, seed=1)
        found = site_shares(MIXTURE, parts, batch)
        assert found.weights[site] > 1.9
        assert found.entropy < 0.3
        weighed = log_predictive_density(MIXTURE, merge_for(MIXTURE, prior, parts, batch), batch)
        even = log_predictive_density(MIXTURE, merge(MIXTURE, prior, parts), batch)
        own = log_predictive_density(MIXTURE, parts[site], batch)
        assert even.mean() < weighed.mean() <= own.mean() + 0.1
    mixed = np.concatenate([points(site, 200, seed=2) for site in range(2)])
    even = site_shares(MIXTURE, parts, mixed)
    np.testing.assert_allclose(even.weights, 1, atol=0.1)
    assert even.entropy == pytest.approx(np.log(2), abs=0.01)


def test_sites_that_are_alike_are_merged_exactly(sites):
    prior, _, _, stats = sites
    same = [from_stats(MIXTURE, prior, stats[0])] * 2
    found, expected = merge_for(MIXTURE, prior, same, points(0, 50)), merge(MIXTURE, prior, same)
    np.testing.assert_allclose(found.counts, expected.counts, rtol=1e-9)


def test_bad_input_is_told_in_a_sentence(sites):
    prior, _, _, stats = sites
    part = from_stats(MIXTURE, prior, stats[0])
    with pytest.raises(ValueError, match="at least one site and one point, got 0 and 3; give"):
        site_shares(MIXTURE, [], jnp.ones((3, 4)))
    with pytest.raises(ValueError, match="at least one site and one point, got 1 and 0; give"):
        site_shares(MIXTURE, [part], jnp.ones((0, 4)))
    with pytest.raises(
        ValueError, match="sites must have one backbone, got another at b than at a;"
    ):
        check_same_backbone({"a": "small", "b": "base", "c": "small"})
    check_same_backbone({"a": "small", "b": "small"})
