import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gibbs_chains import one_batch
from scipy.stats import chisquare
from sklearn.metrics import adjusted_rand_score

from jaxdpmm import (
    DirichletProcess,
    GaussianDiagonal,
    GaussianFull,
    Mixture,
    default_prior,
    fit,
    initialize,
)
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.backends import label_switching, split_merge
from jaxdpmm.inference.backends.gibbs import gibbs, sample_labels
from jaxdpmm.inference.backends.gibbs_moves import Partition
from jaxdpmm.inference.base import Layout
from jaxdpmm.model import Posterior, Readout, summarize
from jaxdpmm.sticks import Gamma, StickBreaking

N, K = 50, 4


@pytest.fixture(scope="module")
def x():
    generator = np.random.default_rng(0)
    return generator.normal(size=(N, 3)) + 5 * generator.integers(0, 2, (N, 1))


@pytest.fixture(scope="module")
def problem(x):
    mixture = Mixture(GaussianDiagonal(3), K)
    prior = default_prior(mixture, jnp.asarray(x))
    return mixture, prior, initialize(mixture, prior, x, key=jax.random.key(0))


def sweeps(algorithm, x, start, num_epochs=3, **options):
    return fit(
        algorithm, x, start, key=jax.random.key(1), num_epochs=num_epochs, tolerance=0.0, **options
    )


@pytest.mark.parametrize("family", [GaussianDiagonal(3), GaussianFull(3)])
def test_label_statistics_equal_one_hot_responsibilities(x, family, key):
    mixture = Mixture(family, K)
    batch = one_batch(x)
    labels = jax.random.randint(key, (N,), 0, K, jnp.int32)
    weight = jnp.linspace(0, 2, N)
    offset = jnp.mean(batch.x, axis=0)
    expected = summarize(mixture, jax.nn.one_hot(labels, K), batch.x, weight, offset)
    found = label_statistics(mixture, labels, batch.x, weight, offset)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), found, expected
    )


def test_labels_follow_their_probabilities(key):
    """The same point many times, one component impossible."""
    mixture = Mixture(GaussianDiagonal(1), 4)
    probability = np.array([0.1, 0.0, 0.6, 0.3])
    params = mixture.family.point_params(mixture.family.prior(jnp.zeros(1), jnp.ones(1), 1.0, 3.0))
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), params)
    with np.errstate(divide="ignore"):
        readout = Readout(jnp.asarray(np.log(probability)), params, None)
    x = jnp.zeros((20_000, 1))
    labels, log_density = sample_labels(mixture, key, readout, x, jnp.ones(20_000))
    counts = np.bincount(labels, minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]], 20_000 * probability[[0, 2, 3]]).pvalue > 1e-3
    np.testing.assert_allclose(log_density, -0.5 * np.log(2 * np.pi), rtol=1e-9)


def test_a_weight_makes_copies_that_share_a_label(key):
    """Weight 2 squares the odds."""
    mixture = Mixture(GaussianDiagonal(1), 2)
    params = mixture.family.point_params(mixture.family.prior(jnp.zeros(1), jnp.ones(1), 1.0, 3.0))
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), params)
    readout = Readout(jnp.log(jnp.asarray([0.25, 0.75])), params, None)
    labels, _ = sample_labels(mixture, key, readout, jnp.zeros((20_000, 1)), jnp.full(20_000, 2.0))
    assert chisquare(np.bincount(labels), np.array([1, 9]) * 2000).pvalue > 1e-3


def test_nothing_of_points_times_components_is_held():
    """A million points compile to a sweep that needs a small part of the N x K densities besides the data."""
    num_points, num_components = 1_000_000, 100
    mixture = Mixture(GaussianDiagonal(2), num_components)
    prior = default_prior(mixture, jnp.zeros((10, 2)))
    start = jax.eval_shape(lambda: initialize_by_prior(mixture, prior))
    algorithm = gibbs(mixture, prior, moves=(label_switching(),))
    state = jax.eval_shape(lambda start: algorithm.init(start, Layout(1, num_points)), start)
    batch = jax.eval_shape(lambda: one_batch(jnp.zeros((num_points, 2))))
    step = jax.jit(algorithm.step).lower(jax.random.key(0), state, batch).compile()
    densities = 8 * num_points * num_components
    assert step.memory_analysis().temp_size_in_bytes < densities / 5


