"""Adding, withdrawing and merging data are sums of statistics, and equal the fit that saw just those data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm import trees
from jaxdpmm.bound import elbo_after_update
from jaxdpmm.inference import ArraySource, dense, fit
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.local_steps.sparse import candidates, sparse
from jaxdpmm.inference.update import from_stats, match, merge, partial_fit, subtract
from jaxdpmm.model import stats_of, summarize

GENERATOR = np.random.default_rng(0)
X = np.concatenate([GENERATOR.normal(6 * k, 1, (60, 2)) for k in range(3)])[
    GENERATOR.permutation(180)
]
WEIGHT = GENERATOR.uniform(0.5, 2, len(X))
MIXTURE = jaxdpmm.Mixture(jaxdpmm.GaussianFull(2), 5)
PRIOR = jaxdpmm.default_prior(MIXTURE, X)


def start(x=X):
    return jaxdpmm.initialize(MIXTURE, PRIOR, x, key=jax.random.key(0))


def assert_equal(left, right, rtol=1e-9):
    for a, b in zip(*map(jax.tree.leaves, (left, right)), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("step", [dense, sparse(2), candidates(3, 1)])
def test_withdrawn_data_leave_no_trace(step):
    before = from_stats(MIXTURE, PRIOR, stats_of(PRIOR, start(X[:100])))
    after, stats = partial_fit(MIXTURE, PRIOR, before, X[100:], local_step=step, batch_size=30)
    assert float(after.counts.sum()) == pytest.approx(180)
    assert float(stats.counts.sum()) == pytest.approx(80)
    assert_equal(subtract(MIXTURE, PRIOR, after, stats), before)


def test_a_batch_of_a_memoized_fit_is_withdrawn_as_if_it_had_not_been_there():
    result = fit(memoized(MIXTURE, PRIOR), X, start(), num_epochs=5, batch_size=45)
    without = subtract(MIXTURE, PRIOR, result.posterior, trees.take(result.state.batches, 2))
    others = trees.take(result.state.batches, np.array([0, 1, 3]))
    never_seen = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), others)
    assert_equal(without, from_stats(MIXTURE, PRIOR, never_seen))
    assert float(without.counts.sum()) == pytest.approx(135)


def test_new_data_are_what_a_memoized_fit_makes_of_a_new_batch():
    """Old statistics in one slot, the new data in the other, visited alone."""
    old = fit(jaxdpmm.cavi(MIXTURE, PRIOR), X[:90], start(), num_epochs=3).posterior
    total = stats_of(PRIOR, old)
    algorithm = memoized(MIXTURE, PRIOR)
    batches = jax.tree.map(lambda leaf: jnp.stack([leaf, jnp.zeros_like(leaf)]), total)
    state = algorithm.init(old, Layout(2, 90, 90.0))._replace(total=total, batches=batches)
    (batch,) = ArraySource(X[90:], MIXTURE.family).sweep()
    batch = batch._replace(slot=jnp.asarray(1, jnp.int32))
    state, _ = algorithm.step(jax.random.key(0), state, batch)
    found, stats = partial_fit(MIXTURE, PRIOR, old, X[90:])
    assert_equal(found.components, state.posterior.components)
    assert_equal(found.counts, state.posterior.counts)
    assert_equal(stats, trees.take(state.batches, 1))


def test_more_sweeps_over_new_data_raise_the_bound_of_old_and_new():
    old = start(X[:60])
    values = []
    for num_epochs in range(1, 8):
        posterior, new = partial_fit(MIXTURE, PRIOR, old, X[60:], num_epochs=num_epochs)
        own = stats_of(PRIOR, posterior)._replace(entropy=new.entropy, log_base=new.log_base)
        values.append(float(elbo_after_update(MIXTURE, PRIOR, posterior, own)))
    assert np.diff(values).min() > -1e-8
    assert values[-1] > values[0] + 1e-3


def labelled(labels, x):
    """The posterior under given labels."""
    responsibilities = jax.nn.one_hot(jnp.asarray(labels), MIXTURE.num_components)
    weight = jnp.ones(len(x))
    stats = summarize(MIXTURE, responsibilities, jnp.asarray(x), weight, PRIOR.offset)
    return from_stats(MIXTURE, PRIOR, stats)


def test_sites_whose_components_have_other_numbers_merge_to_the_fit_of_the_whole():
    """Three clusters at one site, two of them and one of its own at the other; two slots stay empty, or one."""
    x = np.concatenate([X, GENERATOR.normal(-20, 1, (40, 2))])
    labels = np.argmin(np.abs(x[:, :1] - np.array([[0.0, 6.0, 12.0, -20.0]])), axis=1)
    is_first = (np.arange(len(x)) % 2 == 0) & (labels != 3)
    is_second = ~is_first & (labels != 1)
    renamed = np.array([4, 0, 1, 2])[labels]
    first = labelled(labels[is_first], x[is_first])
    second = labelled(renamed[is_second], x[is_second])
    with pytest.raises(ValueError, match="start all fits from one posterior, or match them"):
        merge(MIXTURE, PRIOR, [first, second])
    found = merge(MIXTURE, PRIOR, [first, match(MIXTURE, PRIOR, second, first)])
    both = is_first | is_second
    whole = labelled(labels[both], x[both])
    order = np.argsort(-np.asarray(whole.counts), kind="stable")
    assert float(jnp.sum(found.counts > 0)) == 4
    own = np.argsort(-np.asarray(found.counts), kind="stable")
    assert_equal(trees.take(found.components, own), trees.take(whole.components, order))
    assert_equal(found.counts[:3], whole.counts[:3])


def test_weight_two_is_the_point_twice():
    twice, _ = partial_fit(MIXTURE, PRIOR, start(), np.concatenate([X, X[:50]]))
    weight = np.where(np.arange(180) < 50, 2.0, 1.0)
    weighted, stats = partial_fit(MIXTURE, PRIOR, start(), X, sample_weight=weight, batch_size=37)
    assert_equal(weighted, twice)
    assert float(stats.counts.sum()) == pytest.approx(230)


def test_the_order_of_updates_does_not_matter():
    _, first = partial_fit(MIXTURE, PRIOR, start(), X[:50], sample_weight=WEIGHT[:50])
    _, second = partial_fit(MIXTURE, PRIOR, start(), X[50:], sample_weight=WEIGHT[50:])
    both = from_stats(MIXTURE, PRIOR, trees.add(first, second))
    other = from_stats(MIXTURE, PRIOR, trees.add(second, first))
    assert_equal(both, other)
    sticks = MIXTURE.sticks.posterior(both.counts, PRIOR.concentration, both.sticks)
    assert_equal(sticks, both.sticks)  # the fixed point


def test_few_points_in_many_components_leave_no_memory_in_the_sticks():
    """A further update changes nothing, where 100 plain ones would not have come to rest."""
    mixture = jaxdpmm.Mixture(MIXTURE.family, 200)
    prior = jaxdpmm.default_prior(mixture, X)
    nothing = stats_of(
        prior, jaxdpmm.initialize(mixture, prior, np.concatenate([X, X]), key=jax.random.key(0))
    )
    few = trees.scale(nothing, 3 / float(jnp.sum(nothing.counts)))
    found = from_stats(mixture, prior, few)
    again = mixture.sticks.posterior(found.counts, prior.concentration, found.sticks)
    assert_equal(again, found.sticks, rtol=1e-10)


def test_merged_fits_equal_one_sweep_over_all_data():
    begin = start()
    algorithm = jaxdpmm.cavi(MIXTURE, PRIOR)
    parts = [fit(algorithm, x, begin, num_epochs=1).posterior for x in (X[:40], X[40:110], X[110:])]
    whole = fit(algorithm, X, begin, num_epochs=1).posterior
    merged = merge(MIXTURE, PRIOR, parts)
    assert_equal(merged.components, whole.components)
    assert_equal(merged.counts, whole.counts)
    assert_equal(merged, merge(MIXTURE, PRIOR, parts[::-1]))


def test_a_common_base_counts_once():
    base, _ = partial_fit(MIXTURE, PRIOR, start(X[:60]), X[60:90])
    sites = [partial_fit(MIXTURE, PRIOR, base, x)[0] for x in (X[90:120], X[120:])]
    merged = merge(MIXTURE, PRIOR, sites, base)
    assert float(merged.counts.sum()) == pytest.approx(180)
    expected, _ = partial_fit(MIXTURE, PRIOR, base, X[90:])
    assert_equal(merged, expected)


def test_what_cannot_be_subtracted_or_merged_is_refused():
    posterior, stats = partial_fit(MIXTURE, PRIOR, start(X[:60]), X[60:])
    with pytest.raises(ValueError, match=r"stats must be part of the posterior, got .* points of"):
        subtract(MIXTURE, PRIOR, start(X[:30]), stats)
    small, smaller = jaxdpmm.compact(MIXTURE, PRIOR, posterior, 30.0)
    assert small.num_components < 5
    with pytest.raises(ValueError, match="must have the same components everywhere"):
        merge(MIXTURE, PRIOR, [posterior, smaller])
    with pytest.raises(ValueError, match="must have the same components everywhere"):
        subtract(small, PRIOR, smaller, stats)
    with pytest.raises(ValueError, match=r"reference point \(offset\)"):
        merge(MIXTURE, PRIOR, [posterior, posterior._replace(offset=PRIOR.offset + 1)])
    permuted = trees.take(posterior.components, np.array([1, 2, 3, 4, 0]))
    other = posterior._replace(components=permuted, counts=jnp.roll(posterior.counts, -1))
    with pytest.raises(ValueError, match=r"of the same meaning.*number 1.*start all fits from one"):
        merge(MIXTURE, PRIOR, [posterior, other])
    with pytest.raises(ValueError, match="at least one posterior, got none"):
        merge(MIXTURE, PRIOR, [])
    with pytest.raises(ValueError, match="num_epochs must be at least 1, got 0"):
        partial_fit(MIXTURE, PRIOR, posterior, X, num_epochs=0)
