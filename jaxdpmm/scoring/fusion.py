"""Several scores of the same points as one, which is learned from normal points alone.

Scores differ in unit and in spread, so that their plain sum is the widest of them. Here each score becomes a p-value,
the share of normal points that score at least so much, and the minus logs of the p-values are added (Fisher's
statistic) or the largest is taken (Tippett's). Were the scores independent, the sum would have a Gamma distribution.
They are not, so the distribution of what is combined is taken from the same normal points, in the same way as that of
each score: whatever their dependence is, the result is minus the log of a p-value. It grows with each of the scores.

A sum finds what is somewhat odd by all scores; the largest what is very odd by one of them, and is the choice where
scores look at different things and some see nothing in most anomalies.

A share of N points is never below 1 / N, and all anomalies would be equal there. Beyond the highest of the normal
scores, shares go on as a generalized Pareto tail. That of each score has the same shape: where tails were as few normal
points say, the score with the lightest one would outgrow all others among anomalies, however little it knows of them.
The tail of what is combined is fitted, at the least an exponential one.

A score that is in nats already, such as the log of how much more often something occurs than usual, can be added as it
is (`in_nats`): made a p-value of its own, it would count as much where it tells little. Next file to read: `ratio.py`.

References:
    Fisher (1925), Statistical methods for research workers, section 21.1. Tippett (1931), The methods of statistics.
    Hosking and Wallis (1987), Parameter and quantile estimation for the generalized Pareto distribution.
"""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm.checks import check_choice
from jaxdpmm.programs import jitted
from jaxdpmm.scoring.scorer import Scorer, in_tiles, score

LEAST_NORMAL = 100  # points
NUM_KNOTS = 128
TAIL_SHARE = 0.02  # of the points, the highest scores, which set the tail
LEAST_IN_TAIL = 20
COMBINE: Mapping[str, Callable[..., Array]] = {
    "sum": jnp.sum,
    "largest": jnp.max,
}  # of minus log p-values
HEAVIEST = 0.5  # shape of the tail; a heavier one has no variance
OF_EACH = 0.25  # shape of the tail of every score that is combined, per nat; half of the heaviest


class Survival(NamedTuple):
    """The share of normal points that score at least so much, as a curve and its continuation.

    Attributes:
        knots: scores, ascending; beyond the last one the tail begins.
        minus_logs: of the shares at the knots, from 0 on.
        scale: of the tail, in units of the score.
        shape: of the tail, 0 for an exponential one.
    """

    knots: Float[Array, "*J T"]
    minus_logs: Float[Array, "*J T"]
    scale: Float[Array, "*J"]
    shape: Float[Array, "*J"]


class Fusion(NamedTuple):
    """What normal points score: by each score, leaves lead with J, and by what is combined of them."""

    each: Survival
    total: Survival


def learn_survival(
    normal_scores: Num[Array | np.ndarray, " N"], shape: float | None = None
) -> Survival:
    """How often normal points score at least so much.

    Args:
        normal_scores: of normal points that the score was not learned from.
        shape: of the tail; None for that of the highest scores.

    Raises:
        ValueError: fewer than `LEAST_NORMAL` scores, or not finite.
    """
    ascending = np.sort(np.asarray(normal_scores, np.float64))
    number = len(ascending)
    if number < LEAST_NORMAL or not np.isfinite(ascending).all():
        raise ValueError(
            f"normal_scores must be at least {LEAST_NORMAL} finite numbers, got {number} with "
            f"{np.count_nonzero(~np.isfinite(ascending))} not finite; hold out more normal patches."
        )
    in_tail = max(round(TAIL_SHARE * number), LEAST_IN_TAIL)
    wanted = np.linspace(0, np.log((number + 1) / (in_tail + 1)), NUM_KNOTS)
    places = np.minimum(np.round((number + 1) * (1 - np.exp(-wanted))), number - in_tail)
    knots = ascending[places.astype(int)]
    at_least = number - np.searchsorted(ascending, knots)
    shares = (1 + at_least) / (1 + number)
    mean, own_shape = _tail(ascending[number - in_tail :] - knots[-1])
    shape = own_shape if shape is None else shape
    least = np.spacing(np.abs(knots[-1])) + np.finfo(np.float32).tiny
    scale = max(mean * (1 - shape), least)
    parts = knots, -np.log(shares), scale, shape
    return Survival(*(jnp.asarray(part, float) for part in parts))


def minus_log_p(survival: Survival, scores: Float[Array, " N"]) -> Float[Array, " N"]:
    """Minus the log of the share of normal points that score at least so much: 0 or more, never falling."""
    knots, minus_logs, scale, shape = (part.astype(scores.dtype) for part in survival)
    within = jnp.interp(scores, knots, minus_logs)
    excess = jnp.maximum(scores - knots[-1], 0) / scale
    is_heavy = shape > 0
    heavy = jnp.log1p(shape * excess) / jnp.where(is_heavy, shape, 1)
    return within + jnp.where(is_heavy, heavy, excess)


