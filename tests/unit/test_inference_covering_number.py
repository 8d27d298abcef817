"""The number of components that a start for coverage takes by itself, on points whose number of kinds is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import GaussianSpherical, Mixture, default_prior, initialize
from jaxdpmm.detection import DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.inference import ArraySource, covering_number, truncation_binds
from jaxdpmm.inference.coverage import farthest_first
from jaxdpmm.inference.covering_number import needed_seeds
from jaxdpmm.inference.joining import join_components
from jaxdpmm.inference.labelled import labelled_bound, labelled_statistics

DIM, LIMIT = 16, 64
NUM_KINDS, NUM_RARE, RARE = 12, 3, 3  # kinds of points, beside rare ones of three points each
KEY = jax.random.key(0)


def planted(num_points, seed=0):
    """Kinds of points and rare kinds, six of their own deviations apart; and the kind of each point."""
    random = np.random.default_rng(seed)
    middles = 6 / np.sqrt(2 * DIM) * random.normal(size=(NUM_KINDS + NUM_RARE, DIM))
    usual = random.choice(
        NUM_KINDS, num_points - NUM_RARE * RARE, p=random.dirichlet(np.full(NUM_KINDS, 2))
    )
    kinds = np.concatenate([usual, np.repeat(np.arange(NUM_KINDS, NUM_KINDS + NUM_RARE), RARE)])
    return middles[kinds] + random.normal(size=(num_points, DIM)) / np.sqrt(DIM), kinds


def model(x, limit=LIMIT):
    mixture = Mixture(GaussianSpherical(DIM), limit)
    return mixture, default_prior(mixture, x)


def adapted(x, limit=LIMIT, batch_size=None):
    mixture, prior = model(x, limit)
    source = ArraySource(x, mixture.family, batch_size=batch_size)
    return initialize(mixture, prior, source, key=KEY, start="coverage", adapt=True)


@pytest.mark.parametrize("batch_size", [None, 500])
@pytest.mark.parametrize("num_points", [1000, 2000])
def test_planted_kinds_are_counted_however_many_points_they_have(
    num_points, batch_size, monkeypatch
):
    """Each rare kind of three points keeps its component; twice the points have no more components."""
    monkeypatch.setattr(covering_number, "AT_ONCE", 8)  # seeds of batches are looked for again
    x, kinds = planted(num_points)
    posterior = adapted(x, batch_size=batch_size)
    counts = np.asarray(posterior.counts)
    np.testing.assert_array_equal(np.sort(counts[counts > 0]), np.sort(np.bincount(kinds)))
    assert not truncation_binds(posterior)


def test_one_kind_has_one_component():
    x = np.random.default_rng(0).normal(size=(1000, DIM))
    assert int(np.sum(np.asarray(adapted(x).counts) > 0)) == 1


def test_too_few_components_bind():
    x, kinds = planted(1000)
    posterior = adapted(x, limit=10)
    assert truncation_binds(posterior)
    assert float(posterior.counts.sum()) == len(kinds)


def test_only_seeds_for_coverage_are_in_order():
    x, _ = planted(100)
    mixture, prior = model(x)
    with pytest.raises(ValueError, match="adapt must be left out with start='k-means', got True"):
        initialize(mixture, prior, x, key=KEY, adapt=True)


def test_best_size_of_all():
    """Against the bound of every size, each by its own seeds."""
    x, _ = planted(1000)
    mixture, prior = model(x)
    source = ArraySource(x, mixture.family)
    bounds = []
    for size in range(1, LIMIT + 1):
        labels = [farthest_first(jnp.asarray(x), size).labels]
        bounds.append(
            float(
                labelled_bound(mixture, prior, labelled_statistics(mixture, prior, source, labels))
            )
        )
    cover = needed_seeds(mixture, prior, source, None)
    assert len(cover.seeds) == 1 + np.argmax(bounds)
    assert cover.bound == pytest.approx(max(bounds), rel=1e-12)


def test_joined_components_cover_what_was_covered():
    """Four seeds for each kind: the bound rises, no point gets farther away, and rare kinds stay alone."""
    x, kinds = planted(1000)
    mixture, prior = model(x)
    source = ArraySource(x, mixture.family)
    labels = [farthest_first(jnp.asarray(x), LIMIT).labels]
    joined = join_components(mixture, prior, source, labels, None)
    before, after = (
        float(labelled_bound(mixture, prior, labelled_statistics(mixture, prior, source, some)))
        for some in (labels, joined)
    )
    assert after > before
    own = np.asarray(joined[0])
    assert len(np.unique(own)) < 2 * LIMIT / 3
    assert farthest(x, own) <= (1 + 1e-4) * farthest(x, np.asarray(labels[0]))
    for kind in range(NUM_KINDS, NUM_KINDS + NUM_RARE):
        assert not np.isin(own[kinds != kind], own[kinds == kind]).any()


def test_a_pair_whose_points_would_get_farther_away_stays_apart():
    """A wide prior would join the two, since they are few."""
    x = np.repeat([[0.0] * DIM, [1.0] * DIM], 2, axis=0)
    mixture, prior = model(100 * np.random.default_rng(0).normal(size=(50, DIM)), limit=2)
    source = ArraySource(x, mixture.family)
    labels = [jnp.asarray([0, 0, 1, 1], jnp.int32)]
    together = [jnp.zeros(4, jnp.int32)]
    apart, one = (
        float(labelled_bound(mixture, prior, labelled_statistics(mixture, prior, source, some)))
        for some in (labels, together)
    )
    assert one > apart
    np.testing.assert_array_equal(
        join_components(mixture, prior, source, labels, None)[0], labels[0]
    )


def test_detector_takes_as_many_as_the_bound_says():
    x, _ = planted(1000)
    state = fit_mixture(x.astype(np.float32), DetectorConfig(num_components="auto"))
    assert state.mixture.num_components == NUM_KINDS + NUM_RARE
    assert not state.facts.truncation_binds


def farthest(x, labels):
    """The largest distance of a point from the mean of those with its label."""
    means = {label: x[labels == label].mean(axis=0) for label in np.unique(labels)}
    return max(np.linalg.norm(point - means[label]) for point, label in zip(x, labels, strict=True))
