"""Gibbs draws against the joint law of parameters and data: Geweke's test and simulation-based calibration.

Both start from draws of the prior that SciPy makes, so no part of the sampler vouches for itself. Planted mistakes show
that either test would see one.

References:
    Geweke (2004), Getting it right: joint distribution tests of posterior simulators;
    Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based calibration.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gibbs_chains import one_batch
from scipy.stats import chisquare, gamma, wishart

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
from jaxdpmm.inference.backends.gibbs import conditional_posterior, gibbs
from jaxdpmm.inference.backends.gibbs_moves import Move
from jaxdpmm.inference.base import Layout

N, K, D = 8, 4, 2
MEAN, MEAN_COUNT, DOF = np.array([0.4, -0.3]), 0.3, 6.0
CONCENTRATION = (2.0, 1.5)  # shape and rate of the Gamma prior of alpha
COVARIANCES = {
    GaussianFull: np.array([[0.5, 0.2], [0.2, 0.3]]),
    GaussianDiagonal: np.array([0.5, 0.3]),
    GaussianSpherical: np.array(0.4),
}
MOVES = {"plain": (), "moves": (label_switching(4), split_merge(2, 2))}
ALLOWED = 4.5  # standard errors; some hundred comparisons, a chance of 1e-3 that any fails
NUM_RANKS = 19  # draws kept of each calibrated chain, so that ranks are 0 to 19

SMALLEST_P_VALUE = 1e-4  # 36 comparisons, a chance of 4e-3 that any fails


class Joint(NamedTuple):
    """Draws of everything, leaves lead with their number."""

    alpha: np.ndarray
    weights: np.ndarray
    precision: np.ndarray  # matrices, whatever the family
    mean: np.ndarray
    labels: np.ndarray
    x: np.ndarray


class OneStickTooMany(DirichletProcess):
    """A planted mistake: alpha is drawn given K sticks, where K - 1 are free."""

    def sample_concentration(self, key, log_weights, prior):
        return super().sample_concentration(key, log_weights, prior._replace(shape=prior.shape + 1))


def with_alpha_doubled(move: Move) -> Move:
    """A planted mistake: proposals are weighted by twice the concentration."""

    def propose(key, mixture, prior, alpha, *rest):
        return move.propose(key, mixture, prior, 2 * alpha, *rest)

    return move._replace(propose=propose)


DOUBLED = tuple(map(with_alpha_doubled, MOVES["moves"]))


def problem(family_type, sticks=DirichletProcess()) -> tuple[Mixture, Prior]:  # noqa: B008, frozen
    family = family_type(D)
    covariance = jnp.asarray(COVARIANCES[family_type])
    component = family.prior(jnp.asarray(MEAN), covariance, MEAN_COUNT, DOF)
    return Mixture(family, K, sticks), Prior(component, Gamma(*map(jnp.asarray, CONCENTRATION)))


def textbook_precisions(family_type, generator, number: int) -> np.ndarray:
    """From the prior, (number, D, D)."""
    scale = DOF * COVARIANCES[family_type]
    if family_type is GaussianFull:
        return wishart.rvs(DOF, np.linalg.inv(scale), number, generator)
    if family_type is GaussianDiagonal:
        draws = gamma.rvs(DOF / 2, scale=2 / scale, size=(number, D), random_state=generator)
        return draws[:, :, None] * np.eye(D)
    draws = gamma.rvs(D * DOF / 2, scale=2 / (D * scale), size=number, random_state=generator)
    return draws[:, None, None] * np.eye(D)


def textbook_joint(family_type, num_draws: int, seed: int) -> Joint:
    """alpha, sticks, components, labels and points in the order of the model."""
    generator = np.random.default_rng(seed)
    shape, rate = CONCENTRATION
    alpha = generator.gamma(shape, 1 / rate, num_draws)
    v = np.append(generator.beta(1, alpha[:, None], (num_draws, K - 1)), np.ones((num_draws, 1)), 1)
    rest = np.cumprod(np.append(np.ones((num_draws, 1)), 1 - v[:, :-1], 1), 1)
    weights = v * rest
    precision = textbook_precisions(family_type, generator, num_draws * K)
    precision = precision.reshape(num_draws, K, D, D)
    mean = MEAN + _gaussian(generator, MEAN_COUNT * precision)
    labels = (generator.random((num_draws, N, 1)) > np.cumsum(weights, 1)[:, None, :-1]).sum(2)
    rows = np.arange(num_draws)[:, None]
    x = mean[rows, labels] + _gaussian(generator, precision[rows, labels])
    return Joint(alpha, weights, precision, mean, labels, x)


def _gaussian(generator, precision: np.ndarray) -> np.ndarray:
    """Of mean zero: L^-T noise where the precision is L L'."""
    lower = np.linalg.cholesky(precision)
    noise = generator.standard_normal(precision.shape[:-1])
    return np.linalg.solve(np.swapaxes(lower, -1, -2), noise[..., None])[..., 0]


