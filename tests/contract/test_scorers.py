"""Every score of every family that offers it through `check_scorer`, which finds planted mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import (
    GaussianDiagonal,
    GaussianFull,
    GaussianLowRank,
    GaussianSpherical,
    Mixture,
    cavi,
    default_prior,
    fit,
    initialize,
)
from jaxdpmm.scoring import SCORERS, Scorer, predictive
from jaxdpmm.testing import ScorerError, check_scorer

FAMILIES = {
    "diagonal": GaussianDiagonal(3),
    "full": GaussianFull(3),
    "spherical": GaussianSpherical(3),
    "low-rank": GaussianLowRank(3, 1),
}


@functools.cache
def fitted(name):
    """A mixture of two clusters about (5, 5, 5) and (-5, 5, 0), and points opposite to both."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 3)) / 2 + np.array([[5, 5, 5], [-5, 5, 0]])[np.arange(40) % 2]
    mixture = Mixture(FAMILIES[name], 2)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    posterior = fit(cavi(mixture, prior), x, start, num_epochs=3).posterior
    return mixture, posterior, x, -x - np.array([0, 9, 0])


@pytest.mark.parametrize(
    ("name", "score"),
    [
        (name, score)
        for name in FAMILIES
        for score in SCORERS
        if score != "residual" or name == "low-rank"  # which alone has loadings
    ],
)
def test_every_score_of_every_gaussian(name, score):
    check_scorer(SCORERS[score], *fitted(name))


def made_anew(mixture):
    scorer = predictive(mixture)
    return Scorer(scorer.prepare, lambda params, x: scorer.score(params, x))


def of_score(change):
    """`predictive` with its score replaced."""

    @functools.lru_cache
    def make(mixture):
        scorer = predictive(mixture)
        return Scorer(scorer.prepare, functools.partial(change, scorer.score))

    return make


@functools.lru_cache
def ignores_the_posterior(mixture):
    kept = predictive(mixture).prepare(fitted("diagonal")[1])
    return Scorer(lambda posterior: kept, predictive(mixture).score)


MISTAKES = {
    "equal mixtures must share one score function": made_anew,
    r"score must return one number per point, shape \(40,\)": of_score(
        lambda score, params, x: score(params, x)[:, None]
    ),
    "scores of normal points must be finite": of_score(
        lambda score, params, x: jnp.log(-jnp.abs(score(params, x)))
    ),
    "the score of a point must not depend on the other points": of_score(
        lambda score, params, x: score(params, x) - jnp.mean(score(params, x[:3]))
    ),
    "scores must grow with abnormality": of_score(lambda score, params, x: -score(params, x)),
    "prepare must read the posterior": ignores_the_posterior,
    "score must run under jax.jit": of_score(
        lambda score, params, x: jnp.asarray([float(value) for value in score(params, x)])
    ),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_check_scorer_finds_mistakes(sentence):
    with pytest.raises(ScorerError, match=sentence):
        check_scorer(MISTAKES[sentence], *fitted("diagonal"))
