"""Left-out scores: what is left is the posterior of the others, exactly; and how far that is from fitting them anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FAMILIES
from scipy.stats import spearmanr

import jaxdpmm
from jaxdpmm import trees
from jaxdpmm.inference import candidates, cavi, dense, fit, initialize, sparse
from jaxdpmm.leave_out import (
    _scores_without,
    group_stats,
    leave_one_out,
    posterior_without,
    scores_without,
    sum_groups,
)
from jaxdpmm.model import (
    Mixture,
    Posterior,
    Prior,
    compact,
    default_prior,
    global_update,
    stats_of,
    summarize,
)
from jaxdpmm.programs import jitted
from jaxdpmm.scoring import SCORERS, nearest_predictive, predictive, score
from jaxdpmm.sticks import Sticks, expected_log_weights, log_mean_weights, without_weight

SIZES = (17, 20, 9, 25)  # points per group, of three padded sizes


def groups_of(x, sizes=SIZES):
    """Points cut into groups of these sizes."""
    return np.split(np.asarray(x), np.cumsum(sizes)[:-1])


def blobs(random, num_points, dim=3, num_blobs=4):
    """Blobs that are well apart."""
    centres = 20 * np.random.default_rng(7).normal(size=(num_blobs, dim))
    return centres[random.integers(0, num_blobs, num_points)] + random.normal(
        size=(num_points, dim)
    )


def fitted(x, family, num_components=4, sticks=None):
    """Mixture, prior and the posterior after some sweeps."""
    mixture = Mixture(family, num_components, sticks or jaxdpmm.DirichletProcess())
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    result = fit(cavi(mixture, prior), x, start, num_epochs=5)
    return mixture, prior, result.posterior


def custom(name):
    """Mixture, prior and a posterior of a row of the contract tables, points in the order of a shuffle."""
    family, natural, x = FAMILIES[name](np.float64)
    mixture = Mixture(family, 3)
    prior = Prior(natural, mixture.sticks.default_prior(jnp.float64))
    responsibilities = np.random.default_rng(0).dirichlet([0.1] * 3, len(x))
    points = jnp.asarray(x)
    stats = summarize(mixture, jnp.asarray(responsibilities), points, jnp.ones(len(x)), None)
    return (
        mixture,
        prior,
        global_update(mixture, prior, stats),
        np.random.default_rng(1).permutation(x),
    )


def assert_close(left, right, rtol=1e-9):
    for a, b in zip(*map(jax.tree.leaves, (left, right)), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize(
    ("name", "step"),
    [
        *((name, dense) for name in ("full-5", "diagonal-5", "poisson", "bernoulli")),
        ("spherical-5", sparse(2)),
        ("full-5", candidates(3, 2)),
    ],
)
def test_without_a_group_is_the_posterior_of_the_others(name, step):
    mixture, prior, posterior, x = custom(name)
    groups = groups_of(x, (8, 5, 17))
    sums = sum_groups(mixture, posterior, groups, step)
    each = [
        group_stats(mixture, step, sums.readout, jnp.asarray(one), jnp.ones(len(one)))
        for one in groups
    ]
    for number, own in enumerate(each):
        others = [one for place, one in enumerate(each) if place != number]
        rest = trees.add(*others)
        found = posterior_without(mixture, prior, sums, own)
        expected = global_update(mixture, prior, rest, posterior)
        assert_close(found, expected)
        assert float(rest.counts.min()) > 0.5  # none is left empty here


@pytest.mark.parametrize(
    "family",
    [
        jaxdpmm.GaussianTied(3),
        jaxdpmm.GaussianLowRank(3, 1),
        jaxdpmm.VonMisesFisher(3),
    ],
    ids=lambda family: type(family).__name__,
)
def test_families_that_share_or_hide_something(family):
    x = blobs(np.random.default_rng(0), sum(SIZES))
    if isinstance(family, jaxdpmm.VonMisesFisher):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    mixture, prior, posterior = fitted(x, family)
    sums = sum_groups(mixture, posterior, groups_of(x))
    each = [
        group_stats(mixture, dense, sums.readout, jnp.asarray(one), jnp.ones(len(one)))
        for one in groups_of(x)
    ]
    rest = trees.add(trees.add(each[0], each[1]), each[3])
    expected = global_update(mixture, prior, rest, posterior)
    assert_close(posterior_without(mixture, prior, sums, each[2]), expected)


def test_scores_are_those_under_the_posterior_without_the_group():
    x = blobs(np.random.default_rng(1), sum(SIZES))
    mixture, prior, posterior = fitted(x, jaxdpmm.GaussianDiagonal(3))
    groups = groups_of(x)
    found = list(leave_one_out(mixture, prior, posterior, groups, predictive(mixture)))
    assert [len(one) for one in found] == list(SIZES)
    sums = sum_groups(mixture, posterior, groups)
    for number, one in enumerate(groups):
        own = group_stats(mixture, dense, sums.readout, jnp.asarray(one), jnp.ones(len(one)))
        without = posterior_without(mixture, prior, sums, own)
        np.testing.assert_allclose(
            found[number], score(predictive(mixture), without, one), rtol=1e-9
        )
        assert np.all(found[number] > score(predictive(mixture), posterior, one) - 0.2)


@pytest.mark.parametrize("name", [name for name in SCORERS if name != "residual"])
def test_a_component_that_only_the_group_fed_is_not_there(name):
    """As if it had been dropped from the mixture of the others, whichever score asks."""
    random = np.random.default_rng(2)
    x, far = blobs(random, 60), np.full((12, 3), 90.0) + random.normal(size=(12, 3))
    groups = [x[:30], np.concatenate([x[30:45], far]), x[45:]]
    mixture, prior, posterior = fitted(np.concatenate(groups), jaxdpmm.GaussianFull(3), 5)
    mixture, posterior = compact(mixture, prior, posterior)
    scorer = SCORERS[name](mixture)
    found = list(leave_one_out(mixture, prior, posterior, groups, scorer))[1]

    sums = sum_groups(mixture, posterior, groups)
    others = sum_groups(mixture, posterior, [groups[0], groups[2]]).stats
    kept = np.flatnonzero(np.asarray(others.counts) > 0.5)
    assert len(kept) == mixture.num_components - 1
    smaller = Mixture(mixture.family, len(kept))
    counts = others.counts[kept]
    sticks = mixture.sticks.posterior(counts, prior.concentration, sums.sticks)
    all_of_them = global_update(mixture, prior, others, posterior)
    components = trees.take(all_of_them.components, kept)
    refit = Posterior(sticks, components, counts, prior.offset)
    expected = score(SCORERS[name](smaller), refit, groups[1])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[15:].min() > score(scorer, posterior, far).max()


def test_nearest_components_without_data_take_no_place_among_the_candidates():
    """All of them have the prior's mean: between clusters on both sides it is nearest, and says nothing."""
    x = np.concatenate([np.full((20, 1), side) for side in (-1.0, 1.0)])
    x = x + 0.01 * np.random.default_rng(3).normal(size=x.shape)
    mixture = Mixture(jaxdpmm.GaussianSpherical(1), 12)
    prior = default_prior(mixture, x)
    responsibilities = jnp.zeros((40, 12)).at[:20, 0].set(1).at[20:, 1].set(1)
    stats = summarize(mixture, responsibilities, jnp.asarray(x), jnp.ones(40), prior.offset)
    posterior = global_update(mixture, prior, stats)
    point = np.array([[0.4]])
    params, offset = predictive(mixture).prepare(posterior)[1:]
    density = mixture.family.log_predictive_matrix(params, jnp.asarray(point) - offset[None])
    weights = log_mean_weights(posterior.sticks)
    expected = -np.logaddexp.reduce(np.asarray(weights + density[0])[:2])
    found = score(nearest_predictive(mixture, 2), posterior, point)
    np.testing.assert_allclose(found, [expected], rtol=1e-9)


