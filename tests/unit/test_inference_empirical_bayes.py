"""Empirical Bayes: known priors are recovered, and the ELBO of the whole model rises."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from custom_families import PoissonGamma

from jaxdpmm import (
    DirichletProcess,
    GaussianDiagonal,
    GaussianFull,
    GaussianSpherical,
    Mixture,
    Prior,
    cavi,
    default_prior,
    fit,
    initialize,
)
from jaxdpmm.bound import log_evidence
from jaxdpmm.inference.empirical_bayes import (
    empirical_bayes,
    gaussian_scales,
    positive,
)
from jaxdpmm.model import global_update, stats_of, summarize


def posterior_of_labels(mixture, prior, x, labels):
    one_hot = jax.nn.one_hot(labels, mixture.num_components, dtype=x.dtype)
    return global_update(
        mixture, prior, summarize(mixture, one_hot, x, jnp.ones(len(x)), prior.offset)
    )


def test_gamma_prior_of_many_rates_is_recovered():
    generator = np.random.default_rng(0)
    rates = generator.gamma(4.0, 1 / 0.5, size=400)
    labels = np.repeat(np.arange(400), 30)
    x = jnp.asarray(generator.poisson(rates[labels]), float)
    mixture = Mixture(PoissonGamma(), 400, DirichletProcess())
    prior = Prior((jnp.asarray(1.0), jnp.asarray(1.0)), DirichletProcess().default_prior(float))
    posterior = posterior_of_labels(mixture, prior, x, labels)
    found = empirical_bayes(mixture, prior, posterior, positive(prior.component))
    a, b = found.prior.component
    assert float(a) == pytest.approx(4.0, rel=0.2)
    assert float(b) == pytest.approx(0.5, rel=0.2)
    stats = stats_of(prior, posterior)
    gradient = jax.grad(
        lambda c: jnp.sum(log_evidence(mixture, prior._replace(component=c), stats.components))
    )(found.prior.component)
    assert max(abs(float(leaf)) for leaf in gradient) < 1.0  # of 12,000 points: it has converged


@pytest.mark.parametrize("kind", [GaussianDiagonal, GaussianFull, GaussianSpherical])
def test_scales_of_a_normal_wishart_prior_are_recovered(kind):
    """Components of one covariance, 0.09 I, with means of covariance 4 I: mean_count is their ratio."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(200), 20)
    means = 2 * generator.standard_normal((200, 2))
    x = jnp.asarray(means[labels] + 0.3 * generator.standard_normal((4000, 2)))
    family = kind(2)
    mixture = Mixture(family, 200)
    prior = default_prior(mixture, x)._replace(offset=jnp.zeros(2))
    posterior = posterior_of_labels(mixture, prior, x, labels)
    found = empirical_bayes(mixture, prior, posterior, gaussian_scales(family, prior.component))
    component = found.prior.component
    assert float(component.mean_count) == pytest.approx(0.09 / 4, rel=0.25)
    assert float(component.dof) > 10 * float(prior.component.dof)  # all covariances are one
    centre = component.first / component.mean_count
    square = component.mean_count * family.sufficient_statistics(centre).second
    variance = np.asarray((component.second - square) / component.dof)
    if kind is GaussianSpherical:
        variance = variance / 2  # its second statistic is a sum over both features
    found_variances = np.diag(variance) if variance.ndim == 2 else variance
    np.testing.assert_allclose(found_variances, 0.09, rtol=0.1)


def test_elbo_rises_and_fit_goes_on_from_there(key):
    generator = np.random.default_rng(2)
    x = 3 * generator.standard_normal((5, 3))[
        generator.integers(5, size=400)
    ] + generator.standard_normal((400, 3))
    family = GaussianDiagonal(3)
    mixture = Mixture(family, 8)
    prior = default_prior(mixture, x)
    first = fit(cavi(mixture, prior), x, initialize(mixture, prior, x, key=key), num_epochs=30)
    free = gaussian_scales(family, prior.component)
    found = empirical_bayes(
        mixture, prior, first.posterior, free, optimizer=optax.adam(0.05), num_steps=100
    )
    gain = float(jnp.max(found.objective) - found.objective[0])
    second = fit(cavi(mixture, found.prior), x, found.posterior, num_epochs=30)
    assert gain > 1
    assert second.history[-1].objective >= first.history[-1].objective + 0.9 * gain


def test_start_is_the_prior_itself():
    component = GaussianFull(3).prior(jnp.ones(3), 2 * jnp.eye(3), 0.5, 6.0)
    for free in (
        gaussian_scales(GaussianFull(3), component),
        positive((jnp.asarray(2.0), jnp.ones(3))),
    ):
        rebuilt = free.component(free.start)
        expected = component if isinstance(rebuilt, type(component)) else (2.0, np.ones(3))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), rebuilt, expected)


def test_errors():
    mixture = Mixture(PoissonGamma(), 2)
    prior = Prior((jnp.asarray(1.0), jnp.asarray(1.0)), DirichletProcess().default_prior(float))
    posterior = posterior_of_labels(mixture, prior, jnp.ones(4), jnp.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0; the default is 50"):
        empirical_bayes(mixture, prior, posterior, positive(prior.component), num_steps=0)
    with pytest.raises(TypeError, match=r"component must be a NormalWishart, got the tuple of Gau"):
        gaussian_scales(GaussianDiagonal(2), prior.component)
    bad = positive((jnp.asarray(-1.5), jnp.asarray(-1.0)))
    with pytest.raises(
        FloatingPointError, match=r"objective is nan at the prior to start from.*proper prior"
    ):
        empirical_bayes(mixture, prior, posterior, bad, num_steps=1)
