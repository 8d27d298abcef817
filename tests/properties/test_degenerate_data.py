"""Data that are nothing, all alike, tiny or huge: a finite result or one sentence that helps, from every backend.

All kinds have as many points, so that each pair of backend and family compiles once.
"""

import warnings

import jax
import numpy as np
import pytest

from jaxdpmm import (
    GaussianDiagonal,
    GaussianFull,
    GaussianLowRank,
    GaussianSpherical,
    GaussianTied,
    Mixture,
    default_prior,
    fit,
    initialize,
    log_predictive_density,
)
from jaxdpmm.inference import cavi, gibbs, memoized, online_em, stochastic
from jaxdpmm.sklearn import DirichletProcessMixture

N, D, K = 60, 3, 4
random = np.random.default_rng(0)
NOISE = random.normal(size=(N, D))
USUAL = NOISE + 5 * np.arange(3)[np.arange(N) % 3][:, None]


def with_row(value: float) -> np.ndarray:
    """The usual points, the last of them far away."""
    return np.concatenate([USUAL[:-1], np.full((1, D), value)])


FINITE = {
    "usual": USUAL,
    "zeros": np.zeros((N, D)),
    "all equal": np.full((N, D), 7.3),
    "a constant feature": np.c_[USUAL[:, :2], np.full(N, 3.3)],
    "three points again and again": np.repeat(USUAL[:3], N // 3, axis=0),
    "tiny": 1e-30 * USUAL,
    "large": 1e12 * USUAL,
    "an outlier": with_row(1e12),
    "far from zero": USUAL + 1e6,
    "units of their own": USUAL * np.array([1e-6, 1, 1e6]),
    "whole numbers": np.round(3 * USUAL).astype(int),
    "half precision": USUAL.astype(np.float16),
}
REFUSED = {
    "no points": (np.zeros((0, D)), r"x must hold at least one point, got shape \(0, 3\)"),
    "one point": (USUAL[:1], "num_components must not exceed the number of points, got 4 .* for 1"),
    "three points": (USUAL[:3], "num_components must not exceed .* use at most 3"),
    "nan": (with_row(np.nan), "x must be finite, got nan or infinity in 1 of 60 .* point 59"),
    "an outlier without a square": (
        with_row(1e200),
        r"x must be at most 1e\+151 .* point 59; remove",
    ),
    "huge": (-1e160 * (1 + abs(USUAL)), r"x must be at most 1e\+151 in size, .* first in point 0"),
    "another shape": (
        USUAL[:, :2],
        r"x must have shape \(N, 3\) .* got \(60, 2\); build the family",
    ),
}
FAMILIES = {
    "diagonal": GaussianDiagonal(D),
    "full": GaussianFull(D),
    "spherical": GaussianSpherical(D),
    "low rank": GaussianLowRank(D, 1),
    "tied": GaussianTied(D),
}
PAIRS = [
    *((cavi, name) for name in FAMILIES),
    *((backend, "full") for backend in (memoized, stochastic, online_em, gibbs)),
    *((backend, "diagonal") for backend in (memoized, online_em, gibbs)),
]


def fitted_density(backend, family, x) -> np.ndarray:
    mixture = Mixture(family, K)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    result = fit(backend(mixture, prior), x, start, key=jax.random.key(1), num_epochs=3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.posterior))
    return log_predictive_density(mixture, result.posterior, x)


@pytest.mark.parametrize(("backend", "family"), PAIRS)
def test_a_finite_result(backend, family):
    for kind, x in FINITE.items():
        density = fitted_density(backend, FAMILIES[family], x)
        assert np.isfinite(density).all(), kind


@pytest.mark.parametrize("kind", REFUSED)
def test_one_sentence(kind):
    x, sentence = REFUSED[kind]
    with pytest.raises((ValueError, TypeError), match=sentence) as error:
        fitted_density(cavi, FAMILIES["full"], x)
    assert "\n" not in str(error.value)


def test_too_large_for_single_precision_is_named_with_its_type():
    x = with_row(1e30).astype(np.float32)
    with pytest.raises(ValueError, match=r"at most 2e\+16 in size, so that float32 holds sums"):
        fitted_density(cavi, FAMILIES["diagonal"], x)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_the_scikit_learn_face(covariance_type):
    for kind, x in FINITE.items():
        model = DirichletProcessMixture(
            K, covariance_type=covariance_type, random_state=0, max_iter=3
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x)
        assert np.isfinite(model.score_samples(x)).all(), kind
        assert np.isfinite(model.predict_proba(x)).all(), kind
