"""Pitman-Yor and symmetric Dirichlet sticks, against SciPy, quadrature and closed forms; and the truncation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jaxdpmm import DirichletProcess, Gamma
from jaxdpmm.inference import FitResult
from jaxdpmm.inference.truncation import last_stick_mass, warn_if_truncation_binds
from jaxdpmm.model import Posterior
from jaxdpmm.sticks import (
    PitmanYor,
    Sticks,
    SymmetricDirichlet,
    expected_log_weights,
    log_mean_weights,
)
from jaxdpmm.testing import check_sticks

COUNTS = jnp.array([30.0, 5.0, 0.0, 12.0, 1.5, 0.0])
PRIOR = Gamma(jnp.asarray(2.0), jnp.asarray(0.5))
PRIORS = [
    PitmanYor(0.0),
    PitmanYor(0.3),
    PitmanYor(0.9),
    PitmanYor(0.3, infer_concentration=False),
    SymmetricDirichlet(),
]


@pytest.mark.parametrize("sticks", PRIORS, ids=repr)
def test_posterior_is_the_best_q_under_the_divergence(sticks):
    check_sticks(sticks, PRIOR, COUNTS, num_draws=20_000)


@pytest.mark.parametrize("sticks", PRIORS, ids=repr)
def test_single_precision_agrees(sticks):
    def run(dtype):
        prior = jax.tree.map(lambda leaf: leaf.astype(dtype), PRIOR)
        found = sticks.posterior(COUNTS.astype(dtype), prior, None)
        return found, sticks.kl_divergence(found, prior)

    for single, double in zip(
        *map(jax.tree.leaves, (run(jnp.float32), run(jnp.float64))), strict=True
    ):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, double, rtol=2e-5)


def test_without_discount_it_is_the_dirichlet_process():
    ours, theirs = PitmanYor(0.0), DirichletProcess()
    found, wanted = (s.posterior(COUNTS, PRIOR, None) for s in (ours, theirs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found, wanted)
    np.testing.assert_allclose(
        ours.kl_divergence(found, PRIOR), theirs.kl_divergence(wanted, PRIOR), rtol=1e-9
    )


@pytest.mark.parametrize("discount", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("shape", [0.7, 3.0, 40.0])
def test_divergence_is_a_bound_from_above_and_close(discount, shape):
    """The exact KL by quadrature over alpha, q(v) integrated in closed form."""
    sticks = PitmanYor(discount)
    q = Sticks(1 + COUNTS[:-1], 2 + COUNTS[:-1] / 2, Gamma(jnp.asarray(shape), jnp.asarray(1.5)))
    a, b = np.asarray(q.a), np.asarray(q.b)
    log_v, log_rest = (
        special.digamma(a) - special.digamma(a + b),
        special.digamma(b) - special.digamma(a + b),
    )
    entropy = np.sum(special.betaln(a, b) - (a - 1) * log_v - (b - 1) * log_rest)
    shift = discount * np.arange(1, len(a) + 1)
    q_alpha, p_alpha = stats.gamma(shape, scale=1 / 1.5), stats.gamma(2.0, scale=2.0)

    def integrand(log_alpha):
        alpha = np.exp(log_alpha)
        log_p = (
            -special.betaln(1 - discount, alpha + shift)
            - discount * log_v
            + (alpha + shift - 1) * log_rest
        )
        ratio = q_alpha.logpdf(alpha) - p_alpha.logpdf(alpha)
        return alpha * q_alpha.pdf(alpha) * (ratio - log_p.sum())

    exact = integrate.quad(integrand, -40, 6, epsabs=1e-10, limit=500)[0] - entropy
    ours = float(sticks.kl_divergence(q, PRIOR))
    spread = special.polygamma(1, shape)  # variance of log alpha, on which Jensen's gap depends
    assert exact - 1e-6 <= ours <= exact + spread  # jax.scipy's betaln is good to 3e-7
    if discount == 0:
        assert ours == pytest.approx(exact, abs=1e-6)


def test_more_discount_gives_more_small_components():
    weights = [
        np.exp(log_mean_weights(PitmanYor(d, False).posterior(jnp.zeros(50), PRIOR, None)))
        for d in (0.0, 0.5)
    ]
    assert weights[1][25:].sum() > 5 * weights[0][25:].sum()


def test_concentration_is_drawn_from_its_density(key):
    log_weights = jnp.log(jnp.array([0.4, 0.3, 0.15, 0.1, 0.05]))
    sticks = PitmanYor(0.4)
    draws = jax.vmap(lambda k: sticks.sample_concentration(k, log_weights, PRIOR)[0])(
        jax.random.split(key, 4000)
    )
    grid = np.linspace(1e-4, 60, 200_001)
    shift = 0.4 * np.arange(1, 5)[:, None]
    log_density = np.log(grid) - 0.5 * grid + grid * np.log(0.05)
    log_density += (special.gammaln(grid + shift + 0.6) - special.gammaln(grid + shift)).sum(0)
    cumulative = np.cumsum(np.exp(log_density - log_density.max()))
    result = stats.kstest(
        np.asarray(draws), lambda value: np.interp(value, grid, cumulative / cumulative[-1])
    )
    assert result.pvalue > 1e-3


def test_concentration_distribution_keeps_the_moments_of_the_draws(key):
    log_weights = jnp.log(jnp.array([0.4, 0.3, 0.15, 0.1, 0.05]))
    _, exact = DirichletProcess().sample_concentration(key, log_weights, PRIOR)
    _, ours = PitmanYor(0.0).sample_concentration(key, log_weights, PRIOR)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), ours, exact)


def test_fixed_concentrations_are_not_drawn(key):
    for sticks in (PitmanYor(0.3, False), SymmetricDirichlet()):
        alpha, given = sticks.sample_concentration(key, jnp.log(jnp.array([0.5, 0.5])), PRIOR)
        assert (float(alpha), given) == (4.0, PRIOR)


def test_symmetric_dirichlet_is_a_dirichlet():
    found = SymmetricDirichlet().posterior(COUNTS, PRIOR, None)
    alpha, prior = np.asarray(COUNTS) + 4 / 6, np.full(6, 4 / 6)
    expected_log = special.digamma(alpha) - special.digamma(alpha.sum())
    np.testing.assert_allclose(expected_log_weights(found), expected_log, rtol=1e-9)
    np.testing.assert_allclose(np.exp(log_mean_weights(found)), alpha / alpha.sum(), rtol=1e-12)
    log_normaliser = special.gammaln(alpha.sum()) - special.gammaln(alpha).sum()
    prior_normaliser = special.gammaln(prior.sum()) - special.gammaln(prior).sum()
    divergence = log_normaliser - prior_normaliser + ((alpha - prior) * expected_log).sum()
    np.testing.assert_allclose(
        SymmetricDirichlet().kl_divergence(found, PRIOR), divergence, rtol=1e-6
    )


def test_wrong_discount_is_refused():
    with pytest.raises(
        ValueError, match=r"discount must be at least 0 and below 1, got 1.0; 0 is the Dirichlet"
    ):
        PitmanYor(1.0)


def posterior_with(counts):
    counts = jnp.asarray(counts)
    return Posterior(DirichletProcess().posterior(counts, PRIOR, None), (), counts)


def test_truncation_is_reported_whatever_the_order():
    sorted_mass = last_stick_mass(posterior_with([50.0, 30.0, 20.0, 0.0]))
    assert float(sorted_mass) < 0.05
    assert float(last_stick_mass(posterior_with([0.0, 20.0, 30.0, 50.0]))) < 0.05
    assert not warn_if_truncation_binds(posterior_with([50.0, 0.0, 20.0]))


def test_truncation_that_binds_warns():
    with pytest.warns(
        UserWarning, match=r"all 3 components hold data and the last stick has mass 0\.2"
    ):
        assert warn_if_truncation_binds(posterior_with([50.0, 30.0, 20.0]))


def test_result_of_a_fit_tells_whether_the_truncation_binds():
    def result(counts):
        return FitResult(posterior_with(counts), (), True, None)

    assert result([50.0, 30.0, 20.0]).truncation_binds
    assert not result([50.0, 30.0, 0.0]).truncation_binds
    assert not result([100.0]).truncation_binds
