"""What is called again and again compiles once, data are arguments of the program, and many sizes share few programs.

Programs are counted as JAX compiles them, those of single operations included.
"""

from collections.abc import Callable
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import (
    GaussianDiagonal,
    GaussianLowRank,
    Mixture,
    compact,
    default_prior,
    initialize,
    log_predictive_density,
)
from jaxdpmm.detection.assigning import assign
from jaxdpmm.detection.banks import greedy_coreset, k_means_rows, memory_bank
from jaxdpmm.detection.reduction import Principal, reduce_features
from jaxdpmm.detection.scored import compile_scorer
from jaxdpmm.detection.state import DetectorState, FitFacts
from jaxdpmm.families import Gaussian
from jaxdpmm.inference import paper_start
from jaxdpmm.inference.empirical_bayes import empirical_bayes, gaussian_scales, positive
from jaxdpmm.inference.initialize import clustered_prior
from jaxdpmm.inference.update import from_stats, merge, partial_fit, subtract
from jaxdpmm.model import expected_readout, stats_of
from jaxdpmm.programs import padded_size
from jaxdpmm.scoring import SCORERS, score
from jaxdpmm.scoring.uncertainty import log_density_over_draws, score_over_draws, stack_draws
from jaxdpmm.summaries import co_clustering, point_partition

DIM, NUM_POINTS = 3, 50
DIAGONAL = GaussianDiagonal(DIM)
COMPILED = "/jax/core/compile/backend_compile_duration"
counts = {"programs": 0}


def count(event: str, seconds: float, **_: object) -> None:
    """Listener for `jax.monitoring`."""
    del seconds
    counts["programs"] += event == COMPILED


@pytest.fixture(scope="module", autouse=True)
def listener():
    """Counts programs while this module runs, which begins with none."""
    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(count)
    yield
    jax.monitoring.unregister_event_duration_listener(count)


@contextmanager
def programs():
    """A list that holds, at the end, how many programs were compiled."""
    before, found = counts["programs"], []
    yield found
    found.append(counts["programs"] - before)


def points(seed: int, number: int = NUM_POINTS) -> np.ndarray:
    """Other data for each seed."""
    return np.random.default_rng(seed).normal(seed, 1, (number, DIM))


def fitted(x: np.ndarray, family: Gaussian = DIAGONAL):
    """An equal mixture each time, with prior and posterior of these data."""
    mixture = Mixture(family, 4)
    prior = default_prior(mixture, x[:NUM_POINTS])
    return mixture, prior, initialize(mixture, prior, x[:NUM_POINTS], key=jax.random.key(0))


def state(x: np.ndarray) -> DetectorState:
    """A mixture whose features are reduced."""
    wide = np.random.default_rng(int(x[0, 0] > 1)).normal(size=(DIM + 2, DIM))
    axes = Principal(jnp.zeros(DIM + 2, jnp.float32), jnp.asarray(wide, jnp.float32))
    return DetectorState(*fitted(x), FitFacts(len(x), 0, False, False, None), axes)


def wide(x: np.ndarray) -> np.ndarray:
    """Features before they are reduced."""
    return np.concatenate([x, x[:, :2]], axis=1)


def labels(x: np.ndarray) -> np.ndarray:
    """As of three draws."""
    centred = x - x.mean(axis=0)
    return np.stack([np.digitize(centred[:, axis], [-1, 0, 1]) for axis in range(DIM)])


def draws(x: np.ndarray):
    """Two posteriors."""
    posterior = fitted(x)[2]
    return stack_draws([posterior, posterior._replace(counts=posterior.counts + 1)])


def of_mixture(function: Callable, family: Gaussian = DIAGONAL) -> Callable:
    """From a function of mixture, posterior and points to one of data to fit and points."""

    def call(data, x):
        mixture, _, posterior = fitted(data, family)
        return function(mixture, posterior, x)

    return call


def of_fitted(function: Callable) -> Callable:
    """From a function of mixture, prior and posterior to one of data to fit and points."""
    return lambda data, x: function(*fitted(data)).components[0]


def single(x: np.ndarray) -> np.ndarray:
    """As features come."""
    return x.astype(np.float32)


def bank(metric: str) -> Callable:
    """The score of a memory bank."""
    return lambda data, x: score(memory_bank(metric, 2), jnp.asarray(data[:NUM_POINTS]), x)


