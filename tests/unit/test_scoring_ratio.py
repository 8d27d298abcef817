import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdpmm import GaussianDiagonal, Mixture, Prior
from jaxdpmm.grouping import label_statistics
from jaxdpmm.model import global_update
from jaxdpmm.scoring import anomaly_hypotheses, log_ratio, predictive, score
from jaxdpmm.scoring.ratio import Hypotheses

NUM_POINTS = 40_000
POINTS = np.linspace(-4, 8, 25)[:, None] + np.array([[0.0, 0.5]])


def posterior_of(mixture, x, labels):
    """The posterior of points of known components, under one weak prior for all mixtures."""
    component = mixture.family.prior(jnp.zeros(2), jnp.ones(2), 0.01, 3.0)
    prior = Prior(component, mixture.sticks.default_prior(jnp.float64))
    ones = jnp.ones(len(x))
    stats = label_statistics(mixture, jnp.asarray(labels), jnp.asarray(x), ones, None)
    return global_update(mixture, prior, stats)


def gaussian(mean, seed):
    return np.random.default_rng(seed).normal(size=(NUM_POINTS, 2)) + np.asarray(mean)


@pytest.fixture(scope="module")
def two_gaussians():
    mixture = Mixture(GaussianDiagonal(2), 1)
    labels = np.zeros(NUM_POINTS, int)
    normal, other = (
        posterior_of(mixture, gaussian(mean, seed), labels)
        for seed, mean in enumerate([(0, 0), (4, 0)])
    )
    return mixture, normal, other


def log_density(mean):
    return stats.multivariate_normal(mean, np.eye(2)).logpdf(POINTS)


def test_odds_of_two_gaussians_are_those_of_bayes(two_gaussians):
    mixture, normal, other = two_gaussians
    scorer = log_ratio(predictive(mixture), predictive(mixture))
    found = score(scorer, Hypotheses(other, normal, np.log(0.3)), POINTS)
    expected = np.log(0.3) + log_density([4, 0]) - log_density([0, 0])
    np.testing.assert_allclose(found, expected, atol=0.3)
    same = score(scorer, Hypotheses(normal, normal), POINTS)
    np.testing.assert_allclose(same, 0, atol=1e-12)


def test_a_planted_component_has_its_bayes_factor(two_gaussians):
    """All points are a tenth of the planted kind: log(0.9 + 0.1 p_planted / p_normal)."""
    _, normal, _ = two_gaussians
    planted = gaussian((6, 0), 5)[: NUM_POINTS // 9]
    x = np.concatenate([gaussian((0, 0), 0), planted])
    labels = np.repeat([0, 1], [NUM_POINTS, len(planted)])
    one, two = (Mixture(GaussianDiagonal(2), number) for number in (1, 2))
    scorer = log_ratio(predictive(two), predictive(one))
    found = score(scorer, Hypotheses(posterior_of(two, x, labels), normal), POINTS)
    ratio = np.exp(log_density([6, 0]) - log_density([0, 0]))
    np.testing.assert_allclose(found, np.log(0.9 + 0.1 * ratio), atol=0.1, rtol=0.03)


def test_without_known_anomalies_the_order_is_that_of_the_density(two_gaussians):
    mixture, normal, _ = two_gaussians
    scorer = log_ratio(predictive(mixture), predictive(mixture))
    found = score(scorer, anomaly_hypotheses(normal, None, 0, -12.0), POINTS)
    density = score(predictive(mixture), normal, POINTS)
    np.testing.assert_allclose(found, density - 12.0, rtol=1e-12)


def test_known_anomalies_rise_and_unknown_ones_are_still_found(two_gaussians):
    mixture, normal, other = two_gaussians
    scorer = log_ratio(predictive(mixture), predictive(mixture))
    points = np.array([[0.0, 0], [4, 0], [0, 9]])  # normal, known, unknown
    without, with_known = (
        score(scorer, anomaly_hypotheses(normal, *known, -6.0), points)
        for known in [(None, 0), (other, 3)]
    )
    assert with_known[1] > without[1] + 3
    np.testing.assert_allclose(with_known[[0, 2]], without[[0, 2]] - np.log(4), atol=0.2)
    assert with_known[0] < min(with_known[1:])


def test_equal_scorers_share_one_ratio():
    scorer = predictive(Mixture(GaussianDiagonal(2), 3))
    assert log_ratio(scorer, scorer) is log_ratio(scorer, scorer)


@pytest.mark.parametrize(("known", "number"), [(None, 2), ("a posterior", 0), (None, -1)])
def test_a_number_that_does_not_fit(known, number):
    with pytest.raises(ValueError, match=f"num_known must be the number of .*, got {number}"):
        anomaly_hypotheses("normal", known, number, -9.0)
