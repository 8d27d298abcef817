"""The ELBO with all its constants: against enumeration over all assignments, closed forms and Monte Carlo.

Everything that it is compared with is computed by NumPy and SciPy alone.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SPREAD
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from jaxdpmm import (
    DirichletProcess,
    Gamma,
    GaussianDiagonal,
    GaussianFull,
    GaussianSpherical,
    Mixture,
    Prior,
    cavi,
    fit,
    trees,
)
from jaxdpmm.bound import elbo, elbo_after_update, log_evidence
from jaxdpmm.model import Posterior, global_update, summarize

FAMILIES = [GaussianFull, GaussianDiagonal, GaussianSpherical]
N, K, D = 4, 3, 2
MEAN_COUNT, DOF = 0.4, 3.5
CONCENTRATION = Gamma(jnp.asarray(2.0), jnp.asarray(1.25))


def problem(family_type, seed, infer_concentration=True, num_components=K):
    x = np.random.default_rng(seed).normal(0, 2, (N, D))
    mixture = Mixture(family_type(D), num_components, DirichletProcess(infer_concentration))
    component = family_type(D).prior(
        jnp.asarray([0.3, -0.2]), jnp.asarray(0.8 * SPREAD[family_type](D)), MEAN_COUNT, DOF
    )
    return mixture, Prior(component, CONCENTRATION), x


def log_evidence_of_component(family_type, x) -> float:
    """Log p(x) of some points in one component, one predictive Student-t after the other."""
    mean, kappa, nu = np.array([0.3, -0.2]), MEAN_COUNT, DOF
    scale, total = DOF * 0.8 * np.eye(D), 0.0
    for point in x:
        factor, difference = (kappa + 1) / kappa, point - mean
        if family_type is GaussianFull:
            dof = nu - D + 1
            total += stats.multivariate_t.logpdf(point, mean, scale * factor / dof, dof)
        elif family_type is GaussianDiagonal:
            width = np.sqrt(np.diag(scale) * factor / nu)
            total += stats.t.logpdf(point, nu, mean, width).sum()
        else:
            dof = D * nu  # psi of all features together
            shape = np.eye(D) * np.trace(scale) * factor / dof
            total += stats.multivariate_t.logpdf(point, mean, shape, dof)
        scale = scale + kappa / (kappa + 1) * np.outer(difference, difference)
        mean, kappa, nu = (kappa * mean + point) / (kappa + 1), kappa + 1, nu + 1
    return total


def log_prior_of_assignment(z, infer_concentration, num_components=K) -> float:
    """Log p(z) with the sticks integrated out, and alpha by quadrature where it is unknown."""
    counts = np.bincount(z, minlength=num_components)
    after = counts[::-1].cumsum()[::-1] - counts

    def given(alpha):
        free = slice(None, num_components - 1)
        return np.sum(
            special.betaln(1 + counts[free], alpha + after[free]) - special.betaln(1, alpha)
        )

    shape, rate = map(float, CONCENTRATION)
    if not infer_concentration:
        return given(shape / rate)
    prior = stats.gamma(shape, scale=1 / rate)
    return np.log(integrate.quad(lambda a: np.exp(given(a)) * prior.pdf(a), 0, np.inf)[0])


def log_joint_of_assignment(family_type, x, z, infer_concentration) -> float:
    z = np.asarray(z)
    components = sum(log_evidence_of_component(family_type, x[z == k]) for k in range(K))
    return components + log_prior_of_assignment(z, infer_concentration)


def enumerated_log_evidence(family_type, x, infer_concentration) -> float:
    return special.logsumexp(
        [
            log_joint_of_assignment(family_type, x, z, infer_concentration)
            for z in itertools.product(range(K), repeat=N)
        ]
    )


def fitted(mixture, prior, x, seed):
    """Where CAVI ends from random responsibilities, and its bound."""
    random = np.random.default_rng(seed).dirichlet(np.ones(mixture.num_components), len(x))
    start = global_update(mixture, prior, stats_of(mixture, random, x))
    result = fit(cavi(mixture, prior), x, start, num_epochs=200, tolerance=1e-10)
    return result.posterior, result.history[-1].objective


def stats_of(mixture, responsibilities, x):
    ones = jnp.ones(len(x))
    return summarize(mixture, jnp.asarray(responsibilities), jnp.asarray(x), ones, None)


@pytest.mark.parametrize("infer_concentration", [False, True])
@pytest.mark.parametrize("family_type", FAMILIES)
def test_elbo_is_below_the_enumerated_log_evidence(family_type, infer_concentration):
    for seed in range(3):
        mixture, prior, x = problem(family_type, seed, infer_concentration)
        exact = enumerated_log_evidence(family_type, x, infer_concentration)
        bounds = [fitted(mixture, prior, x, start)[1] for start in range(4)]
        assert max(bounds) <= exact
        assert max(bounds) > exact - 4  # a bound, and not a loose one: of 4 points' assignments


@pytest.mark.parametrize("z", [(0, 0, 0, 0), (0, 1, 2, 0), (2, 2, 1, 2), (1, 1, 1, 1)])
@pytest.mark.parametrize("family_type", FAMILIES)
def test_elbo_of_a_hard_assignment_is_its_log_joint(family_type, z):
    """With alpha fixed and z certain, q of all else is exact, so that nothing is left of the bound but log p(x, z)."""
    mixture, prior, x = problem(family_type, seed=5, infer_concentration=False)
    stats_of_z = stats_of(mixture, np.eye(K)[list(z)], x)
    posterior = global_update(mixture, prior, stats_of_z)
    exact = log_joint_of_assignment(family_type, x, z, False)
    for bound in (elbo, elbo_after_update):
        np.testing.assert_allclose(bound(mixture, prior, posterior, stats_of_z), exact, rtol=1e-9)


@pytest.mark.parametrize("family_type", FAMILIES)
def test_one_component_has_the_evidence_itself(family_type):
    mixture, prior, x = problem(family_type, 1, num_components=1)
    _, bound = fitted(mixture, prior, x, 0)
    expected = log_evidence_of_component(family_type, x)
    np.testing.assert_allclose(bound, expected, rtol=1e-9)


@pytest.mark.parametrize("family_type", FAMILIES)
def test_log_evidence_of_every_component_is_that_of_its_points(family_type):
    mixture, prior, x = problem(family_type, seed=3)
    z = np.array([0, 2, 2, 0])
    stats_of_z = stats_of(mixture, np.eye(K)[z], x)
    log_base = stats_of_z.counts * stats_of_z.log_base / N  # the same for every point
    found = log_evidence(mixture, prior, stats_of_z.components) + log_base
    expected = [log_evidence_of_component(family_type, x[z == k]) for k in range(K)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 999), family_type=st.sampled_from(FAMILIES), fraction=st.floats(0.01, 0.99)
)
def test_no_other_posterior_has_a_higher_elbo(seed, family_type, fraction):
    """The global update is the best q for its statistics; both forms of the bound agree there and only there."""
    mixture, prior, x = problem(family_type, seed, infer_concentration=False)
    generator = np.random.default_rng(seed)
    best_stats, other_stats = (
        stats_of(mixture, generator.dirichlet(np.ones(K), N), x) for _ in range(2)
    )
    best = global_update(mixture, prior, best_stats)
    other = global_update(mixture, prior, other_stats)
    mixed = Posterior(
        jax.tree.map(lambda a, b: (1 - fraction) * a + fraction * b, best.sticks, other.sticks),
        trees.blend(best.components, other.components, fraction),
        best.counts,
    )
    best_bound = elbo(mixture, prior, best, best_stats)
    after_update = elbo_after_update(mixture, prior, best, best_stats)
    np.testing.assert_allclose(best_bound, after_update, rtol=1e-10)
    assert elbo(mixture, prior, mixed, best_stats) <= best_bound + 1e-9


def test_elbo_against_monte_carlo():
    """E_q[log p(x, z, v, alpha, mu, lambda) - log q], every density from SciPy; alpha unknown, z soft."""
    num_draws, generator = 200_000, np.random.default_rng(0)
    x, (shape, rate) = np.array([-1.0, 0.5, 2.0]), map(float, CONCENTRATION)
    mixture = Mixture(GaussianDiagonal(1), 2)
    component = mixture.family.prior(jnp.asarray([0.2]), jnp.asarray([0.9]), MEAN_COUNT, DOF)
    prior = Prior(component, CONCENTRATION)
    responsibilities = np.array([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])
    found = stats_of(mixture, responsibilities, x[:, None])
    posterior = global_update(mixture, prior, found)

    sticks = posterior.sticks
    q_v = stats.beta(float(sticks.a[0]), float(sticks.b[0]))
    q_alpha = stats.gamma(
        float(sticks.concentration.shape), scale=1 / float(sticks.concentration.rate)
    )
    v, alpha = q_v.rvs(num_draws, generator), q_alpha.rvs(num_draws, generator)
    ratio = stats.beta.logpdf(v, 1, alpha) + stats.gamma.logpdf(alpha, shape, scale=1 / rate)
    ratio -= q_v.logpdf(v) + q_alpha.logpdf(alpha)
    log_weights = np.log([v, 1 - v])
    for k in range(2):
        natural = jax.tree.map(lambda leaf, k=k: np.asarray(leaf[k]), posterior.components)
        density, precision, mean = normal_gamma(natural, num_draws, generator)
        prior_density, _, _ = normal_gamma(component, 0, generator)
        ratio += prior_density(precision, mean) - density(precision, mean)
        for n in range(3):
            log_likelihood = stats.norm.logpdf(x[n], mean, 1 / np.sqrt(precision))
            ratio += responsibilities[n, k] * (log_weights[k] + log_likelihood)
    exact = ratio.mean() + special.entr(responsibilities).sum()
    error = abs(float(elbo(mixture, prior, posterior, found)) - exact)
    assert error <= 5 * ratio.std() / np.sqrt(num_draws)


def normal_gamma(natural, num_draws, generator):
    """Log density, and draws of precision and mean, of a Normal-Gamma in natural form with one feature."""
    kappa, nu = float(natural.mean_count), float(natural.dof)
    mean = float(natural.first[0]) / kappa
    psi = float(natural.second[0]) - kappa * mean**2
    precisions = stats.gamma(nu / 2, scale=2 / psi)

    def log_density(precision, mu):
        return precisions.logpdf(precision) + stats.norm.logpdf(
            mu, mean, 1 / np.sqrt(kappa * precision)
        )

    precision = precisions.rvs(num_draws, generator)
    return log_density, precision, generator.normal(mean, 1 / np.sqrt(kappa * precision))
