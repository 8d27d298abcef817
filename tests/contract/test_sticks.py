"""Every prior of the weights through `check_sticks` and against sampling; planted mistakes found by it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdpmm.sticks import (
    DirichletProcess,
    Gamma,
    PitmanYor,
    Sticks,
    SymmetricDirichlet,
    expected_log_weights,
    log_mean_weights,
    sample_log_weights,
)
from jaxdpmm.testing import SticksError, check_sticks

PRIOR = Gamma(jnp.asarray(2.0), jnp.asarray(1.5))
COUNTS = {
    "falling": [120.5, 30.25, 3.0, 0.5, 0.0, 0.0],
    "empty": [0.0, 0.0, 0.0],
    "last": [0.0, 50.0],
}
STICKS = {
    "fixed": DirichletProcess(infer_concentration=False),
    "inferred": DirichletProcess(infer_concentration=True),
    "pitman-yor": PitmanYor(0.4),
    "symmetric": SymmetricDirichlet(),
}


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("name", STICKS)
def test_posterior_and_divergence_agree(name, counts):
    num_draws = 20_000 if counts == "falling" else 0
    check_sticks(STICKS[name], PRIOR, jnp.asarray(COUNTS[counts]), num_draws=num_draws)


@pytest.mark.parametrize("name", STICKS)
def test_they_agree_in_single_precision(name):
    sticks, counts = STICKS[name], jnp.linspace(1000, 0, 100, dtype=jnp.float32)
    check_sticks(sticks, sticks.default_prior(jnp.float32), counts, tolerance=1e-4)


@pytest.mark.parametrize("name", ["fixed", "inferred", "pitman-yor"])
def test_moments_against_draws_of_scipy(name):
    sticks = fitted(STICKS[name])
    generator = np.random.default_rng(0)
    v = generator.beta(np.asarray(sticks.a), np.asarray(sticks.b), (100_000, len(sticks.a)))
    rest = np.cumprod(np.concatenate([np.ones((len(v), 1)), 1 - v], axis=1), axis=1)
    weights = np.concatenate([v, np.ones((len(v), 1))], axis=1) * rest
    np.testing.assert_allclose(weights.sum(1), 1)
    for values, expected in (
        (weights, np.exp(log_mean_weights(sticks))),
        (np.log(weights), np.asarray(expected_log_weights(sticks))),
    ):
        error = np.abs(values.mean(0) - expected)
        assert (error <= 5 * values.std(0) / np.sqrt(len(v)) + 1e-12).all()


def test_own_draws_sum_to_one_and_have_the_moments(key):
    sticks = fitted(DirichletProcess())
    draws = jax.vmap(sample_log_weights, (0, None))(jax.random.split(key, 100_000), sticks)
    weights = np.exp(np.asarray(draws))
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    error = np.abs(weights.mean(0) - np.exp(log_mean_weights(sticks)))
    assert (error <= 5 * weights.std(0) / np.sqrt(len(weights))).all()


@pytest.mark.parametrize("name", ["fixed", "inferred"])
def test_divergence_against_draws(name):
    """KL = E_q[log q - log p], both densities from SciPy."""
    process, generator, num_draws = STICKS[name], np.random.default_rng(0), 100_000
    sticks = fitted(process)
    a, b = np.asarray(sticks.a), np.asarray(sticks.b)
    v = generator.beta(a, b, (num_draws, len(a)))
    alpha, log_ratio = np.full(num_draws, float(PRIOR.shape / PRIOR.rate)), np.zeros(num_draws)
    if process.infer_concentration:
        q, p = (
            stats.gamma(float(g.shape), scale=1 / float(g.rate))
            for g in (sticks.concentration, PRIOR)
        )
        alpha = q.rvs(num_draws, generator)
        log_ratio = q.logpdf(alpha) - p.logpdf(alpha)
    log_ratio += np.sum(
        stats.beta.logpdf(v, a, b) - stats.beta.logpdf(v, 1, alpha[:, None]), axis=1
    )
    error = abs(log_ratio.mean() - float(process.kl_divergence(sticks, PRIOR)))
    assert error <= 5 * log_ratio.std() / np.sqrt(num_draws)


def test_divergence_of_the_prior_from_itself_is_zero():
    process = DirichletProcess(infer_concentration=False)
    sticks = process.posterior(jnp.zeros(7), PRIOR, None)
    assert abs(float(process.kl_divergence(sticks, PRIOR))) < 1e-14


def fitted(process) -> Sticks:
    counts, sticks = jnp.asarray([40.0, 12.5, 3.0, 0.25, 0.0]), None
    for _ in range(50):
        sticks = process.posterior(counts, PRIOR, sticks)
    return sticks


# ------------------------------------------------------------------ planted mistakes


@dataclass(frozen=True)
class CountsOfOthers(DirichletProcess):
    def posterior(self, counts, prior, previous):
        sticks = super().posterior(counts, prior, previous)
        return sticks._replace(b=sticks.b + counts[:-1])  # sum over j >= k in place of j > k


@dataclass(frozen=True)
class ForgetsPriorOfFractions(DirichletProcess):
    def posterior(self, counts, prior, previous):
        return super().posterior(counts, prior, previous)._replace(a=counts[:-1])


@dataclass(frozen=True)
class ForgetsOne(DirichletProcess):
    def posterior(self, counts, prior, previous):
        sticks = super().posterior(counts, prior, previous)
        return sticks._replace(a=sticks.a - 0.5)


@dataclass(frozen=True)
class LastStickIsFree(DirichletProcess):
    def posterior(self, counts, prior, previous):
        return super().posterior(jnp.append(counts, counts[-1:] * 0), prior, previous)


@dataclass(frozen=True)
class ShapeOfAlphaOff(DirichletProcess):
    def posterior(self, counts, prior, previous):
        sticks = super().posterior(counts, prior, previous)
        q = sticks.concentration
        return sticks._replace(concentration=Gamma(q.shape + 1, q.rate))


@dataclass(frozen=True)
class DivergenceNegated(DirichletProcess):
    def kl_divergence(self, sticks, prior):
        return -super().kl_divergence(sticks, prior)


@dataclass(frozen=True)
class DivergenceByStick(DirichletProcess):
    def kl_divergence(self, sticks, prior):
        return super().kl_divergence(sticks, prior) * jnp.ones_like(sticks.a)


@dataclass(frozen=True)
class DivergenceWithoutAlpha(DirichletProcess):
    def kl_divergence(self, sticks, prior):
        fixed = DirichletProcess(infer_concentration=False)
        return fixed.kl_divergence(sticks, prior)


@dataclass(frozen=True)
class NotJittable(DirichletProcess):
    def posterior(self, counts, prior, previous):
        return super().posterior(counts, prior, previous) if counts[0] > 0 else None


@dataclass(frozen=True)
class SingleTyped(DirichletProcess):
    def posterior(self, counts, prior, previous):
        sticks = super().posterior(counts, prior, previous)
        return sticks._replace(a=sticks.a.astype(jnp.float32))


SENTENCES = {
    CountsOfOthers: r"posterior must (be the best q|not lower)",
    ForgetsPriorOfFractions: r"posterior must return positive Beta parameters",
    ForgetsOne: r"posterior must (be the best q|not lower)",
    LastStickIsFree: r"posterior must return a of shape \(5,\).*got \(6,\)",
    ShapeOfAlphaOff: r"posterior must (be the best q|not lower)",
    DivergenceNegated: r"kl_divergence must not be negative",
    DivergenceByStick: r"kl_divergence must return a scalar.*\(5,\)",
    DivergenceWithoutAlpha: r"posterior must (be the best q|not lower)",
    NotJittable: r"posterior must run under jax.jit, got TracerBool",
    SingleTyped: r"posterior must return a of shape \(5,\) and type float64.*float32",
}


@pytest.mark.parametrize("broken", SENTENCES, ids=lambda c: c.__name__)
def test_check_sticks_finds_mistakes(broken):
    with pytest.raises(SticksError, match=rf"^{broken.__name__}\.{SENTENCES[broken]}"):
        check_sticks(broken(), PRIOR, jnp.asarray(COUNTS["falling"]))