def test_single_precision_loses_nothing_to_cancellation():
    """One group holds nearly all points of a component, whose mean is far from the reference point."""
    random = np.random.default_rng(4)
    centres = np.array([[100.0, -50.0], [-100.0, 50.0]])
    large = centres[0] + 0.1 * random.normal(size=(20_000, 2))
    few = centres[0] + 0.1 * random.normal(size=(5, 2))
    other = centres[1] + 0.1 * random.normal(size=(20_000, 2))
    groups = [one.astype(np.float32) for one in (large, np.concatenate([few, other]))]
    mixture = Mixture(jaxdpmm.GaussianDiagonal(2), 2)
    found, exact = [], []
    for dtype in (np.float32, np.float64):
        own = [one.astype(dtype) for one in groups]
        whole = np.concatenate(own)
        prior = default_prior(mixture, np.concatenate(groups).astype(dtype))
        labels = (whole[:, :1] < 0).astype(dtype)
        stats = summarize(
            mixture,
            jnp.concatenate([1 - labels, jnp.asarray(labels)], axis=1),
            jnp.asarray(whole),
            jnp.ones(len(whole), dtype),
            prior.offset,
        )
        posterior = global_update(mixture, prior, stats)
        sums = sum_groups(mixture, posterior, own)
        first, second = (
            group_stats(mixture, dense, sums.readout, jnp.asarray(one), jnp.ones(len(one), dtype))
            for one in own
        )
        without = posterior_without(mixture, prior, sums, first)
        found.append(stats_of(prior, without).components)
        exact.append(second.components)
    for of_rest, wanted in zip(*map(jax.tree.leaves, (found[0], exact[1])), strict=True):
        of_rest, wanted = np.asarray(of_rest, float), np.asarray(wanted)
        error = np.abs(of_rest[0] - wanted[0]) / np.abs(wanted[0])
        assert np.all(error < 1e-4), (of_rest, wanted)


