"""The density with one variance per component, against SciPy's Student-t of the same points."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jaxdpmm
from jaxdpmm.model import global_update, summarize
from jaxdpmm.scoring import score, spherical
from jaxdpmm.sticks import log_mean_weights

DIM, NUM_COMPONENTS = 5, 4
GAUSSIANS = {
    "full": jaxdpmm.GaussianFull(DIM),
    "diagonal": jaxdpmm.GaussianDiagonal(DIM),
    "spherical": jaxdpmm.GaussianSpherical(DIM),
    "low-rank": jaxdpmm.GaussianLowRank(DIM, 2),
}
TRACES = {2: np.trace, 1: np.sum, 0: float}


def of_scipy(family, prior, points, new):
    """Log predictive density of one component: a Student-t with as many degrees of freedom as there are numbers."""
    natural = prior.component
    is_low_rank = isinstance(family, jaxdpmm.GaussianLowRank)
    first = np.asarray(natural.first[:, -1] if is_low_rank else natural.first)
    prior_count = float(natural.gram[-1, -1] if is_low_rank else natural.mean_count)
    count, freedom = prior_count + len(points), DIM * (float(natural.dof) + len(points))
    mean = (first + points.sum(axis=0)) / count
    second = np.asarray(natural.second)
    squares = TRACES[second.ndim](second) + np.sum(points**2) - count * mean @ mean
    scale = squares * (count + 1) / (count * freedom)
    return scipy.stats.multivariate_t.logpdf(new, mean, scale * np.eye(DIM), freedom)


@pytest.mark.parametrize("name", GAUSSIANS)
def test_it_is_the_density_of_spherical_components_with_the_same_points(name):
    random = np.random.default_rng(0)
    labels = np.arange(200) % NUM_COMPONENTS
    x = random.normal(size=(200, DIM)) * (1 + labels[:, None]) + 9 * np.eye(DIM)[labels]
    mixture = jaxdpmm.Mixture(GAUSSIANS[name], NUM_COMPONENTS)
    prior = jaxdpmm.default_prior(mixture, x)
    told = jnp.eye(NUM_COMPONENTS)[labels]
    stats = summarize(mixture, told, jnp.asarray(x), jnp.ones(len(x)), prior.offset)
    posterior = global_update(mixture, prior, stats)
    centred = x - np.asarray(prior.offset)
    each = [
        of_scipy(GAUSSIANS[name], prior, centred[labels == number], centred)
        for number in range(NUM_COMPONENTS)
    ]
    log_weights = np.asarray(log_mean_weights(posterior.sticks))
    expected = -scipy.special.logsumexp(np.array(each) + log_weights[:, None], axis=0)
    np.testing.assert_allclose(score(spherical(mixture), posterior, x), expected, rtol=1e-9)


def test_components_that_are_no_gaussians_are_refused():
    mixture = jaxdpmm.Mixture(jaxdpmm.VonMisesFisher(DIM), 2)
    with pytest.raises(
        TypeError, match=r"needs Gaussian components, got VonMisesFisher; use 'nearest"
    ):
        spherical(mixture)