def learn_fusion(
    normal_scores: Num[Array | np.ndarray, "N J"],
    combine: str = "sum",
    in_nats: Collection[int] = (),
) -> Fusion:
    """Learn how normal points score, one score per column.

    Args:
        normal_scores: J scores of N normal points that the scores were not learned from.
        combine: "sum" or "largest", as `fuse` will be told.
        in_nats: numbers of the columns that are combined as they are, 0 or more: log ratios of probabilities, say.

    Raises:
        ValueError: fewer than `LEAST_NORMAL` points, not finite, or an unknown `combine`.
    """
    check_choice("combine", combine, COMBINE)
    columns = np.asarray(normal_scores, float)
    survivals = [
        _as_it_is() if place in in_nats else learn_survival(column, OF_EACH)
        for place, column in enumerate(columns.T)
    ]
    each = jax.tree.map(lambda *parts: jnp.stack(parts), *survivals)
    combined = in_tiles(jitted(_of_columns, combine), each, columns)
    return Fusion(each, learn_survival(combined))


def fuse(fusion: Fusion, scores: Float[Array, "N J"], combine: str = "sum") -> Float[Array, " N"]:
    """J scores of each point as one, minus the log of a p-value in nats: at normal points an exponential variable.

    Args:
        fusion: from `learn_fusion` with the same `combine`.
        scores: one per column.
        combine: "sum" or "largest".
    """
    return minus_log_p(fusion.total, _combined(fusion.each, scores, combine))


def fused_scores(
    fusion: Fusion, scores: Num[Array | np.ndarray, "N J"], combine: str = "sum"
) -> Float[Array | np.ndarray, " N"]:
    """`fuse` of many points, compiled, a tile at a time; in NumPy of NumPy scores, else on the device."""
    return in_tiles(jitted(_fuse_columns, combine), fusion, scores)


@lru_cache
def fused(scorers: tuple[Scorer, ...], combine: str = "sum") -> Scorer:
    """A scorer made of others. It is fitted on a pair: what each of them is fitted on, and a `Fusion`.

    Args:
        scorers: the scores to fuse.
        combine: "sum" or "largest", as the fusion was learned.
    """

    def prepare(fitted: tuple[tuple[Any, ...], Fusion]) -> Any:
        of_each, fusion = fitted
        parts = zip(scorers, of_each, strict=True)
        return tuple(scorer.prepare(one) for scorer, one in parts), fusion

    def score(params: Any, x: Num[Array, "N ..."]) -> Float[Array, " N"]:
        prepared, fusion = params
        parts = zip(scorers, prepared, strict=True)
        columns = [scorer.score(one, x) for scorer, one in parts]
        return fuse(fusion, jnp.stack(columns, axis=1), combine)

    return Scorer(prepare, score)


def fusion_of(
    scorers: tuple[Scorer, ...],
    fitted: tuple[Any, ...],
    normal: Num[Array | np.ndarray, "N ..."],
    combine: str = "sum",
) -> Fusion:
    """`learn_fusion` of what scorers find in normal points.

    Args:
        scorers: the scores to fuse.
        fitted: what each of them is fitted on.
        normal: normal points that nothing was learned from.
        combine: "sum" or "largest".

    Raises:
        ValueError: fewer than `LEAST_NORMAL` points, or an unknown `combine`.
    """
    columns = [score(scorer, one, normal) for scorer, one in zip(scorers, fitted, strict=True)]
    return learn_fusion(np.stack(columns, axis=1), combine)


def _as_it_is() -> Survival:
    """Of a score that is 0 or more and in nats already: all of it is an exponential tail of scale one."""
    parts = np.zeros(NUM_KNOTS), np.zeros(NUM_KNOTS), 1.0, 0.0
    return Survival(*(jnp.asarray(part, float) for part in parts))


def _combined(each: Survival, scores: Float[Array, "N J"], combine: str) -> Float[Array, " N"]:
    return COMBINE[combine](jax.vmap(minus_log_p, (0, 1))(each, scores), axis=0)


def _fuse_columns(combine: str, fusion: Fusion, scores: Float[Array, "N J"]) -> Float[Array, " N"]:
    return fuse(fusion, scores, combine)


def _of_columns(combine: str, each: Survival, scores: Float[Array, "N J"]) -> Float[Array, " N"]:
    return _combined(each, scores, combine)


def _tail(excesses: Float[np.ndarray, " M"]) -> tuple[float, float]:
    """Mean and shape of a generalized Pareto distribution by probability-weighted moments, of ascending excesses."""
    number = len(excesses)
    above = 1 - (np.arange(number) + 0.65) / number
    mean, weighted = float(np.mean(excesses)), float(np.mean(above * excesses))
    if mean <= 2 * weighted:
        return mean, 0.0
    return mean, float(np.clip(2 - mean / (mean - 2 * weighted), 0, HEAVIEST))
