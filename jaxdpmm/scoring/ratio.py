"""The log ratio of two predictive densities: what speaks for one mixture and against another, in nats.

Two mixtures of one prior (one base measure), fitted to different data, are two hypotheses about a point, and the ratio
of their predictive densities is the evidence between them. Two uses:

* few known anomalies: one mixture of normal patches, one of the patches of labelled anomalies. What is like neither is
  an unknown anomaly, for which a constant density stands (`Hypotheses.log_elsewhere`). The score is then the log
  posterior odds of "anomalous", and without any known anomaly it has the order of the density alone;
* unlabelled images: one mixture of normal patches, one of unlabelled ones, and both side by side are one of all
  patches (`Hypotheses.log_same`). A kind of patch that the unlabelled images add has a large ratio of the density of
  all patches to that of normal ones, however rare normal ones are.

Both are scores like others, so that intervals over draws (`uncertainty.score_over_draws`, of pairs of draws), fusion,
maps and thresholds serve. Next file to read: `uncertainty.py`.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm.scoring.scorer import Scorer


class Hypotheses(NamedTuple):
    """What `log_ratio` is fitted on.

    Attributes:
        alternative: what the scorer of the numerator is fitted on: known anomalies, or all patches.
        normal: what the scorer of the denominator is fitted on.
        log_weight: log prior probability of the alternative's kinds of points; minus infinity for none of them.
        log_elsewhere: log of a constant density of points of other kinds, times their probability; minus infinity for
            none.
        log_same: log probability under the alternative of points like normal ones; minus infinity for none of them.
    """

    alternative: Any
    normal: Any
    log_weight: float | Float[Array, ""] = 0.0
    log_elsewhere: float | Float[Array, ""] = -np.inf
    log_same: float | Float[Array, ""] = -np.inf


@lru_cache
def log_ratio(alternative: Scorer, normal: Scorer) -> Scorer:
    """log(weight p_alternative(x) + elsewhere + same p_normal(x)) - log p_normal(x); fitted on `Hypotheses`.

    By default it is the plain ratio, log p_alternative(x) - log p_normal(x).

    Args:
        alternative: a score that is minus a log density, for example `predictive(mixture)`.
        normal: another one, of the same features.
    """

    def prepare(fitted: Hypotheses) -> Hypotheses:
        return fitted._replace(
            alternative=alternative.prepare(fitted.alternative),
            normal=normal.prepare(fitted.normal),
        )

    def score(params: Hypotheses, x: Num[Array, "N ..."]) -> Float[Array, " N"]:
        against = normal.score(params.normal, x)
        return log_odds(params, alternative.score(params.alternative, x), against)

    return Scorer(prepare, score)


def log_odds(
    hypotheses: Hypotheses, alternative: Float[Array, " N"], normal: Float[Array, " N"]
) -> Float[Array, " N"]:
    """What `log_ratio` gives, of minus log densities that are known already.

    Args:
        hypotheses: of which the weights are used.
        alternative: minus log densities.
        normal: others.
    """
    weight, elsewhere, same = (
        jnp.asarray(log, normal.dtype)
        for log in (hypotheses.log_weight, hypotheses.log_elsewhere, hypotheses.log_same)
    )
    known = weight - alternative
    odds = jnp.logaddexp(known, jnp.full_like(known, elsewhere)) + normal
    return jnp.logaddexp(odds, jnp.full_like(odds, same))


def anomaly_hypotheses(
    normal: Any, known: Any, num_known: int, log_unknown: float | Float[Array, ""]
) -> Hypotheses:
    """Hypotheses whose log ratio is the log posterior odds of anomalies, up to a constant.

    The next anomaly is of a known kind with probability n / (n + 1) after n images of anomalies, as in a Chinese
    restaurant of concentration 1.

    Args:
        normal: fitted to normal points.
        known: fitted to points of known anomalies; None for none.
        num_known: images of anomalies that are known, n.
        log_unknown: log density of anomalies of unknown kinds. A low quantile of the log densities of held-out normal
            points calls points unknown anomalies that are less dense than these.

    Raises:
        ValueError: `num_known` is negative, or does not fit `known`.
    """
    if num_known < 0 or (known is None) != (num_known == 0):
        raise ValueError(
            f"num_known must be the number of images that known comes from, 0 for None, got {num_known} with "
            f"{'None' if known is None else 'a posterior'}; give both or neither."
        )
    elsewhere = log_unknown - np.log1p(num_known)
    if known is None:  # any density will do, with a weight of zero
        return Hypotheses(normal, normal, -np.inf, elsewhere)
    return Hypotheses(known, normal, float(np.log(num_known / (num_known + 1))), elsewhere)


def hypotheses_of_all(normal: Any, unlabelled: Any, share: float) -> Hypotheses:
    """Hypotheses whose log ratio is that of the density of all points to that of normal ones.

    Args:
        normal: fitted to normal points.
        unlabelled: fitted to points that may be normal or not.
        share: of all points that are unlabelled.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"share must be between 0 and 1, got {share}; give the number of unlabelled points over that of all points."
        )
    return Hypotheses(unlabelled, normal, float(np.log(share)), log_same=float(np.log1p(-share)))
