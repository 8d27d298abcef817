"""What is called again and again compiles once: densities of new points, new data, explanations."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest

from jaxdpmm import GaussianDiagonal, Mixture, default_prior, initialize, log_predictive_density
from jaxdpmm.inference.update import partial_fit
from jaxdpmm.scoring import SCORERS, score

TRACES: list[str] = []


@dataclass(frozen=True)
class Counting(GaussianDiagonal):
    """Notes when it is traced."""

    def log_predictive_matrix(self, params, x):
        TRACES.append("predictive")
        return super().log_predictive_matrix(params, x)

    def squared_distance_matrix(self, params, x):
        TRACES.append("distance")
        return super().squared_distance_matrix(params, x)

    def weighted_statistics(self, x, responsibilities):
        TRACES.append("statistics")
        return super().weighted_statistics(x, responsibilities)


@pytest.fixture(scope="module")
def fitted():
    x = np.random.default_rng(0).standard_normal((50, 2))
    mixture = Mixture(Counting(2), 3)
    prior = default_prior(mixture, x)
    return mixture, prior, initialize(mixture, prior, x, key=jax.random.key(0)), x


def number_of_traces(call) -> tuple[int, int]:
    """Of the first call and of a second one on other points of the same number."""
    TRACES.clear()
    call(0)
    first = len(TRACES)
    call(1)
    return first, len(TRACES) - first


@pytest.mark.parametrize("name", [name for name in SCORERS if name not in ("cosine", "euclidean")])
def test_scores(fitted, name):
    mixture, _, posterior, x = fitted

    def call(number):
        again = Mixture(Counting(2), mixture.num_components)  # an equal one
        return score(SCORERS[name](again), posterior, x + number)

    first, second = number_of_traces(call)
    assert first > 0
    assert second == 0


def test_densities(fitted):
    mixture, _, posterior, x = fitted
    log_predictive_density(mixture, posterior, x)
    assert number_of_traces(
        lambda number: log_predictive_density(mixture, posterior, x + number)
    ) == (0, 0)


def test_new_data(fitted):
    mixture, prior, posterior, x = fitted
    first, second = number_of_traces(
        lambda number: partial_fit(mixture, prior, posterior, x + number)
    )
    assert first > 0
    assert second == 0
