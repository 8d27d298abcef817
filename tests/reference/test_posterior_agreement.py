"""Three roads to one posterior: Gibbs over labels, NUTS with labels summed out, and CAVI's approximation.

Compared is the posterior mean predictive density on a grid, by total variation. Gibbs and NUTS share no code beyond
the likelihood, and both are exact, so they may differ by Monte Carlo error and the grid's edge only. Alpha depends on
which component is the last, smallest one, since p(alpha | v) knows the sticks by the last weight alone. NUTS stays with
the one that it starts with, Gibbs visits all, so alpha is compared given the smallest component.
"""

import jax
import numpy as np
import pytest
from numpyro.infer import MCMC, NUTS, init_to_value

from jaxdpmm import (
    GaussianDiagonal,
    GaussianFull,
    Mixture,
    cavi,
    default_prior,
    fit,
    initialize,
    log_predictive_density,
)
from jaxdpmm.inference.backends import label_switching, split_merge
from jaxdpmm.inference.numpyro.kernel import DPMMGibbs
from jaxdpmm.inference.numpyro.svi import draw_readouts, initial_values, numpyro_model
from jaxdpmm.scoring.uncertainty import log_density_over_draws

pytestmark = pytest.mark.slow

NUM_COMPONENTS, GRID = 3, 60
EXACT_TOLERANCE = 0.02  # total variation of Gibbs and NUTS; about 0.01 is Monte Carlo error
ALPHA_TOLERANCE = (
    0.15  # relative; measured 0.02, where alpha differs by factors of 2 to 6 between components
)
CAVI_TOLERANCE = 0.08  # labels and parameters are not independent; measured 0.064


@pytest.fixture(autouse=True)
def numpyro_promotes():
    """NumPyro itself relies on promotion of ranks and types."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def two_blobs(generator) -> np.ndarray:
    """Of equal size, one wide in the one direction and one in the other."""
    centres, spread = np.array([[-2.0, 0.0], [2.0, 1.0]]), np.array([[0.5, 1.0], [1.0, 0.6]])
    labels = np.arange(80) % 2
    return centres[labels] + spread[labels] * generator.normal(size=(80, 2))


def large_and_small(generator) -> np.ndarray:
    """A long, tilted cloud and a small round one beside it."""
    tilted = generator.normal(size=(60, 2)) @ np.array([[1.5, 1.0], [0.0, 0.5]])
    return np.concatenate([tilted, [2.0, -3.0] + 0.5 * generator.normal(size=(20, 2))])


PROBLEMS = {
    "diagonal": (GaussianDiagonal(2), two_blobs),
    "full": (GaussianFull(2), large_and_small),
}


@pytest.fixture(params=PROBLEMS)
def problem(request):
    """Mixture, prior, points and a start."""
    family, draw = PROBLEMS[request.param]
    x = draw(np.random.default_rng(0))
    mixture = Mixture(family, NUM_COMPONENTS)
    prior = default_prior(mixture, x)
    return mixture, prior, x, initialize(mixture, prior, x, key=jax.random.key(0))


def gibbs_draws(mixture, prior, x, start):
    kernel = DPMMGibbs(mixture, prior, start=start, moves=(label_switching(), split_merge()))
    mcmc = MCMC(kernel, num_warmup=200, num_samples=4000, progress_bar=False)
    mcmc.run(jax.random.key(1), x, extra_fields=("posterior",))
    samples = mcmc.get_samples()
    return mcmc.get_extra_fields()["posterior"], samples["alpha"], samples["weights"]


def nuts_draws(mixture, prior, x, start):
    values = initial_values(mixture, prior, start, jax.random.key(2))
    kernel = NUTS(
        numpyro_model(mixture, prior), init_strategy=init_to_value(values=values), max_tree_depth=7
    )
    mcmc = MCMC(kernel, num_warmup=500, num_samples=2000, progress_bar=False)
    mcmc.run(jax.random.key(3), x)
    readouts = draw_readouts(mixture, prior, mcmc.get_samples())
    return readouts, mcmc.get_samples()["alpha"], readouts.log_weights


def test_backends_agree_on_the_predictive_density(problem):
    mixture, prior, x, start = problem
    low, high = x.min(0) - 4, x.max(0) + 4
    axes = [np.linspace(*ends, GRID) for ends in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    cell = np.prod((high - low) / (GRID - 1))

    def total_variation(left, right):
        return 0.5 * np.abs(np.exp(left) - np.exp(right)).sum() * cell

    posteriors, *alpha_by_gibbs = gibbs_draws(mixture, prior, x, start)
    readouts, *alpha_by_nuts = nuts_draws(mixture, prior, x, start)
    best = fit(cavi(mixture, prior), x, start, num_epochs=500, tolerance=1e-8).posterior
    by_gibbs = log_density_over_draws(mixture, posteriors, grid)
    by_nuts = log_density_over_draws(mixture, readouts, grid)
    by_cavi = log_predictive_density(mixture, best, grid)
    assert np.exp(by_gibbs).sum() * cell > 0.97
    assert total_variation(by_gibbs, by_nuts) < EXACT_TOLERANCE
    assert total_variation(by_gibbs, by_cavi) < CAVI_TOLERANCE

    smallest = np.bincount(np.argmin(alpha_by_nuts[1], axis=1)).argmax()
    expected = mean_alpha(*alpha_by_nuts, smallest)
    np.testing.assert_allclose(
        mean_alpha(*alpha_by_gibbs, smallest), expected, rtol=ALPHA_TOLERANCE
    )


def mean_alpha(alpha, weights, smallest) -> float:
    """Over the draws in which a component is the smallest."""
    return float(np.mean(np.asarray(alpha)[np.argmin(weights, axis=1) == smallest]))
