"""Low rank plus diagonal: densities against SciPy and quadrature, fits against scikit-learn, bounds that never fall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from sklearn.decomposition import PCA, FactorAnalysis

from jaxdpmm import DirichletProcess, Mixture, cavi, default_prior, fit, initialize
from jaxdpmm.bound import elbo
from jaxdpmm.families import Block, GaussianDiagonal, GaussianLowRank, ProductFamily
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.online_em import online_em
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.local_steps.sparse import candidates, sparse
from jaxdpmm.model import expected_readout
from jaxdpmm.scoring import SCORERS, log_predictive_density, score
from jaxdpmm.testing import check_family

FAMILY = GaussianLowRank(3, rank=1)


def two_planes(num_points: int = 400, dtype=np.float64) -> np.ndarray:
    """Two clusters, each about a line of its own in three dimensions."""
    generator = np.random.default_rng(0)
    label = np.arange(num_points) % 2
    lines = np.array([[3.0, 1.0, 0.0], [0.0, -1.0, 3.0]])[label]
    centres = np.array([[0.0, 0.0, 0.0], [4.0, 4.0, -2.0]])[label]
    noise = generator.standard_normal((num_points, 3)) * [0.3, 0.5, 0.4]
    return (centres + generator.standard_normal((num_points, 1)) * lines + noise).astype(dtype)


@pytest.fixture(scope="module")
def fitted():
    """Mixture, prior, points and a posterior after some sweeps."""
    x = two_planes()
    mixture = Mixture(FAMILY, 3)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    return mixture, prior, x, fit(cavi(mixture, prior), x, start, num_epochs=30).posterior


def one_component(fitted):
    """Natural parameter of the largest component."""
    posterior = fitted[3]
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(posterior.counts)], posterior.components)


def covariance_of(params) -> np.ndarray:
    """Inverse of the precision that Woodbury's identity leaves implicit."""
    return np.linalg.inv(
        np.diag(params.precision_factor**2) - params.projection @ params.projection.T
    )


def test_without_loadings_the_partition_is_that_of_the_diagonal_family():
    mean, variance = jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, 2.0, 0.5])
    low_rank = FAMILY.prior(mean, variance, 0.3, 5.0, loading_count=2.0)
    diagonal = GaussianDiagonal(3).prior(mean, variance, 0.3, 5.0)
    loadings = 3 * 0.5 * np.log(2 * np.pi / 2.0)
    expected = GaussianDiagonal(3).log_partition(diagonal) + loadings
    np.testing.assert_allclose(FAMILY.log_partition(low_rank), expected, rtol=1e-12)


def test_expectations_are_the_gradient_of_the_partition(fitted):
    """E[precision], E[precision (loading, mean)] and E[log precision], all of which the E-step uses."""
    natural = one_component(fitted)
    gradient = jax.grad(FAMILY.log_partition)(natural)
    inverse = np.linalg.inv(natural.gram)
    coefficients = natural.first @ inverse
    precision = natural.dof / (natural.second - np.sum(coefficients * natural.first, axis=1))
    np.testing.assert_allclose(-2 * gradient.second, precision, rtol=1e-9)
    np.testing.assert_allclose(gradient.first, precision[:, None] * coefficients, rtol=1e-9)
    square = coefficients.T @ (precision[:, None] * coefficients) + 3 * inverse
    np.testing.assert_allclose(-2 * gradient.gram, square, rtol=1e-8)


def test_log_likelihood_is_the_integral_over_the_factor(fitted):
    """Log of the integral over y of N(y; 0, 1) exp(E[log p(x | y, theta)]), by quadrature."""
    natural, x = one_component(fitted), jnp.asarray(fitted[2][0] - fitted[1].offset)
    expected = jax.grad(FAMILY.log_partition)(natural)

    def integrand(y):
        z = jnp.array([y, 1.0])
        terms = expected.first @ z @ x + expected.second @ (x * x)
        terms = terms + jnp.sum(expected.gram * jnp.outer(z, z)) + expected.dof
        return float(jnp.exp(terms + FAMILY.log_base_measure(x))) * scipy.stats.norm.pdf(y)

    integral = scipy.integrate.quad(integrand, -12, 12, limit=200)[0]
    found = FAMILY.log_likelihood(FAMILY.expected_params(natural), x)
    np.testing.assert_allclose(found, np.log(integral), rtol=1e-8)


