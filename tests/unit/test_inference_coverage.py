"""Seeds for coverage against the greedy choice written out and the best centres of all, and starts from them."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import GaussianDiagonal, GaussianSpherical, Mixture, default_prior, initialize
from jaxdpmm.families import GaussianLowRank
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.inference import (
    ArraySource,
    IterableSource,
    candidates,
    cavi,
    covering,
    fit,
    gibbs,
    memoized,
    online_em,
    stochastic,
)
from jaxdpmm.inference import coverage as module
from jaxdpmm.inference.coverage import cover_batches, farthest_first
from jaxdpmm.scoring.distance import component_means

KEY = jax.random.key(0)


def points(num=300, dim=5, seed=0, dtype=np.float64):
    """Clusters of very different sizes."""
    random = np.random.default_rng(seed)
    cluster = np.minimum(random.geometric(0.4, num), 9)
    return (4 * random.normal(size=(10, dim))[cluster] + random.normal(size=(num, dim))).astype(
        dtype
    )


def greedy(x, first, size):
    """Rows, labels and distances of the greedy choice, written out."""
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    rows = [first]
    while len(rows) < size:
        rows.append(int(np.argmax(distances[rows].min(axis=0))))
    return rows, distances[rows].argmin(axis=0), distances[rows].min(axis=0)


def radius(x, seeds):
    return np.linalg.norm(x[:, None] - np.asarray(seeds)[None], axis=2).min(axis=1).max()


def best_radius(x, size):
    """The smallest largest distance to `size` of the points, by enumeration."""
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    chosen = itertools.combinations(range(len(x)), size)
    return min(distances[list(rows)].min(axis=0).max() for rows in chosen)


@pytest.mark.parametrize("pool_size", [1, 7, 64, 4096])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_seeds_are_the_greedy_choice(pool_size, dtype, monkeypatch):
    """Whatever the pool: with one point of it, all points are read again after every seed."""
    monkeypatch.setattr(module, "POOL_SIZE", pool_size)
    x = points(dtype=dtype)
    found = farthest_first(jnp.asarray(x), 40, first=3)
    rows, labels, distances = greedy(x.astype(float), 3, 40)
    assert found.rows.tolist() == rows
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(
        found.distances, distances, rtol=1e-5 if dtype == np.float32 else 1e-12
    )


def test_first_seed_is_farthest_from_the_mean():
    x = points()
    found = farthest_first(jnp.asarray(x), 5)
    assert found.rows[0] == np.argmax(np.linalg.norm(x - x.mean(axis=0), axis=1))


def test_more_seeds_than_are_chosen_at_once(monkeypatch):
    monkeypatch.setattr(module, "MOST_AT_ONCE", 16)
    x = points()
    jax.clear_caches()
    assert farthest_first(jnp.asarray(x), 50, first=0).rows.tolist() == greedy(x, 0, 50)[0]


@pytest.mark.parametrize("seed", range(5))
def test_radius_is_at_most_twice_the_best(seed):
    x = np.random.default_rng(seed).normal(size=(12, 2))
    for size in (1, 2, 4):
        found = farthest_first(jnp.asarray(x), size)
        assert best_radius(x, size) <= np.max(found.distances) <= 2 * best_radius(x, size)


@pytest.mark.parametrize("seed", range(5))
def test_radius_of_batches_is_at_most_four_times_the_best(seed):
    x = np.random.default_rng(seed).normal(size=(14, 2))
    for size in (2, 4):
        seeds = cover_batches(ArraySource(x, GaussianDiagonal(2), batch_size=4), size)
        assert len(seeds) == size
        assert radius(x, seeds) <= 4 * best_radius(x, size)


def test_batches_cover_nearly_as_well_as_all_at_once(monkeypatch):
    x = points(2_000, seed=3)
    source = ArraySource(x, GaussianDiagonal(5), batch_size=300)
    exact = np.max(farthest_first(jnp.asarray(x), 30).distances)
    assert radius(x, cover_batches(source, 30)) <= 1.5 * exact
    monkeypatch.setattr(module, "HELD_PER_SEED", 1)  # thinned out after every batch
    assert radius(x, cover_batches(source, 30)) <= 2 * exact


def test_seeds_move_with_the_points():
    x = points(dim=3)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    order = np.random.default_rng(2).permutation(len(x))
    moved = 3 * (x @ rotation)[order] + 5
    rows = farthest_first(jnp.asarray(x), 20).rows
    np.testing.assert_array_equal(order[farthest_first(jnp.asarray(moved), 20).rows], rows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_points_share_a_seed(dtype):
    """Far from the origin, where the product leaves rounding in place of zero."""
    x = np.repeat(points(12, dtype=dtype) + 100, 30, axis=0)
    found = farthest_first(jnp.asarray(x), 50)
    assert len(found.rows) == 12
    np.testing.assert_array_equal(x[found.rows][found.labels], x)
    np.testing.assert_array_equal(found.distances, 0)
    assert len(cover_batches(ArraySource(x, GaussianDiagonal(5), batch_size=100), 50)) == 12


def test_points_of_no_weight_are_no_seeds_and_do_not_count():
    x = points(60)
    weight = np.where(np.arange(60) < 50, 1.0, 0.0)
    found = farthest_first(jnp.asarray(x), 60, weight=jnp.asarray(weight))
    assert sorted(found.rows) == list(range(50))
    mixture = Mixture(GaussianDiagonal(5), 8)
    prior = default_prior(mixture, x)
    ours = initialize(
        mixture, prior, ArraySource(x, mixture.family, weight), key=KEY, start="coverage"
    )
    theirs = initialize(mixture, prior, x[:50], key=KEY, start="coverage")
    chex.assert_trees_all_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_size", [None, 70])
@pytest.mark.parametrize("num_steps", [0, 1, 3])
def test_start_is_the_prior_and_the_sums_over_the_nearest_points(num_steps, batch_size):
    """Of the seeds, or of what Lloyd steps make of them."""
    x = points()
    mixture = Mixture(GaussianSpherical(5), 20)
    prior = default_prior(mixture, x)
    source = ArraySource(x, mixture.family, batch_size=batch_size)
    posterior = initialize(
        mixture, prior, source, key=KEY, num_iterations=num_steps, start="coverage"
    )
    first = int(np.argmax(np.linalg.norm(x - x.mean(axis=0), axis=1)))
    centres = x[greedy(x, first, 20)[0]] if batch_size is None else cover_batches(source, 20)
    labels = np.argmin(np.linalg.norm(x[:, None] - centres, axis=2), axis=1)
    for _ in range(num_steps):
        centres = np.stack([x[labels == k].mean(axis=0) for k in range(20)])
        labels = np.argmin(np.linalg.norm(x[:, None] - centres, axis=2), axis=1)
    np.testing.assert_array_equal(posterior.counts, np.bincount(labels, minlength=20))
    centred = x - np.asarray(prior.offset)
    sums = np.stack([centred[labels == k].sum(axis=0) for k in range(20)])
    np.testing.assert_allclose(
        posterior.components.first, sums + np.asarray(prior.component.first), atol=1e-9
    )


@pytest.mark.parametrize(("batch_size", "expected"), [(None, 1), (70, 2 * 5)])
def test_points_are_compared_with_all_centres_once_per_assignment(
    batch_size, expected, monkeypatch
):
    """Seeds of one batch come with their labels; the twenty local sweeps of low rank keep those of the Lloyd step."""
    calls, nearest = [], covering._nearest
    monkeypatch.setattr(covering, "_nearest", lambda *args: (calls.append(1), nearest(*args))[1])
    x = points()
    mixture = Mixture(GaussianLowRank(5, 2), 8)
    prior = default_prior(mixture, x)
    source = ArraySource(x, mixture.family, batch_size=batch_size)
    initialize(mixture, prior, source, key=KEY, start="coverage")
    assert len(calls) == expected


@pytest.mark.parametrize("start", ["k-means", "coverage"])
def test_features_in_one_unit_are_taken_as_they_are(start):
    """Diagonal components start where spherical ones do; with the spread of each feature as its unit they do not."""
    x = points() * np.array([1, 3, 10, 0.1, 1])

    def counts(family, **options):
        mixture = Mixture(family(5), 20)
        prior = default_prior(mixture, x)
        return initialize(mixture, prior, x, key=KEY, start=start, **options).counts

    expected = counts(GaussianSpherical)
    np.testing.assert_array_equal(counts(GaussianDiagonal, one_unit=True), expected)
    assert np.any(np.asarray(counts(GaussianDiagonal)) != expected)


def test_a_rare_kind_of_point_has_a_component():
    """Three points among thousands, which a sample of k-means would seldom see."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(size=(3_000, 4)), 30 + random.normal(size=(3, 4))])
    mixture = Mixture(GaussianSpherical(4), 10)
    posterior = initialize(mixture, default_prior(mixture, x), x, key=KEY, start="coverage")
    means = np.asarray(component_means(mixture, posterior))
    assert np.linalg.norm(means - 30, axis=1).min() < 3