def draw_points(family, key, params, labels):
    """x given labels and drawn parameters of any of the families."""
    noise = jax.random.normal(key, (N, D))
    factor = params.precision_factor[labels]
    if isinstance(family, GaussianFull):
        deviation = jnp.linalg.solve(jnp.swapaxes(factor, 1, 2), noise[:, :, None])[:, :, 0]
    else:
        deviation = noise / factor.reshape(N, -1)
    return params.mean[labels] + deviation


def features(alpha, labels, x):
    """Numbers whose expectations are compared; bounded where the points have heavy tails."""
    one_hot = jax.nn.one_hot(labels, K)
    together = one_hot @ one_hot.T
    near = jnp.tanh(jnp.sum((x[:, None] - x[None]) ** 2, axis=2))
    bounded, norm = jnp.tanh(x / 2), jnp.log1p(jnp.sum(x**2, axis=1))
    product, level = jnp.prod(bounded, axis=1), jnp.mean(norm)
    counts = jnp.sum(one_hot, axis=0)
    occupied = jnp.sum((counts > 0).astype(float))
    scalars = [
        alpha, alpha**2, jnp.log(alpha), level, level**2, jnp.mean(norm**2), jnp.mean(product),
        jnp.mean(together), jnp.mean(near), jnp.mean(near * together), jnp.log(alpha) * occupied, level * occupied,
    ]  # fmt: skip
    moments = [jnp.mean(bounded, axis=0), jnp.mean(bounded**2, axis=0)]
    of_labels = [
        counts,
        counts**2,
        jax.nn.one_hot(occupied.astype(int), K + 1)[1:],
        product @ one_hot,
    ]
    return jnp.concatenate([jnp.stack(scalars), *moments, *of_labels])


def successive_conditional(algorithm, prior: Prior):
    """(alpha, labels, x) -> the same after one sweep given x, then new points given labels."""
    mixture = algorithm.mixture

    def transition(carry, key):
        alpha, labels, x = carry
        key_sweep, key_params, key_points = jax.random.split(key, 3)
        batch = one_batch(x)
        stats = label_statistics(mixture, labels, x, batch.weight, None)
        posterior = conditional_posterior(mixture, prior, stats, alpha, prior.concentration)
        state, _ = algorithm.step(key_sweep, algorithm.init(posterior, Layout(1, N)), batch)
        keys = jax.random.split(key_params, K)
        params = jax.vmap(mixture.family.sample_params)(keys, state.posterior.components)
        alpha, labels = state.sweep.alpha, state.labels[0]
        x = draw_points(mixture.family, key_points, params, labels)
        return (alpha, labels, x), features(alpha, labels, x)

    return transition


@cache
def expected_features(family_type) -> np.ndarray:
    """Of independent draws of the joint law."""
    fresh = textbook_joint(family_type, 100_000, 3)
    return np.asarray(jax.jit(jax.vmap(features))(fresh.alpha, fresh.labels, fresh.x))


