"""Gibbs draws against the exact posterior: all K^N labellings enumerated, densities from SciPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gibbs_chains import one_batch, run_chains, z_score
from scipy.integrate import quad_vec
from scipy.special import betaln
from scipy.stats import gamma, multivariate_t, t

from jaxdpmm import (
    DirichletProcess,
    Gamma,
    GaussianDiagonal,
    GaussianFull,
    GaussianSpherical,
    Mixture,
    Prior,
)
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.backends import label_switching, split_merge
from jaxdpmm.inference.backends.gibbs import gibbs
from jaxdpmm.inference.backends.gibbs_moves import Partition
from jaxdpmm.model import Stats, global_update

X = np.array([[-1.2, 0.1], [-0.9, 0.4], [1.1, -0.3], [0.2, 0.3], [1.4, 0.2]])
NUM_COMPONENTS, MEAN_COUNT, DOF = 3, 0.2, 4.0
CONCENTRATION = (2.0, 1.5)  # shape and rate of the Gamma prior of alpha
COVARIANCES = {
    GaussianFull: np.array([[0.3, 0.1], [0.1, 0.2]]),
    GaussianDiagonal: np.array([0.3, 0.2]),
    GaussianSpherical: np.array(0.25),
}
FAMILIES = list(COVARIANCES)
NUM_CHAINS, NUM_SWEEPS, WARMUP = 1000, 40, 15
ALLOWED = 4.5  # standard errors; some hundred comparisons, a chance of 1e-3 that any fails


def log_predictive(family, points, x):
    """Log p(x | points), the textbook Student-t, from m, kappa, nu and Psi."""
    mean = points.sum(0) / (MEAN_COUNT + len(points))
    kappa, nu = MEAN_COUNT + len(points), DOF + len(points)
    outer = points.T @ points - kappa * np.outer(mean, mean)
    dim, grown = points.shape[1], (kappa + 1) / kappa
    covariance = DOF * COVARIANCES[family]
    if family is GaussianFull:
        dof = nu - dim + 1
        return multivariate_t.logpdf(x, mean, (covariance + outer) * grown / dof, dof)
    if family is GaussianDiagonal:
        scale = np.sqrt((covariance + np.diag(outer)) * grown / nu)
        return t.logpdf(x, nu, mean, scale).sum()
    scale = (dim * covariance + np.trace(outer)) * grown / (dim * nu)
    return multivariate_t.logpdf(x, mean, scale * np.eye(dim), dim * nu)


def log_evidence(family, points):
    return sum(log_predictive(family, points[:n], points[n]) for n in range(len(points)))


def log_prior_of_labels(counts, alpha):
    """Log p(labels | alpha) with the sticks integrated out; counts (M, K), result (M,)."""
    rest = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] - counts
    terms = betaln(1 + counts, alpha + rest) - betaln(1, alpha)
    return terms[:, :-1].sum(1)


def exact_posterior(family, infer_concentration):
    """Labellings (M, N), their posterior (M,), and E[alpha]."""
    labellings = np.array(list(itertools.product(range(NUM_COMPONENTS), repeat=len(X))))
    counts = (labellings[:, :, None] == np.arange(NUM_COMPONENTS)).sum(1)
    evidence = {
        members: log_evidence(family, X[np.array(members, bool)])
        for members in itertools.product((False, True), repeat=len(X))
    }
    likelihood = np.exp(
        [sum(evidence[tuple(z == k)] for k in range(NUM_COMPONENTS)) for z in labellings]
    )
    shape, rate = CONCENTRATION
    if not infer_concentration:
        joint = likelihood * np.exp(log_prior_of_labels(counts, shape / rate))
        return labellings, joint / joint.sum(), shape / rate

    def weighted(alpha):
        density = gamma.pdf(alpha, shape, scale=1 / rate)
        prior = np.exp(log_prior_of_labels(counts, alpha)) * density
        return np.concatenate([prior, alpha * prior])

    prior, prior_alpha = np.split(quad_vec(weighted, 1e-9, 40)[0], 2)
    joint = likelihood * prior
    return labellings, joint / joint.sum(), (likelihood @ prior_alpha) / joint.sum()


def problem(family_type, infer_concentration=True):
    family = family_type(2)
    component = family.prior(jnp.zeros(2), jnp.asarray(COVARIANCES[family_type]), MEAN_COUNT, DOF)
    mixture = Mixture(family, NUM_COMPONENTS, DirichletProcess(infer_concentration))
    prior = Prior(component, Gamma(*map(jnp.asarray, CONCENTRATION)))
    zero = jnp.zeros(())
    none = jax.tree.map(lambda leaf: jnp.zeros((NUM_COMPONENTS, *leaf.shape)), component)
    start = global_update(mixture, prior, Stats(jnp.zeros(NUM_COMPONENTS), none, zero, zero))
    return mixture, prior, start


def check_draws(algorithm, start, family_type, infer_concentration, key):
    """Counts, labels of each point, co-clustering and alpha within Monte Carlo error."""
    labels, alpha = run_chains(
        algorithm,
        start,
        X,
        key,
        NUM_CHAINS,
        NUM_SWEEPS,
        lambda state: (state.labels[0], state.sweep.alpha),
    )
    labels, alpha = np.asarray(labels)[:, WARMUP:], np.asarray(alpha)[:, WARMUP:]
    labellings, probability, mean_alpha = exact_posterior(family_type, infer_concentration)
    for feature in (_indicators, _together, _occupied):
        exact = np.tensordot(probability, feature(labellings), 1)
        assert z_score(feature(labels).mean(1), exact).max() < ALLOWED
    assert z_score(alpha.mean(1), mean_alpha) < ALLOWED


def _indicators(labels):
    return (labels[..., None] == np.arange(NUM_COMPONENTS)).astype(float)


def _together(labels):
    return (labels[..., :, None] == labels[..., None, :]).astype(float)


def _occupied(labels):
    number = _indicators(labels).any(-2).sum(-1)
    return (number[..., None] == np.arange(1, NUM_COMPONENTS + 1)).astype(float)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_match_enumeration(family, key):
    mixture, prior, start = problem(family)
    check_draws(gibbs(mixture, prior, keep_labels=True), start, family, True, key)


def test_draws_match_enumeration_with_fixed_concentration(key):
    mixture, prior, start = problem(GaussianDiagonal, False)
    check_draws(gibbs(mixture, prior, keep_labels=True), start, GaussianDiagonal, False, key)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "moves",
    [(label_switching(),), (split_merge(3, 2),), (split_merge(1, 0), label_switching(4))],
    ids=["label_switching", "split_merge", "both"],
)
def test_moves_keep_the_exact_posterior(family, moves, key):
    mixture, prior, start = problem(family)
    check_draws(gibbs(mixture, prior, moves=moves, keep_labels=True), start, family, True, key)


@pytest.mark.parametrize(
    "family", [FAMILIES[0], *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES[1:])]
)
@pytest.mark.parametrize(
    "move", [label_switching(20), split_merge(10, 2)], ids=["label_switching", "split_merge"]
)
def test_moves_alone_keep_the_exact_posterior(family, move, key):
    """From exact draws of the labels, many proposals and no Gibbs step: the law of the labels stays."""
    mixture, prior, _ = problem(family, False)
    labellings, probability, alpha = exact_posterior(family, False)
    drawn = np.random.default_rng(0).choice(len(labellings), 4000, p=probability)
    batch = one_batch(X)

    def apply(key, labels):
        stats = label_statistics(mixture, labels, batch.x, batch.weight, None)
        start = Partition(labels[None], stats)
        partition, share = move.propose(key, mixture, prior, jnp.asarray(alpha), start, batch)
        return partition.labels[0], share, partition.stats

    labels, share, stats = jax.jit(jax.vmap(apply))(
        jax.random.split(key, len(drawn)), jnp.asarray(labellings[drawn], jnp.int32)
    )
    assert np.mean(share) > 0.02
    for feature in (_indicators, _together, _occupied):
        exact = np.tensordot(probability, feature(labellings), 1)
        assert z_score(feature(np.asarray(labels)), exact).max() < ALLOWED
    again = jax.vmap(lambda z: label_statistics(mixture, z, batch.x, batch.weight, None))(labels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), stats, again)