def test_plug_in_density_is_the_normal_density(fitted):
    natural = one_component(fitted)
    params = FAMILY.point_params(natural)
    coefficients = natural.first @ np.linalg.inv(natural.gram)
    noise = (natural.second - np.sum(coefficients * natural.first, axis=1)) / natural.dof
    loading, mean = coefficients[:, :1], coefficients[:, 1]
    normal = scipy.stats.multivariate_normal(mean, loading @ loading.T + np.diag(noise))
    x = jnp.asarray(fitted[2][:20])
    one = jax.tree.map(lambda leaf: leaf[None], params)
    found = FAMILY.log_likelihood_matrix(one, x)[:, 0]
    np.testing.assert_allclose(found, normal.logpdf(x), rtol=1e-9)
    np.testing.assert_allclose(found[0], FAMILY.log_likelihood(params, x[0]), rtol=1e-12)


def test_predictive_density_is_a_student_t_with_more_noise(fitted):
    params = FAMILY.predictive_params(one_component(fitted))
    shape = covariance_of(params.params)
    reference = scipy.stats.multivariate_t(params.params.mean, shape, float(params.dof))
    x = jnp.asarray(fitted[2][:20])
    one = jax.tree.map(lambda leaf: leaf[None], params)
    found = FAMILY.log_predictive_matrix(one, x)[:, 0]
    np.testing.assert_allclose(found, reference.logpdf(x), rtol=1e-9)
    np.testing.assert_allclose(found[0], FAMILY.log_predictive(params, x[0]), rtol=1e-12)
    narrow = covariance_of(FAMILY.point_params(one_component(fitted)))
    assert (np.diag(shape) > np.diag(narrow)).all()


def test_density_integrates_to_one():
    """Of one component with few points, hence heavy tails."""
    family = GaussianLowRank(2, rank=1)
    generator = np.random.default_rng(3)
    x = generator.standard_normal((12, 1)) * [2.0, 1.0] + 0.3 * generator.standard_normal((12, 2))
    prior = family.prior(jnp.zeros(2), jnp.ones(2), 0.1, 2.0)
    natural = jax.tree.map(
        lambda sums, leaf: sums + leaf[None],
        family.weighted_statistics(jnp.asarray(x), jnp.ones((12, 1))),
        prior,
    )
    axis = np.linspace(-60, 60, 1201)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    predictive = family.log_predictive_matrix(jax.vmap(family.predictive_params)(natural), grid)
    plug_in = family.log_likelihood_matrix(jax.vmap(family.point_params)(natural), grid)
    for density in (predictive, plug_in):
        assert float(jnp.exp(density).sum()) * 0.1**2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("backend", "step"),
    [(cavi, None), (cavi, candidates(2, 1)), (memoized, None), (memoized, sparse(2))],
)
def test_bound_never_falls(backend, step):
    x = two_planes(120)
    mixture = Mixture(FAMILY, 4)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(1), num_iterations=0)
    algorithm = backend(mixture, prior) if step is None else backend(mixture, prior, step)
    source = ArraySource(x, FAMILY, batch_size=60)
    state = algorithm.init(start, Layout(source.num_batches, source.batch_size, 120.0))
    compiled = jax.jit(algorithm.step)
    bounds = []
    for _ in range(40):
        for batch in source.sweep():
            state, info = compiled(jax.random.key(0), state, batch)
            bounds.append(float(info.objective))
    bounds = np.array(bounds)[~np.isnan(bounds)]
    assert len(bounds) >= 40
    assert np.diff(bounds).min() > -1e-8
    assert bounds[-1] > bounds[0] + 1


