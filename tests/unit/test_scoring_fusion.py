import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdpmm.scoring import Scorer, fuse, fused, fusion_of, learn_fusion
from jaxdpmm.scoring.fusion import learn_survival, minus_log_p

NUM_POINTS = 20_000


def correlated(correlation, seed, num_points=NUM_POINTS):
    """Three normal variables of which each two have a correlation, in units that differ by factors of a thousand."""
    covariance = np.full((3, 3), correlation) + (1 - correlation) * np.eye(3)
    draws = np.random.default_rng(seed).multivariate_normal(np.zeros(3), covariance, num_points)
    return draws * np.array([1.0, 1e-3, 1e3])


@pytest.mark.parametrize("combine", ["sum", "largest"])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_p_values_of_new_normal_points_are_uniform_whatever_the_dependence(correlation, combine):
    fusion = learn_fusion(correlated(correlation, 0), combine)
    p = np.exp(-np.asarray(fuse(fusion, jnp.asarray(correlated(correlation, 1)), combine)))
    assert stats.kstest(p, "uniform").statistic < 0.02
    for rate in (0.05, 0.01, 0.002):
        assert abs(np.mean(p <= rate) - rate) < 4 * np.sqrt(2 * rate / NUM_POINTS)


def test_of_independent_scores_the_fused_one_is_that_of_fisher():
    scores = np.random.default_rng(0).exponential(size=(NUM_POINTS, 4))
    new = np.random.default_rng(1).exponential(size=(500, 4))
    expected = -stats.gamma(4).logsf(new.sum(1))
    found = np.asarray(fuse(learn_fusion(scores), jnp.asarray(new)))
    common = expected < 4
    np.testing.assert_allclose(found[common], expected[common], atol=0.15)
    assert stats.spearmanr(found, expected).statistic > 0.995


def test_the_largest_of_independent_scores_has_the_p_value_of_tippett():
    scores = np.random.default_rng(0).exponential(size=(NUM_POINTS, 4))
    new = np.random.default_rng(1).exponential(size=(500, 4))
    expected = -np.log1p(-((1 - np.exp(-new.max(1))) ** 4))
    found = np.asarray(fuse(learn_fusion(scores, "largest"), jnp.asarray(new), "largest"))
    common = expected < 4
    np.testing.assert_allclose(found[common], expected[common], atol=0.15)


def test_an_odd_score_among_usual_ones_counts_more_where_the_largest_is_taken():
    scores = np.random.default_rng(0).normal(size=(NUM_POINTS, 5))
    one = jnp.asarray([[5.0, -1, -1, -1, -1]])
    found = {
        combine: float(fuse(learn_fusion(scores, combine), one, combine)[0])
        for combine in ("sum", "largest")
    }
    assert found["largest"] > found["sum"] + 2


def test_each_score_counts_whatever_its_unit():
    fusion = learn_fusion(correlated(0.3, 0))
    ones = np.zeros((4, 3)) + np.vstack([np.zeros(3), np.diag([6.0, 6e-3, 6e3])])
    normal, *odd = np.asarray(fuse(fusion, jnp.asarray(ones)))
    assert min(odd) > normal + 3
    assert max(odd) - min(odd) < 2


def test_a_score_in_nats_is_added_as_it_is():
    x = np.abs(correlated(0.0, 0))[:, :2] * np.array([5.0, 1])
    fusion, plain = learn_fusion(x, in_nats=[1]), learn_fusion(x)
    survivals = [
        jax.tree.map(lambda leaf, place=place: leaf[place], fusion.each) for place in (0, 1)
    ]
    first, second = (
        minus_log_p(one, jnp.asarray(column)) for one, column in zip(survivals, x.T, strict=True)
    )
    np.testing.assert_allclose(second, x[:, 1], rtol=1e-6)
    alone = jax.tree.map(lambda leaf: leaf[0], plain.each)
    np.testing.assert_array_equal(first, minus_log_p(alone, jnp.asarray(x[:, 0])))
    np.testing.assert_allclose(
        fuse(fusion, jnp.asarray(x)), minus_log_p(fusion.total, first + second), rtol=1e-6
    )


def test_the_fused_score_grows_with_each_score_and_never_saturates():
    fusion = learn_fusion(correlated(0.5, 0))
    steps = np.linspace(-4, 60, 200)
    for column, unit in enumerate([1.0, 1e-3, 1e3]):
        points = np.zeros((len(steps), 3))
        points[:, column] = steps * unit
        found = np.asarray(fuse(fusion, jnp.asarray(points)))
        assert (np.diff(found) >= 0).all()
        assert (np.diff(found)[steps[1:] > 5] > 0).all()


@pytest.mark.parametrize("shape", [0.0, 0.25])
def test_the_tail_is_that_of_the_distribution(shape):
    tail = stats.genpareto(shape) if shape else stats.expon()
    survival = learn_survival(tail.rvs(size=200_000, random_state=0))
    beyond = tail.isf([1e-3, 1e-4, 1e-6])
    found = np.asarray(minus_log_p(survival, jnp.asarray(beyond)))
    np.testing.assert_allclose(found, -tail.logsf(beyond), rtol=0.08)


def test_scores_that_are_all_equal_do_no_harm():
    scores = np.stack([np.ones(500), np.random.default_rng(0).normal(size=500)], axis=1)
    found = np.asarray(fuse(learn_fusion(scores), jnp.asarray([[1.0, 0], [1.0, 4], [2.0, 0]])))
    assert np.isfinite(found).all()
    assert found[0] < found[1] < found[2]


def column(number):
    return Scorer(lambda factor: factor, lambda factor, x: factor * x[:, number])


def test_a_scorer_of_scorers():
    scorers, fitted = (column(0), column(1)), (jnp.asarray(1.0), jnp.asarray(3.0))
    x = np.random.default_rng(0).normal(size=(2000, 2))
    fusion = fusion_of(scorers, fitted, x)
    scorer = fused(scorers)
    assert fused((column(0), column(1))) is not scorer
    assert fused(scorers) is scorer
    params = jax.jit(scorer.prepare)((fitted, fusion))
    found = jax.jit(scorer.score)(params, jnp.asarray(x))
    expected = fuse(learn_fusion(x * np.array([1, 3])), jnp.asarray(x * np.array([1, 3])))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_fused_scorer_can_be_exported_for_any_number_of_points():
    scorers, fitted = (column(0), column(1)), (jnp.asarray(1.0), jnp.asarray(3.0))
    x = np.random.default_rng(0).normal(size=(500, 2))
    scorer = fused(scorers, "largest")
    params = scorer.prepare((fitted, fusion_of(scorers, fitted, x, "largest")))
    (number,) = jax.export.symbolic_shape("N")
    points = jax.ShapeDtypeStruct((number, 2), x.dtype)
    exported = jax.export.export(jax.jit(lambda x: scorer.score(params, x)))(points)
    found = jax.export.deserialize(exported.serialize()).call(jnp.asarray(x[:7]))
    np.testing.assert_allclose(found, scorer.score(params, jnp.asarray(x[:7])), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.zeros((99, 2)), np.full((200, 2), np.nan)])
def test_too_few_normal_points_or_numbers_that_are_none(bad):
    with pytest.raises(ValueError, match="normal_scores must be at least 100 finite numbers, got"):
        learn_fusion(bad)


def test_an_unknown_way_to_combine():
    with pytest.raises(ValueError, match="combine must be one of sum, largest, got 'mean'; choose"):
        learn_fusion(np.zeros((200, 2)), "mean")