def initialize_by_prior(mixture, prior):
    components = jax.tree.map(
        lambda leaf: jnp.stack([leaf] * mixture.num_components), prior.component
    )
    counts = jnp.zeros(mixture.num_components)
    sticks = mixture.sticks.posterior(counts, prior.concentration, None)
    return Posterior(sticks, components, counts, prior.offset)


def test_padding_changes_nothing(problem, x):
    """17 batches of 3 points and one of padding: counts are those of all points."""
    mixture, prior, start = problem
    result = sweeps(gibbs(mixture, prior, keep_labels=True), x, start, batch_size=3)
    np.testing.assert_allclose(jnp.sum(result.posterior.counts), N, rtol=1e-12)
    labels = np.asarray(result.state.labels).ravel()[:N]
    np.testing.assert_allclose(
        np.bincount(labels, minlength=K), result.posterior.counts, rtol=1e-12
    )


def test_a_sweep_draws_parameters_once_in_any_order(problem, x):
    """Batches in an order of their own: one draw of the parameters per sweep, all points counted."""
    mixture, prior, start = problem
    algorithm = gibbs(mixture, prior)
    batches = list(ArraySource(x, mixture.family, batch_size=25).sweep())
    assert len(batches) == 2
    state, step = algorithm.init(start, Layout(2, 25)), jax.jit(algorithm.step)
    for number, slot in enumerate([1, 0, 1, 0]):
        batch = batches[slot]._replace(is_last=jnp.asarray(number % 2 == 1))
        before = state.sweep.readout.log_weights
        state, info = step(jax.random.key(number), state, batch)
        is_new = bool(jnp.any(state.sweep.readout.log_weights != before))
        assert is_new == (number % 2 == 0)
        assert np.isnan(info.objective) == (number % 2 == 0)
    np.testing.assert_allclose(jnp.sum(state.posterior.counts), N, rtol=1e-12)


def test_draws_are_the_conditional_posterior(problem, x):
    mixture, prior, start = problem
    moves = (label_switching(), split_merge())
    result = sweeps(gibbs(mixture, prior, moves=moves), x, start, num_epochs=5)
    counts, sticks = np.asarray(result.posterior.counts), result.posterior.sticks
    alpha = float(result.state.sweep.alpha)
    rest = np.array([counts[k + 1 :].sum() for k in range(K - 1)])
    np.testing.assert_allclose(sticks.a, 1 + counts[:-1], rtol=1e-12)
    np.testing.assert_allclose(sticks.b, alpha + rest, rtol=1e-12)
    log_rest = result.state.sweep.readout.log_weights[-1]
    np.testing.assert_allclose(sticks.concentration.shape, 1 + K - 1)
    np.testing.assert_allclose(sticks.concentration.rate, 1 - log_rest, rtol=1e-12)
    batch = one_batch(x)
    stats = label_statistics(mixture, result.state.labels[0], batch.x, batch.weight, prior.offset)
    expected = jax.tree.map(lambda s, p: s + p[None], stats.components, prior.component)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
        result.posterior.components, expected,
    )  # fmt: skip


def test_label_switching_moves_labels_of_every_batch(problem, x):
    mixture, prior, start = problem
    algorithm = gibbs(mixture, prior, moves=(label_switching(50),), keep_labels=True)
    result = sweeps(algorithm, x, start, batch_size=25)
    labels = np.asarray(result.state.labels).ravel()
    np.testing.assert_array_equal(np.bincount(labels, minlength=K), result.posterior.counts)