SCORES = {
    **{
        name: of_mixture(
            lambda m, p, x, scorer=scorer: score(scorer(m), p, x),
            GaussianLowRank(DIM, 1) if name == "residual" else DIAGONAL,
        )
        for name, scorer in SCORERS.items()
    },
    "density": of_mixture(log_predictive_density),
    "over draws": lambda data, x: (
        score_over_draws(SCORERS["predictive"](fitted(data)[0]), draws(data), x, interval=0.8).upper
    ),
    "density over draws": lambda data, x: log_density_over_draws(fitted(data)[0], draws(data), x),
    "bank, cosine": bank("cosine"),
    "bank, euclidean": bank("euclidean"),
    "reduced": lambda data, x: compile_scorer(*state(data).scorer("predictive"))(wide(x)[None]),
    "axes": lambda data, x: reduce_features(state(data).reduction, wide(x)),
    "components": lambda data, x: assign(state(data)._replace(reduction=None), x)[1],
    "together": lambda data, x: co_clustering(labels(x)),
    "partition": lambda data, x: point_partition(labels(x))[1],
}
"""Every public function that scores: (data to fit, points) -> an array."""

FITS = {
    "new data": lambda data, x: partial_fit(*fitted(data), x)[0].counts,
    "empirical Bayes": lambda data, x: (
        empirical_bayes(
            *(found := fitted(x)), gaussian_scales(found[0].family, found[1].component), num_steps=3
        ).objective
    ),
    "prior": lambda data, x: default_prior(fitted(data)[0], x).component.second,
    "clustered prior": lambda data, x: (
        clustered_prior(fitted(data)[0], x, key=jax.random.key(0)).component.second
    ),
    "start": lambda data, x: initialize(*fitted(data)[:2], x, key=jax.random.key(0)).components[0],
    "start, coverage": lambda data, x: initialize(
        *fitted(data)[:2], x, key=jax.random.key(0), start="coverage"
    ).components[0],
    "two fits": of_fitted(lambda m, prior, p: merge(m, prior, [p, p])),
    "without": of_fitted(lambda m, prior, p: subtract(m, prior, p, stats_of(prior, p, 1.0))),
    "statistics": of_fitted(lambda m, prior, p: from_stats(m, prior, stats_of(prior, p))),
    "compact": of_fitted(lambda m, prior, p: compact(m, prior, p)[1]),
    "published start": lambda data, x: paper_start(
        *fitted(data)[:2], x, key=jax.random.key(0), batch_size=20
    ).components[0],
    "coreset": lambda data, x: x[greedy_coreset(single(x), 8, key=jax.random.key(0))],
    "k-means": lambda data, x: k_means_rows(single(x), 4, key=jax.random.key(0)),
}
"""The others that compile, of which not every size is asked for."""


@pytest.mark.parametrize("name", [*SCORES, *FITS])
def test_three_equal_calls_compile_once(name):
    function = {**SCORES, **FITS}[name]
    results = []
    for seed in range(3):
        data, x = points(seed), points(seed + 10)
        fitted(data), fitted(x), labels(x), draws(data)  # not what is counted
        with programs() as number:
            results.append(np.asarray(function(data, x)))
        assert seed == 0 or number == [0]
    # Data that had become constants of the program would give the first result again.
    assert not np.allclose(results[0], results[1])
    assert not np.allclose(results[1], results[2])


@pytest.mark.parametrize("name", SCORES)
def test_sizes_share_programs_and_scores_do_not_change(name):
    data, x = points(0), points(1, 32)
    whole = np.asarray(SCORES[name](data, x)).ravel()
    with programs() as number:
        found = [np.asarray(SCORES[name](data, x[:size])).ravel() for size in range(17, 25)]
    assert number[0] <= len({padded_size(size) for size in range(17, 25)})
    if name not in ("together", "partition"):  # these depend on all points
        for scores in found:
            np.testing.assert_allclose(scores, whole[: len(scores)], rtol=1e-10)


def test_components_without_data_are_a_parametrization_too():
    free = positive((jnp.asarray(2.0), jnp.asarray(3.0)))
    np.testing.assert_allclose(free.component(free.start), (2.0, 3.0), rtol=1e-12)


def test_scikit_learn(listener):
    sklearn = pytest.importorskip("jaxdpmm.sklearn")
    estimator = sklearn.DirichletProcessMixture(3, max_iter=3, tol=1e9, random_state=0).fit(
        points(0)
    )
    for method in (estimator.predict, estimator.predict_proba, estimator.score_samples):
        method(points(1, 32)), method(points(1, 24))
        with programs() as number:
            for size in (*range(21, 25), *range(29, 33)):
                method(points(size, size))
        assert number == [0]


def test_numpyro():
    svi = pytest.importorskip("jaxdpmm.inference.numpyro.svi")
    sites = {
        "alpha": jnp.ones(2),
        "sticks": jnp.full((2, 3), 0.5),
        "mean": jnp.zeros((2, 4, DIM)),
        "precision": jnp.ones((2, 4, DIM)),
    }
    for seed in range(3):
        mixture, prior, posterior = fitted(points(seed))
        readout, x = expected_readout(mixture, posterior), jnp.asarray(points(seed + 5))
        with (
            programs() as number,
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
        ):
            svi.soft_stats(mixture, readout, x)
            svi.draw_readouts(mixture, prior, sites, jax.random.key(seed))
        assert seed == 0 or number == [0]
