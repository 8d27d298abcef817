"""Every backend, wrapper and family through `check_algorithm`, which finds planted mistakes.

A new backend is a new row of `ALGORITHMS`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FAMILIES

from jaxdpmm import GaussianDiagonal, Mixture, Prior, default_prior, fit, initialize
from jaxdpmm.inference import (
    ArraySource,
    Layout,
    candidates,
    cavi,
    dense,
    device_mesh,
    gibbs,
    label_switching,
    memoized,
    online_em,
    sharded,
    sparse,
    split_merge,
    stochastic,
    with_moves,
)
from jaxdpmm.inference.base import Algorithm, Identity, Info, Objective
from jaxdpmm.testing import AlgorithmError, check_algorithm

K, D, N = 4, 2, 40

ALGORITHMS = {
    "cavi": cavi,
    "cavi-sparse": functools.partial(cavi, local_step=sparse(2)),
    "cavi-candidates": functools.partial(cavi, local_step=candidates(3, 2)),
    "cavi-sharded": functools.partial(cavi, local_step=sharded(dense, device_mesh())),
    "memoized": memoized,
    "stochastic": stochastic,
    "online-em": online_em,
    "gibbs": gibbs,
    "gibbs-moves": functools.partial(
        gibbs, moves=(label_switching(), split_merge()), keep_labels=True
    ),
    "moves": lambda mixture, prior: with_moves(cavi(mixture, prior)),
    "moves-memoized": lambda mixture, prior: with_moves(memoized(mixture, prior), ["merge"]),
}
each_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def points(dtype=np.float64) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = 4 * generator.standard_normal((3, D))
    return (centres[np.arange(N) % 3] + generator.standard_normal((N, D))).astype(dtype)


@functools.cache
def problem(dtype=np.float64):
    mixture = Mixture(GaussianDiagonal(D), K)
    return mixture, default_prior(mixture, points(dtype))


TWICE = {"cavi-sparse", "cavi-sharded", "moves"}  # in float64, and their parts in float32


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        pytest.param(dtype, name, marks=[pytest.mark.slow] * (name in TWICE and dtype == "float32"))
        for dtype in ("float64", "float32")
        for name in ALGORITHMS
    ],
)
def test_every_backend_and_wrapper(dtype, name):
    dtype, tolerance = (np.float64, 1e-9) if dtype == "float64" else (np.float32, 1e-3)
    check_algorithm(
        ALGORITHMS[name],
        *problem(dtype),
        points(dtype),
        tolerance=tolerance,
        weights=not name.startswith("moves"),
    )


QUICK = {"full-5": (cavi, memoized, stochastic, online_em, gibbs), "poisson": (cavi, memoized)}
"""The other families take the same way, and GaussianDiagonal is above with every backend."""
NEEDED = {gibbs: "sample_params", online_em: "point_params"}
PAIRS = [
    pytest.param(name, backend, marks=[pytest.mark.slow] * (backend not in QUICK.get(name, ())))
    for name, case in FAMILIES.items()
    for backend in (cavi, memoized, stochastic, online_em, gibbs)
    if backend not in NEEDED or case(np.float64).family.offers(NEEDED[backend])
]


@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_every_family(name, backend):
    family, component, x = FAMILIES[name](np.float64)
    mixture = Mixture(family, 3)
    offset = family.reference_point(jnp.asarray(x))
    prior = Prior(component, mixture.sticks.default_prior(x.dtype), offset)
    check_algorithm(backend, mixture, prior, x)


@pytest.fixture(scope="module")
def posteriors():
    """A posterior of every backend."""
    mixture, prior = problem()
    start = initialize(mixture, prior, points(), key=jax.random.key(1))
    return {
        name: fit(make(mixture, prior), points(), start, key=jax.random.key(0), num_epochs=2)
        for name, make in ALGORITHMS.items()
    }


@each_algorithm
def test_starts_from_the_posterior_of_every_other(name, posteriors):
    """A step from each posterior."""
    algorithm = ALGORITHMS[name](*problem())
    step = jax.jit(algorithm.step)
    (batch,) = ArraySource(points(), GaussianDiagonal(D)).sweep()
    for other in posteriors.values():
        start = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), other.posterior)
        state = algorithm.init(start, Layout(1, N, float(N)))
        state, info = step(jax.random.key(0), state, batch)
        assert np.isfinite(info.objective)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(algorithm.posterior(state)))


@pytest.mark.parametrize("name", ["cavi", "cavi-sparse"])
@pytest.mark.parametrize("batch_size", [7, 20, 39])
def test_how_the_data_are_cut_changes_nothing(name, batch_size):
    mixture, prior = problem()
    start = initialize(mixture, prior, points(), key=jax.random.key(1))
    whole, cut = (
        fit(ALGORITHMS[name](mixture, prior), points(), start, num_epochs=2, batch_size=size)
        for size in (None, batch_size)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
        whole.posterior,
        cut.posterior,
    )


# ------------------------------------------------------------------ planted mistakes


def broken(make, **replacements):
    """A backend with some of its fields replaced by functions of the algorithm."""

    @functools.lru_cache
    def changed(mixture: Mixture, name: str):
        return replacements[name](make(mixture, problem()[1]))

    def altered(mixture: Mixture, prior: Prior) -> Algorithm:
        fields = {name: changed(mixture, name) for name in replacements}
        return make(mixture, prior)._replace(**fields)

    return altered


def forgets_the_key(algorithm):
    generator = np.random.default_rng(0)
    number = jax.ShapeDtypeStruct((), np.float64)

    def step(key, state, batch):
        state, info = algorithm.step(key, state, batch)
        noise = jax.pure_callback(
            lambda: np.float64(generator.random()), number, vmap_method="sequential"
        )
        counts = state.posterior.counts
        counts = counts + 1e-3 * noise * (counts - jnp.mean(counts))
        return state._replace(posterior=state.posterior._replace(counts=counts)), info

    return step


def casts(algorithm):
    def step(key, state, batch):
        state, info = algorithm.step(key, state, batch)
        counts = state.posterior.counts.astype(jnp.float32)
        return state._replace(posterior=state.posterior._replace(counts=counts)), info

    return step


def drops_the_objective(algorithm):
    def step(key, state, batch):
        state, info = algorithm.step(key, state, batch)
        return state, Info(jnp.full_like(info.objective, jnp.nan))

    return step


def falls(algorithm):
    def step(key, state, batch):
        state, info = algorithm.step(key, state, batch)
        return state, Info(-info.objective)

    return step


def ignores_weights(algorithm):
    def step(key, state, batch):
        return algorithm.step(key, state, batch._replace(weight=jnp.ones_like(batch.weight)))

    return step


def not_jittable(algorithm):
    def step(key, state, batch):
        state, info = algorithm.step(key, state, batch)
        if info.objective > 0:
            return state, info
        return state, info

    return step


def loses_points(algorithm):
    def step(key, state, batch):
        half = batch.weight.at[::2].set(0)
        return algorithm.step(key, state, batch._replace(weight=half))

    return step


def other_form(algorithm):
    return lambda state: state.posterior._replace(offset=None)


def never_equal(mixture, prior):
    algorithm = cavi(mixture, prior)
    identity = Identity("cavi", mixture, Objective.BOUND, options=(("when", object()),))
    return algorithm._replace(identity=identity)


def not_hashable(mixture, prior):
    algorithm = cavi(mixture, prior)
    identity = Identity("cavi", mixture, Objective.BOUND, options=(("steps", [1]),))
    return algorithm._replace(identity=identity)


def step_made_anew(mixture, prior):
    algorithm = cavi(mixture, prior)
    return algorithm._replace(step=lambda *arguments: algorithm.step(*arguments))


def closes_over_the_prior(mixture, prior):
    algorithm = cavi(mixture, prior)
    return algorithm._replace(step=_step_of(mixture, id(prior.component)))


@functools.lru_cache
def _step_of(mixture, number):
    del number
    return lambda *arguments: cavi(*problem()).step(*arguments)


def of_another_mixture(mixture, prior):
    other = Mixture(mixture.family, mixture.num_components + 1)
    return cavi(mixture, prior)._replace(identity=Identity("cavi", other, Objective.BOUND))


MISTAKES = {
    "cavi: the identity must be hashable": not_hashable,
    "cavi: two equal algorithms must have equal identities": never_equal,
    "cavi: identity.mixture must be the mixture": of_another_mixture,
    "cavi: two equal algorithms must share one step function": step_made_anew,
    "cavi: step must not depend on the prior": closes_over_the_prior,
    "cavi: step must return a state of the form.*float32": broken(cavi, step=casts),
    "cavi: posterior must have the form of its start.*nothing in place of": broken(
        cavi, posterior=other_form
    ),
    "cavi: info.objective must be a finite scalar": broken(cavi, step=drops_the_objective),
    "cavi: counts must sum to the 40 points": broken(cavi, step=loses_points),
    "cavi: the same key must give the same bits": broken(cavi, step=forgets_the_key),
    "cavi: a bound must not fall": broken(cavi, step=falls),
    "cavi: points of weight zero must change nothing": broken(cavi, step=ignores_weights),
    "cavi: step must run under jax.jit.*Tracer": broken(cavi, step=not_jittable),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_check_algorithm_finds_mistakes(sentence):
    with pytest.raises(AlgorithmError, match=f"^{sentence}"):
        check_algorithm(MISTAKES[sentence], *problem(), points())
