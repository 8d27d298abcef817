import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxdpmm import GaussianDiagonal, Mixture, default_prior, fit, initialize
from jaxdpmm.families import GaussianParams
from jaxdpmm.inference.backends.gibbs import gibbs
from jaxdpmm.model import Readout
from jaxdpmm.scoring import SCORERS, log_predictive_density, score
from jaxdpmm.scoring.uncertainty import (
    drawn,
    log_density_over_draws,
    score_over_draws,
    stack_draws,
)


@pytest.fixture(scope="module")
def fitted():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 2)) + 5 * generator.integers(0, 2, (40, 1))
    mixture = Mixture(GaussianDiagonal(2), 4)
    prior = default_prior(mixture, jnp.asarray(x))
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    seen = []
    fit(
        gibbs(mixture, prior), x, start, key=jax.random.key(1), num_epochs=7, tolerance=0.0,
        callback=lambda epoch, posterior: seen.append(posterior),
    )  # fmt: skip
    return mixture, seen, x


@pytest.mark.parametrize("name", ["predictive", "mahalanobis", "cosine"])
def test_summary_of_the_scores_of_each_draw(fitted, name):
    mixture, posteriors, x = fitted
    scorer = SCORERS[name](mixture)
    each = np.stack([score(scorer, posterior, x) for posterior in posteriors])
    found = score_over_draws(scorer, stack_draws(posteriors), x, interval=0.8, tile_size=16)
    np.testing.assert_allclose(found.mean, each.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.lower, np.quantile(each, 0.1, axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.upper, np.quantile(each, 0.9, axis=0), rtol=1e-9)
    assert (found.upper > found.lower).all()


def test_density_is_the_mean_of_densities(fitted):
    mixture, posteriors, x = fitted
    each = [np.exp(log_predictive_density(mixture, posterior, x)) for posterior in posteriors]
    found = log_density_over_draws(mixture, stack_draws(posteriors), x, tile_size=16)
    np.testing.assert_allclose(np.exp(found), np.mean(each, axis=0), rtol=1e-9)


def test_density_of_readouts():
    """Two draws of a mixture of two normals, against SciPy."""
    mixture = Mixture(GaussianDiagonal(1), 2)
    means, weights = np.array([[0.0, 2.0], [1.0, -1.0]]), np.array([[0.3, 0.7], [0.5, 0.5]])
    ones = np.ones((2, 2, 1))
    drawn_params = GaussianParams(
        jnp.asarray(means[:, :, None]),
        jnp.asarray(ones),
        jnp.full((2, 2), -0.5 * np.log(2 * np.pi)),
    )
    offset = jnp.full((2, 1), 0.5)
    draws = Readout(jnp.asarray(np.log(weights)), drawn_params, offset)
    x = np.linspace(-2, 3, 5)[:, None]
    density = norm.pdf(x[:, :, None] - 0.5, means[None], 1) * weights[None]
    expected = density.sum(2).mean(1)
    np.testing.assert_allclose(
        np.exp(log_density_over_draws(mixture, draws, x)), expected, rtol=1e-9
    )
    scores = score_over_draws(drawn(mixture), draws, x)
    np.testing.assert_allclose(scores.mean, -np.log(density.sum(2)).mean(1), rtol=1e-9)


def test_wrong_arguments_are_one_sentence(fitted):
    mixture, posteriors, x = fitted
    draws = stack_draws(posteriors)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 90.0"):
        score_over_draws(SCORERS["predictive"](mixture), draws, x, interval=90.0)
    with pytest.raises(ValueError, match="at least one draw, got none"):
        stack_draws([])
    with pytest.raises(TypeError, match="stacked Posterior or Readout, got list"):
        log_density_over_draws(mixture, posteriors, x)