def test_bound_is_that_of_the_local_step_and_below_the_evidence(fitted):
    """The local term, by itself, is log sum_k w_k times the integral: no statistics are in it."""
    mixture, prior, x, posterior = fitted
    from jaxdpmm.inference.local_steps.dense import dense
    from jaxdpmm.model import log_joint

    (batch,) = ArraySource(x, FAMILY).sweep()
    readout = expected_readout(mixture, posterior)
    stats, evidence, _ = dense.step(mixture, readout, batch, ())
    joint = log_joint(mixture, readout, jnp.asarray(x))
    np.testing.assert_allclose(evidence, jnp.sum(jax.nn.logsumexp(joint, axis=1)), rtol=1e-10)
    divergence = jax.vmap(FAMILY.kl_divergence, (0, None))(posterior.components, prior.component)
    sticks = mixture.sticks.kl_divergence(posterior.sticks, prior.concentration)
    np.testing.assert_allclose(
        elbo(mixture, prior, posterior, stats), evidence - jnp.sum(divergence) - sticks, rtol=1e-9
    )


def test_one_component_is_factor_analysis_and_finds_the_principal_subspace():
    generator = np.random.default_rng(5)
    loading = generator.standard_normal((8, 2)) * 2
    x = generator.standard_normal((3000, 2)) @ loading.T + generator.standard_normal((3000, 8))
    mixture = Mixture(GaussianLowRank(8, rank=2), 1, DirichletProcess())
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    result = fit(cavi(mixture, prior), x, start, num_epochs=300, tolerance=1e-7)
    peer = FactorAnalysis(2, tol=1e-8, max_iter=5000).fit(x)
    ours = log_predictive_density(mixture, result.posterior, x).mean()
    assert ours == pytest.approx(peer.score(x), abs=2e-3)
    natural = jax.tree.map(lambda leaf: leaf[0], result.posterior.components)
    params = mixture.family.point_params(natural)
    np.testing.assert_allclose(covariance_of(params), peer.get_covariance(), rtol=0.02, atol=0.02)
    subspace = np.linalg.qr((natural.first @ np.linalg.inv(natural.gram))[:, :2])[0]
    overlap = np.linalg.svd(PCA(2).fit(x).components_ @ subspace)[1]
    assert overlap.min() > 0.999


def test_online_em_distances_and_products_take_it(fitted):
    mixture, prior, x, posterior = fitted
    result = fit(online_em(mixture, prior), x, posterior, num_epochs=3, tolerance=0, batch_size=100)
    for name in ("cosine", "mahalanobis"):
        assert np.isfinite(score(SCORERS[name](mixture), result.posterior, x)).all()
    family = ProductFamily((Block("x", FAMILY), Block("where", GaussianDiagonal(1))))
    wider = np.hstack([x, x[:, :1] ** 2])
    product = Mixture(family, 3)
    prior = default_prior(product, wider)
    start = initialize(product, prior, wider, key=jax.random.key(0))
    history = fit(cavi(product, prior), wider, start, num_epochs=8, tolerance=0).history
    assert np.diff([epoch.objective for epoch in history]).min() > -1e-8


def test_single_precision_agrees(fitted):
    mixture, prior, x, posterior = fitted
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (prior, posterior))
    ours = log_predictive_density(mixture, single[1], x.astype(np.float32))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, log_predictive_density(mixture, posterior, x), atol=2e-4)


def test_rank_must_fit():
    with pytest.raises(
        ValueError, match=r"rank must be at least 1 and below dim = 3, got 3; use Ga"
    ):
        GaussianLowRank(3, rank=3)


def test_check_family_says_what_it_cannot_check():
    prior = FAMILY.prior(jnp.zeros(3), jnp.ones(3), 0.1, 2.0)
    with pytest.raises(
        TypeError, match=r"T\(x\) and A say all, got GaussianLowRank with local_stat"
    ):
        check_family(FAMILY, prior, jnp.zeros((4, 3)))