def test_label_switching_brings_large_components_forward(key):
    mixture = Mixture(GaussianDiagonal(1), 6)
    counts = jnp.asarray([0.0, 1.0, 0.0, 300.0, 2.0, 40.0])
    points = jnp.zeros((343, 1))
    labels = jnp.repeat(jnp.arange(6, dtype=jnp.int32), counts.astype(int), total_repeat_length=343)
    prior = default_prior(mixture, points)

    stats = label_statistics(mixture, labels, points, jnp.ones(343), None)
    start = Partition(labels[None], stats)
    move = label_switching(300)
    partition, _ = move.propose(key, mixture, prior, jnp.asarray(0.5), start, one_batch(points))
    assert partition.stats.counts[0] == 300
    np.testing.assert_array_equal(jnp.sort(partition.stats.counts), jnp.sort(counts))
    np.testing.assert_array_equal(
        jnp.bincount(partition.labels[0], length=6), partition.stats.counts
    )


def test_split_finds_two_blobs_at_once(key):
    """All points in one component: a few proposals part the blobs."""

    generator = np.random.default_rng(1)
    truth = np.arange(60) % 2
    points = jnp.asarray(generator.normal(size=(60, 2)) + 8 * truth[:, None])
    mixture = Mixture(GaussianFull(2), 3)
    prior = default_prior(mixture, points)
    batch = one_batch(points)
    labels = jnp.zeros(60, jnp.int32)
    start = Partition(
        labels[None], label_statistics(mixture, labels, points, batch.weight, prior.offset)
    )

    def propose(key):
        return split_merge(10).propose(key, mixture, prior, jnp.asarray(1.0), start, batch)

    partitions, shares = jax.jit(jax.vmap(propose))(jax.random.split(key, 16))
    found = [adjusted_rand_score(truth, labels[0]) for labels in np.asarray(partitions.labels)]
    assert np.all(shares > 0)
    assert np.median(found) > 0.9  # in some chains an anchor sits on the wrong side


def test_fixed_concentration_stays(x):
    mixture = Mixture(GaussianDiagonal(3), K, DirichletProcess(False))
    prior = default_prior(mixture, jnp.asarray(x))
    prior = prior._replace(concentration=Gamma(jnp.asarray(6.0), jnp.asarray(2.0)))
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    assert sweeps(gibbs(mixture, prior), x, start).state.sweep.alpha == 3.0


def test_float32_stays_float32(x):
    mixture = Mixture(GaussianFull(3), K)
    x = x.astype(np.float32)
    prior = default_prior(mixture, jnp.asarray(x))
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    algorithm = gibbs(mixture, prior, moves=(label_switching(), split_merge()))
    leaves = jax.tree.leaves(sweeps(algorithm, x, start).state.posterior)
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}


def test_moves_with_points_need_one_batch(problem, x):
    mixture, prior, start = problem
    with pytest.raises(ValueError, match="all data in one batch, got 2 batches; set batch_size"):
        sweeps(gibbs(mixture, prior, moves=(split_merge(),)), x, start, batch_size=25)
    with pytest.raises(ValueError, match=r"layout\.batch_size must be known, got 0"):
        gibbs(mixture, prior, keep_labels=True).init(start)
    assert gibbs(mixture, prior, keep_labels=True).init(start, Layout(1, N)).labels.shape == (1, N)


def test_wrong_numbers_of_proposals():
    with pytest.raises(ValueError, match="num_proposals must be at least 1, got 0"):
        label_switching(0)
    with pytest.raises(ValueError, match="num_proposals must be at least 1, got -1"):
        split_merge(-1)
    with pytest.raises(ValueError, match="num_refinements must not be negative, got -2"):
        split_merge(1, -2)


def test_sticks_without_draws_are_one_sentence(problem):
    class Fixed(StickBreaking):
        def prior_fractions(self, alpha, num_components):
            return 1.0, 1.0

        def concentration(self, a, b, prior, previous):
            return prior

        def kl_divergence(self, sticks, prior):
            return jnp.zeros(())

    mixture, prior, start = problem
    other = Mixture(mixture.family, K, Fixed())
    with pytest.raises(TypeError, match="Fixed cannot be sampled: expected the method sample_conc"):
        gibbs(other, prior).init(start)
