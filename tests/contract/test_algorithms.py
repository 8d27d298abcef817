"""Every backend through the same tests: a new one is a new row of `ALGORITHMS`."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import GaussianDiagonal, Mixture, cavi, default_prior, fit, initialize
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.backends.gibbs import gibbs
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.online_em import online_em
from jaxdpmm.inference.backends.stochastic import stochastic
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.local_steps.sparse import candidates, sparse

K, D, N = 4, 2, 40


class Row(NamedTuple):
    """A backend and what it promises beyond the contract.

    Attributes:
        make: (mixture, prior) -> algorithm.
        draws: whether it uses its keys, so that results are equal in distribution only.
        sums: whether a sweep is a plain sum over its points, however they are cut.
    """

    make: Callable
    draws: bool = False
    sums: bool = False


ALGORITHMS = {
    "cavi": Row(cavi, sums=True),
    "cavi-sparse": Row(lambda mixture, prior: cavi(mixture, prior, sparse(2)), sums=True),
    "cavi-candidates": Row(lambda mixture, prior: cavi(mixture, prior, candidates(3, 2))),
    "memoized": Row(memoized),
    "stochastic": Row(stochastic),
    "online-em": Row(online_em),
    "gibbs": Row(gibbs, draws=True),
}
each_algorithm = pytest.mark.parametrize("name", ALGORITHMS)
each_deterministic = pytest.mark.parametrize(
    "name", [name for name, row in ALGORITHMS.items() if not row.draws]
)


def points(dtype=np.float64) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = 4 * generator.standard_normal((3, D))
    return (centres[np.arange(N) % 3] + generator.standard_normal((N, D))).astype(dtype)


@functools.cache
def problem(name: str, dtype=np.float64):
    """Algorithm, posterior to start from, and the compiled step, for all tests of a backend."""
    x = points(dtype)
    mixture = Mixture(GaussianDiagonal(D), K)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(1), num_iterations=1)
    algorithm = ALGORITHMS[name].make(mixture, prior)
    return algorithm, start, jax.jit(algorithm.step)


def run(name: str, source: ArraySource, num_sweeps: int = 2):
    """Posterior and last objective after some sweeps."""
    algorithm, start, step = problem(name)
    state = algorithm.init(
        start, Layout(source.num_batches, source.batch_size, source.total_weight)
    )
    for number in range(num_sweeps):
        for batch in source.sweep():
            state, info = step(jax.random.key(number), state, batch)
    return algorithm.posterior(state), info.objective


def source(x, weight=None, batch_size=None) -> ArraySource:
    return ArraySource(x, GaussianDiagonal(D), weight, batch_size)


def assert_close(ours, theirs, rtol=1e-9):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9), ours, theirs)


def form(tree):
    leaves = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.aval.weak_type), tree)
    return jax.tree.structure(tree), jax.tree.leaves(leaves, is_leaf=lambda x: isinstance(x, tuple))


@each_algorithm
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_posterior_has_the_form_of_its_start_and_is_finite(name, dtype):
    algorithm, start, step = problem(name, dtype)
    (batch,) = source(points(dtype)).sweep()
    state = algorithm.init(start, Layout(1, N, float(N)))
    for _ in range(2):
        state, info = step(jax.random.key(0), state, batch)
    posterior = algorithm.posterior(state)
    assert form(posterior) == form(start)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((posterior, info.objective)))
    assert info.objective.dtype == dtype
    assert info.objective.shape == ()
    np.testing.assert_allclose(jnp.sum(posterior.counts), N, rtol=1e-5)


@each_algorithm
def test_second_step_is_not_traced_anew(name):
    algorithm, start, _ = problem(name)
    traces = []

    @jax.jit
    def step(*args):
        traces.append(None)
        return algorithm.step(*args)

    state = algorithm.init(start, Layout(2, N // 2, float(N)))
    for batch in [*source(points(), batch_size=N // 2).sweep()] * 2:
        before = form(state)
        state, _ = step(jax.random.key(0), state, batch)
        assert form(state) == before
    assert len(traces) == 1


@each_algorithm
def test_same_key_same_result(name):
    assert_close(run(name, source(points())), run(name, source(points())), rtol=0)


@each_algorithm
def test_steps_vectorise_over_keys(name):
    algorithm, start, step = problem(name)
    (batch,) = source(points()).sweep()
    state = algorithm.init(start, Layout(1, N, float(N)))
    keys = jax.random.split(jax.random.key(3), 3)
    states, info = jax.jit(jax.vmap(algorithm.step, (0, None, None)))(keys, state, batch)
    assert info.objective.shape == (3,)
    for number, key in enumerate(keys):
        alone, _ = step(key, state, batch)
        assert_close(jax.tree.map(lambda leaf, n=number: leaf[n], states), alone)


@each_algorithm
def test_state_survives_the_way_to_disk_and_back(name):
    algorithm, start, step = problem(name)
    (batch,) = source(points()).sweep()
    state, _ = step(jax.random.key(0), algorithm.init(start, Layout(1, N, float(N))), batch)
    leaves, structure = jax.tree.flatten(state)
    restored = jax.tree.unflatten(structure, [jnp.asarray(np.array(leaf)) for leaf in leaves])
    after = step(jax.random.key(1), state, batch), step(jax.random.key(1), restored, batch)
    assert_close(*after, rtol=0)


@each_algorithm
def test_starts_from_the_posterior_of_another(name):
    names = list(ALGORITHMS)
    other = names[names.index(name) - 1]
    given, _ = run(other, source(points()))
    algorithm, _, _ = problem(name)
    result = fit(algorithm, points(), given, num_epochs=3, key=jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.posterior))
    assert result.history[-1].num_active >= 1


@each_deterministic
def test_points_of_weight_zero_change_nothing(name):
    padded = np.concatenate([points(), np.full((9, D), 1e3)])
    weight = np.r_[np.ones(N), np.zeros(9)]
    assert_close(run(name, source(padded, weight)), run(name, source(points())))


@each_deterministic
def test_weight_two_is_the_point_twice(name):
    x = points()
    doubled = np.concatenate([x, x[:15]])
    weight = np.r_[np.full(15, 2.0), np.ones(N - 15)]
    assert_close(run(name, source(x, weight)), run(name, source(doubled)))


@pytest.mark.parametrize("name", [name for name, row in ALGORITHMS.items() if row.sums])
@pytest.mark.parametrize("batch_size", [7, 20, 39])
def test_how_the_data_are_cut_changes_nothing(name, batch_size):
    assert_close(run(name, source(points(), batch_size=batch_size)), run(name, source(points())))