def test_more_components_than_points_leave_some_empty():
    x = points(6)
    mixture = Mixture(GaussianDiagonal(5), 9)
    posterior = initialize(mixture, default_prior(mixture, x), x, key=KEY, start="coverage")
    assert sorted(np.asarray(posterior.counts)) == [0] * 3 + [1] * 6


def test_all_ways_to_bring_the_data(tmp_path):
    x = points(500, dtype=np.float32)
    mixture = Mixture(GaussianDiagonal(5), 12)
    prior = default_prior(mixture, x)
    with FeatureWriter(tmp_path / "store") as writer:
        writer.append(x[:200], "a")
        writer.append(x[200:], "b")
    family = mixture.family
    batched, *others = (
        initialize(mixture, prior, data, key=KEY, start="coverage")
        for data in (
            ArraySource(x, family, batch_size=100),
            IterableSource(lambda: np.split(x, [30, 170]), family, batch_size=100),
            ArraySource(FeatureStore(tmp_path / "store"), family, batch_size=100),
        )
    )
    assert float(batched.counts.sum()) == 500
    for other in others:
        np.testing.assert_array_equal(other.counts, batched.counts)
    whole = initialize(mixture, prior, x, key=KEY, start="coverage")
    assert int((whole.counts > 0).sum()) == int((batched.counts > 0).sum()) == 12


