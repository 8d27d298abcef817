"""Checks for a score of one's own: each says in one sentence what is at fault.

`check_scorer` raises `ScorerError`, so that it can stand in any test. It cannot tell whether the score finds anomalies
of yours: measure that with `jaxdpmm evaluate`. Next file to read: `../scoring/scorer.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from jaxdpmm.model import Mixture, Posterior
from jaxdpmm.scoring import Scorer
from jaxdpmm.testing.compare import called


class ScorerError(AssertionError):
    """A scorer breaks the contract; the message names what."""


def check_scorer(
    make: Callable[[Mixture], Scorer],
    mixture: Mixture,
    posterior: Posterior,
    x: Num[Array | np.ndarray, "N ..."],
    anomalies: Num[Array | np.ndarray, "M ..."],
    *,
    tolerance: float = 1e-6,
) -> None:
    """Hold a score against the contract of `jaxdpmm.scoring.Scorer`.

    Equal mixtures share one scorer, so that it compiles once; scores are one finite number per point, grow with
    abnormality, and depend on the point and the posterior alone.

    Args:
        make: a mixture to its scorer, for example `jaxdpmm.scoring.predictive`.
        mixture: static description.
        posterior: fitted to points like `x`.
        x: normal points, (N, ...), at least four.
        anomalies: points that lie far from all components, (M, ...).
        tolerance: largest relative difference allowed between a point's score alone and among others.

    Raises:
        ScorerError: one sentence that names what is at fault.
    """
    scorer, name = make(mixture), getattr(make, "__name__", str(make))
    if make(mixture) is not scorer and make(mixture).score is not scorer.score:
        raise ScorerError(
            f"{name}: equal mixtures must share one score function, got two, so that every call compiles anew; "
            "decorate the function that makes the scorer with lru_cache."
        )
    points, far = jnp.asarray(x), jnp.asarray(anomalies)
    params = _call(name, "prepare", scorer.prepare, posterior)
    score = jax.jit(scorer.score)
    scores = _call(name, "score", score, params, points)
    _check_form(name, scores, points)
    _check_points_apart(name, score, params, points, scores, tolerance)
    _check_order(name, scores, _call(name, "score", score, params, far))
    _check_posterior_matters(name, scorer, score, posterior, points, scores)


def _check_form(name: str, scores: Array, x: Array) -> None:
    if scores.shape != (len(x),):
        raise ScorerError(
            f"{name}: score must return one number per point, shape {(len(x),)}, got {scores.shape}."
        )
    if not jnp.issubdtype(scores.dtype, jnp.floating) or not bool(jnp.isfinite(scores).all()):
        raise ScorerError(
            f"{name}: scores of normal points must be finite floating-point numbers, got {scores.dtype} from "
            f"{jnp.min(scores)} to {jnp.max(scores)}."
        )


def _check_points_apart(
    name: Any, score: Any, params: Any, x: Array, scores: Array, tolerance: float
) -> None:
    order = np.random.default_rng(0).permutation(len(x))
    shuffled = _call(name, "score", score, params, x[order])
    half = _call(name, "score", score, params, x[: len(x) // 2])
    scale = tolerance * (1 + float(jnp.max(jnp.abs(scores))))
    for found, expected in ((shuffled, scores[order]), (half, scores[: len(x) // 2])):
        if not bool(jnp.all(jnp.abs(found - expected) <= scale)):
            raise ScorerError(
                f"{name}: the score of a point must not depend on the other points, got another one among others; "
                "tiles of points are padded with copies, which must change nothing."
            )


def _check_order(name: str, scores: Array, far: Array) -> None:
    if not float(jnp.min(far)) > float(jnp.median(scores)):
        raise ScorerError(
            f"{name}: scores must grow with abnormality, got {jnp.min(far)} for an anomaly where the median of normal "
            f"points is {jnp.median(scores)}; look for a wrong sign."
        )


def _check_posterior_matters(
    name: str, scorer: Scorer, score: Callable, posterior: Posterior, x: Array, scores: Array
) -> None:
    """Of a posterior whose reference point has moved, or whose components have changed places, scores differ."""
    if posterior.offset is not None:
        other = posterior._replace(offset=posterior.offset + 1)
    else:
        other = posterior._replace(
            components=jax.tree.map(lambda leaf: 2 * leaf, posterior.components)
        )
    found = _call(name, "score", score, scorer.prepare(other), x)
    if bool(jnp.all(found == scores)):
        raise ScorerError(
            f"{name}: prepare must read the posterior that it is given, got the same scores for another one; close "
            "over the mixture only."
        )


def _call(name: str, what: str, function: Callable, *arguments: Any) -> Any:
    return called(ScorerError, f"{name}: {what}", jax.jit(function), *arguments)
