"""Every prior of the weights through `check_sticks` and against sampling; planted mistakes found by it."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdpmm.sticks import (
    DirichletProcess,
    FixedConcentration,
    Gamma,
    PitmanYor,
    StickBreaking,
    Sticks,
    SymmetricDirichlet,
    beta_kl_divergence,
    expected_log_weights,
    log_mean_weights,
    sample_log_weights,
)
from jaxdpmm.testing import SticksError, check_sticks

PRIOR = Gamma(jnp.asarray(2.0), jnp.asarray(1.5))
COUNTS = {
    "falling": [120.5, 30.25, 3.0, 0.5, 0.0, 0.0],
    "empty": [0.0] * 6,
    "last": [0.0, 50.0],
}


@dataclass(frozen=True)
class BetaSticks(FixedConcentration):
    """A prior of one's own in one function."""

    def prior_fractions(self, alpha, num_components):
        return 2.0, 3.0


class LogNormal(NamedTuple):
    """A point mass at the median and its spread, to show that q(alpha) may be any tree."""

    median: jax.Array
    nested: dict


@dataclass(frozen=True)
class AnyTree(FixedConcentration):
    """Alpha known, in a tree that is no `Gamma`."""

    def default_prior(self, dtype):
        return LogNormal(jnp.asarray(1.5, dtype), {"spread": jnp.ones(2, dtype)})

    def mean_concentration(self, concentration):
        return concentration.median

    def prior_fractions(self, alpha, num_components):
        return 1.0, alpha


STICKS = {
    "fixed": DirichletProcess(infer_concentration=False),
    "inferred": DirichletProcess(infer_concentration=True),
    "pitman-yor": PitmanYor(0.4),
    "symmetric": SymmetricDirichlet(),
    "own": BetaSticks(),
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


def test_prior_of_the_concentration_may_be_any_tree():
    sticks, counts = AnyTree(), jnp.asarray(COUNTS["falling"])
    prior = sticks.default_prior(jnp.float64)
    check_sticks(sticks, prior, counts, num_draws=100)
    found = sticks.posterior(counts, prior, None)
    wanted = DirichletProcess(infer_concentration=False).posterior(
        counts, PRIOR._replace(shape=2.25), None
    )
    np.testing.assert_array_equal(found.b, wanted.b)
    assert found.concentration is prior


@pytest.mark.parametrize("counts", [[0.0] * 50, [3.0, 1.0] + [0.0] * 98, [900.0, 20.0, 5.0]])
@pytest.mark.parametrize(
    "sticks", [DirichletProcess(), PitmanYor(0.3), SymmetricDirichlet()], ids=repr
)
def test_settled_is_where_updates_stand_still_and_forgets_where_they_began(sticks, counts):
    """Against 5,000 plain updates from a q far off; where there are no points, each comes nearer by 4 %."""
    counts = jnp.asarray(counts)
    far = sticks.posterior(counts, Gamma(jnp.asarray(300.0), jnp.asarray(1.0)), None)

    @jax.jit
    def repeated(found):
        return jax.lax.fori_loop(
            0, 5000, lambda _, found: sticks.posterior(counts, PRIOR, found), found
        )

    found = jax.jit(sticks.settled)(counts, PRIOR)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, repeated(far))


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


@dataclass(frozen=True)
class FractionsOfOthers(DirichletProcess):
    def fractions(self, counts, alpha):
        a, b = super().fractions(counts, alpha)
        return a, b + counts[:-1]


@dataclass(frozen=True)
class LastFractionIsFree(DirichletProcess):
    def prior_fractions(self, alpha, num_components):
        return jnp.ones(num_components), alpha


@dataclass(frozen=True)
class FractionsNegated(DirichletProcess):
    def prior_fractions(self, alpha, num_components):
        return 1.0, -alpha


@dataclass(frozen=True)
class TwoPriors(DirichletProcess):
    """Variational inference sees Beta(2, 3), Gibbs Beta(1, alpha)."""

    infer_concentration: bool = False

    def posterior(self, counts, prior, previous):
        found = super().posterior(counts, prior, previous)
        alpha = self.mean_concentration(prior)
        return found._replace(a=found.a + 1, b=found.b + 3 - alpha)

    def kl_divergence(self, sticks, prior):
        return jnp.sum(beta_kl_divergence(sticks.a, sticks.b, 2.0, 3.0))


@dataclass(frozen=True)
class NormaliserForgotten(DirichletProcess):
    def log_normaliser(self, log_alpha, num_components):
        return jnp.zeros(num_components - 1)


@dataclass(frozen=True)
class MeanIsTheShape(DirichletProcess):
    def mean_concentration(self, concentration):
        return jnp.stack(concentration)


@dataclass(frozen=True)
class SettlesTooEarly(DirichletProcess):
    def settled(self, counts, prior):
        return self.posterior(counts, prior, None)


@dataclass(frozen=True)
class DrawsFromPrior(DirichletProcess):
    def draw_concentration(self, key, log_weights, prior):
        return super().draw_concentration(key, jnp.zeros_like(log_weights), prior)


@dataclass(frozen=True)
class DrawsOfAnotherRate(DirichletProcess):
    def draw_concentration(self, key, log_weights, prior):
        alpha, given = super().draw_concentration(key, log_weights, prior)
        return alpha, given._replace(rate=2 * given.rate)


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
    FractionsOfOthers: r"fractions must add the counts to prior_fractions.*got b off by 120",
    LastFractionIsFree: r"fractions must run under jax.jit, got TypeError: add got incompatible",
    FractionsNegated: r"prior_fractions must return positive Beta parameters, got b from -1.3",
    TwoPriors: r"posterior must have the fractions at E\[alpha\], which Gibbs reads, got a",
    NormaliserForgotten: r"log_normaliser must be -log B\(a, b\) of prior_fractions",
    MeanIsTheShape: r"mean_concentration must return a scalar of type float64, got shape \(2,\)",
    SettlesTooEarly: r"settled must lead where repeated updates lead",
    SingleTyped: r"posterior must return a of shape \(5,\) and type float64.*float32",
}


@pytest.mark.parametrize("broken", SENTENCES, ids=lambda c: c.__name__)
def test_check_sticks_finds_mistakes(broken):
    with pytest.raises(SticksError, match=rf"^{broken.__name__}\.{SENTENCES[broken]}"):
        check_sticks(broken(), PRIOR, jnp.asarray(COUNTS["falling"]))


@pytest.mark.parametrize(
    ("broken", "what"), [(DrawsFromPrior, "log alpha"), (DrawsOfAnotherRate, "alpha and the mean")]
)
def test_check_sticks_finds_wrong_draws_of_the_concentration(broken, what):
    sentence = rf"{broken.__name__}.sample_concentration must draw from p.*2000 draws of {what}"
    with pytest.raises(SticksError, match=sentence):
        check_sticks(broken(), PRIOR, jnp.asarray(COUNTS["falling"]), num_draws=2000)


def test_draws_of_the_concentration_are_asked_of_gibbs_alone():
    @dataclass(frozen=True)
    class WithoutDraws(DirichletProcess):
        sample_concentration = StickBreaking.sample_concentration

    check_sticks(WithoutDraws(), PRIOR, jnp.asarray(COUNTS["falling"]), num_draws=2000)