def distance_from_joint(problem, moves, num_chains: int, num_sweeps: int) -> np.ndarray:
    """Of chains that start in the joint law, from it, in standard errors; each gives one mean of its later half."""
    mixture, prior = problem
    family_type = type(mixture.family)
    transition = successive_conditional(gibbs(mixture, prior, moves=moves, keep_labels=True), prior)
    start = textbook_joint(family_type, num_chains, 1)
    carry = (jnp.asarray(start.alpha), jnp.asarray(start.labels, jnp.int32), jnp.asarray(start.x))

    def of_chain(key, carry):
        _, draws = jax.lax.scan(transition, carry, jax.random.split(key, num_sweeps))
        return jnp.mean(draws[num_sweeps // 2 :], axis=0)

    keys = jax.random.split(jax.random.key(2), num_chains)
    found = np.asarray(jax.jit(jax.vmap(of_chain))(keys, carry))
    expected = expected_features(family_type)
    variance = found.var(0) / len(found) + expected.var(0) / len(expected)
    return np.abs(found.mean(0) - expected.mean(0)) / np.sqrt(variance)


@pytest.mark.slow
@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize("family", COVARIANCES)
def test_joint_distribution(family, moves):
    distance = distance_from_joint(problem(family), MOVES[moves], 10_000, 60)
    assert distance.max() < ALLOWED, np.round(distance, 1)


def test_joint_distribution_in_short():
    distance = distance_from_joint(problem(GaussianDiagonal), MOVES["moves"], 1000, 20)
    assert distance.max() < ALLOWED, np.round(distance, 1)


def test_joint_distribution_shows_a_wrong_alpha():
    faulty = problem(GaussianDiagonal, OneStickTooMany())
    assert distance_from_joint(faulty, (), 1000, 20).max() > 2 * ALLOWED


@pytest.mark.slow
def test_joint_distribution_shows_a_wrong_ratio():
    assert distance_from_joint(problem(GaussianDiagonal), DOUBLED, 10_000, 60).max() > 2 * ALLOWED


def precision_matrices(family, factor):
    """From the factors of any of the families, (K, D, D)."""
    if isinstance(family, GaussianFull):
        return factor @ jnp.swapaxes(factor, 1, 2)
    return (factor.reshape(K, -1) ** 2)[:, :, None] * jnp.eye(D)[None]


def quantities(alpha, weights, precision, mean, x):
    """What is ranked: functions of parameters and data that know no labels."""
    difference = x[:, None] - mean[None]
    squares = jnp.einsum("nki,kij,nkj->nk", difference, precision, difference)
    log_det = jnp.linalg.slogdet(precision)[1]
    joint = (jnp.log(weights) + 0.5 * log_det)[None] - 0.5 * squares
    density = jax.nn.logsumexp(joint, axis=1)
    spread = jnp.sum(weights**2)
    return jnp.stack([alpha, jnp.sum(density), density[0], spread, *(weights @ mean)])


def calibration_ranks(algorithm, prior: Prior, truth: Joint, warmup: int, thinning: int):
    """Rank of the truth among NUM_RANKS draws of a chain that starts with all points in one component."""
    mixture = algorithm.mixture

    def of_draw(state, x):
        readout = state.sweep.readout
        precision = precision_matrices(mixture.family, readout.params.precision_factor)
        weights = jnp.exp(readout.log_weights)
        return quantities(state.sweep.alpha, weights, precision, readout.params.mean, x)

    def of_replicate(key, truth):
        batch = one_batch(truth.x)
        stats = label_statistics(mixture, jnp.zeros(N, jnp.int32), truth.x, batch.weight, None)
        start = conditional_posterior(mixture, prior, stats, jnp.ones(()), prior.concentration)

        def sweep(state, key):
            return algorithm.step(key, state, batch)[0], None

        def draw(state, keys):
            state, _ = jax.lax.scan(sweep, state, keys)
            return state, of_draw(state, truth.x)

        keys = jax.random.split(key, warmup + NUM_RANKS * thinning)
        state, _ = jax.lax.scan(sweep, algorithm.init(start, Layout(1, N)), keys[:warmup])
        _, draws = jax.lax.scan(draw, state, keys[warmup:].reshape(NUM_RANKS, thinning))
        known = (truth.alpha, truth.weights, truth.precision, truth.mean, truth.x)
        return jnp.sum(draws < quantities(*known)[None], axis=0)

    keys = jax.random.split(jax.random.key(4), len(truth.alpha))
    return np.asarray(jax.jit(jax.vmap(of_replicate))(keys, jax.tree.map(jnp.asarray, truth)))


def p_values_of_ranks(problem, moves) -> np.ndarray:
    """That the ranks of a quantity are uniform."""
    mixture, prior = problem
    truth = textbook_joint(type(mixture.family), 2000, 5)
    algorithm = gibbs(mixture, prior, moves=moves)
    ranks = calibration_ranks(algorithm, prior, truth, warmup=300, thinning=50)
    counts = np.stack([np.bincount(column, minlength=NUM_RANKS + 1) for column in ranks.T])
    return chisquare(counts, axis=1).pvalue


@pytest.mark.slow
@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize("family", COVARIANCES)
def test_ranks_are_uniform(family, moves):
    p_values = p_values_of_ranks(problem(family), MOVES[moves])
    assert p_values.min() > SMALLEST_P_VALUE, p_values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sticks", "moves"),
    [(OneStickTooMany(), ()), (DirichletProcess(), DOUBLED)],
    ids=["alpha", "ratio"],
)
def test_ranks_show_a_mistake(sticks, moves):
    p_values = p_values_of_ranks(problem(GaussianDiagonal, sticks), moves)
    assert p_values.min() < SMALLEST_P_VALUE / 100, p_values