def test_left_out_scores_are_close_to_those_of_refits():
    """Against fits of the other groups from a start of their own: same order, a little lower."""
    random = np.random.default_rng(5)
    groups = [blobs(random, 60, dim=8, num_blobs=6) for _ in range(12)]
    groups = [one + 0.3 * random.normal(size=(1, 8)) for one in groups]
    groups[4][:6] += 6 * random.normal(size=(6, 8))  # some that are unlike all others
    mixture, prior, posterior = fitted(np.concatenate(groups), jaxdpmm.GaussianDiagonal(8), 10)
    quick = np.concatenate(
        list(leave_one_out(mixture, prior, posterior, groups, predictive(mixture)))
    )
    whole = score(predictive(mixture), posterior, np.concatenate(groups))
    refits = []
    for number in range(len(groups)):
        others = np.concatenate([one for place, one in enumerate(groups) if place != number])
        again = fitted(others, jaxdpmm.GaussianDiagonal(8), 10)
        refits.append(score(predictive(mixture), again[2], groups[number]))
    refit = np.concatenate(refits)
    assert spearmanr(quick, refit).statistic > 0.95
    neglected, optimism = np.mean(refit - quick), np.mean(refit - whole)
    assert -0.02 < neglected < 0.25 * optimism


def test_hidden_components_have_no_weight_and_the_others_keep_theirs():
    counts = jnp.array([30.0, 0.0, 12.0, 0.0])
    sticks = jaxdpmm.DirichletProcess()
    found = sticks.posterior(counts, sticks.default_prior(jnp.float64), None)
    hidden = without_weight(found, counts == 0)
    kept = sticks.posterior(counts[::2], sticks.default_prior(jnp.float64), None)
    for weights in (log_mean_weights, expected_log_weights):
        inside = np.asarray(weights(hidden))
        np.testing.assert_allclose(inside[::2], weights(kept), rtol=1e-12)
        assert np.all(inside[1::2] == -np.inf)
    assert float(log_mean_weights(without_weight(found, counts >= 0))[3]) == 0
    assert isinstance(hidden, Sticks)


def test_groups_of_one_size_share_a_program():
    x = blobs(np.random.default_rng(6), 60)
    mixture, prior, posterior = fitted(x, jaxdpmm.GaussianSpherical(3))
    sums = sum_groups(mixture, posterior, [x[:30], x[30:]])
    scorer = predictive(mixture)
    scores_without(mixture, prior, sums, x[:30], scorer)
    program = jitted(_scores_without, mixture, dense, scorer)
    before = program._cache_size()
    scores_without(mixture, prior, sums, x[31:], scorer)
    assert program._cache_size() == before


def test_bad_groups():
    x = blobs(np.random.default_rng(8), 40)
    mixture, prior, posterior = fitted(x, jaxdpmm.GaussianSpherical(3))
    scorer = predictive(mixture)
    with pytest.raises(ValueError, match=r"groups must be at least two, .* got 1; give more"):
        leave_one_out(mixture, prior, posterior, [x], scorer)
    with pytest.raises(ValueError, match=r"go through again, got list_iterator, .* pass a list"):
        leave_one_out(mixture, prior, posterior, iter([x, x]), scorer)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 3\) to match .* got \(40, 2\)"):
        leave_one_out(mixture, prior, posterior, [x, x[:, :2]], scorer)
    with pytest.raises(ValueError, match="x must be finite, got nan or infinity in 1 of 40"):
        leave_one_out(mixture, prior, posterior, [x, np.where(x == x[3, 1], np.nan, x)], scorer)
    assert len(list(leave_one_out(mixture, prior, posterior, lambda: iter([x, x]), scorer))) == 2