def test_local_variables_are_found_in_batches_as_in_one():
    x = points(200)
    mixture = Mixture(GaussianLowRank(5, 2), 4)
    prior = default_prior(mixture, x)
    batches = ArraySource(np.concatenate([x, x]), mixture.family, batch_size=200)
    twice = ArraySource(x, mixture.family, np.full(200, 2.0))
    one, other = (
        initialize(mixture, prior, data, key=KEY, start="coverage") for data in (batches, twice)
    )
    chex.assert_trees_all_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "backend",
    [
        cavi,
        lambda *model: cavi(*model, candidates(4, 2)),
        memoized,
        stochastic,
        online_em,
        gibbs,
    ],
)
def test_every_backend_goes_on_from_it(backend):
    x = points(200)
    mixture = Mixture(GaussianSpherical(5), 8)
    prior = default_prior(mixture, x)
    source = ArraySource(x, mixture.family, batch_size=None if backend is gibbs else 50)
    start = initialize(mixture, prior, source, key=KEY, start="coverage")
    result = fit(backend(mixture, prior), source, start, key=KEY, num_epochs=3)
    assert np.isfinite([epoch.objective for epoch in result.history]).all()
    total = 50 if backend is online_em else 200  # one batch counts for all data there
    assert 0.9 * total < float(result.posterior.counts.sum()) < 1.1 * total


@pytest.mark.parametrize("batch_size", [None, 60])
def test_no_unit_decides(batch_size):
    """Features in other units, and one that is constant, give the same components."""
    x = points(200)
    other = np.concatenate([x * [1e3, 1, 1e-3, 1, 1] + 7, np.full((200, 1), 0.1)], axis=1)
    counts = []
    for data in (x, other):
        mixture = Mixture(GaussianDiagonal(data.shape[1]), 8)
        source = ArraySource(data, mixture.family, batch_size=batch_size)
        start = initialize(mixture, default_prior(mixture, data), source, key=KEY, start="coverage")
        counts.append(np.asarray(start.counts))
    np.testing.assert_array_equal(*counts)


def test_unknown_start():
    mixture = Mixture(GaussianDiagonal(5), 3)
    with pytest.raises(ValueError, match=r"start must be one of k-means, coverage, got 'covrage'"):
        initialize(mixture, default_prior(mixture, points()), points(), key=KEY, start="covrage")


def test_scikit_learn_face():
    from jaxdpmm.sklearn import DirichletProcessMixture

    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(size=(400, 2)), [[40.0, 40.0], [40.5, 40.0], [40.0, 40.5]]])
    model = DirichletProcessMixture(6, covariance_type="spherical", init_params="coverage").fit(x)
    assert np.linalg.norm(model.means_ - 40, axis=1).min() < 1
    again = DirichletProcessMixture(
        6, covariance_type="spherical", init_params="coverage", random_state=3
    ).fit(np.repeat(x, 2, axis=0), sample_weight=np.full(806, 0.5))
    np.testing.assert_allclose(again.means_, model.means_, rtol=1e-6)
    with pytest.raises(ValueError, match=r"init_params must be one of kmeans, coverage, got 'k-m"):
        DirichletProcessMixture(init_params="k-means").fit(x)
