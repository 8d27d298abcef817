"""Anomaly scores with their uncertainty: one score per draw of the posterior, summed up per point.

Draws are a tree whose leaves lead with S: `Posterior`s of Gibbs (`get_extra_fields()["posterior"]` of the NumPyro
kernel, or `stack_draws` of what `fit`'s callback sees), with any scorer; or `Readout`s of NUTS and SVI
(`inference.numpyro.draw_readouts`), with the scorer `drawn`. Next file to read: `../summaries.py`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm.model import Mixture, Posterior, Readout, log_joint
from jaxdpmm.programs import jitted
from jaxdpmm.scoring.density import predictive
from jaxdpmm.scoring.scorer import TILE_SIZE, Scorer, in_tiles


class ScoreSummary(NamedTuple):
    """Scores over draws, a point: their mean and the ends of a central interval, (N,) each."""

    mean: Float[np.ndarray, " N"]
    lower: Float[np.ndarray, " N"]
    upper: Float[np.ndarray, " N"]


@lru_cache
def drawn(mixture: Mixture) -> Scorer:
    """Minus log sum_k w_k p(x | theta_k) at drawn weights and parameters; it is fitted on a `Readout`."""

    def score(readout: Readout, x: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return -jax.nn.logsumexp(log_joint(mixture, readout, x), axis=1)

    return Scorer(_same, score)


def stack_draws(draws: Sequence[Any]) -> Any:
    """Draws, for example the posteriors that `fit`'s callback saw, as one tree whose leaves lead with S.

    Raises:
        ValueError: there are none.
    """
    if not draws:
        raise ValueError(
            "draws must hold at least one draw, got none; collect some posteriors first."
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)


def score_over_draws(
    scorer: Scorer,
    draws: Any,
    x: Num[Array | np.ndarray, "N ..."],
    interval: float = 0.9,
    tile_size: int = TILE_SIZE,
) -> ScoreSummary:
    """Mean and central interval of a score, a point, over draws of the posterior.

    Args:
        scorer: which score.
        draws: what the scorer is fitted on, leaves lead with S.
        x: raw points, (N, ...).
        interval: probability that the interval holds.
        tile_size: points per tile; S scores of each are held.

    Raises:
        ValueError: `interval` is not between 0 and 1.
    """
    if not 0 < interval < 1:
        raise ValueError(
            f"interval must be a probability between 0 and 1, got {interval}; the default is 0.9."
        )
    summarize = jitted(_summarize, scorer, float(interval))
    found = np.asarray(in_tiles(summarize, _prepare(scorer, draws), x, tile_size))
    return ScoreSummary(*found.reshape(-1, 3).T)


def log_density_over_draws(
    mixture: Mixture, draws: Any, x: Num[Array | np.ndarray, "N ..."], tile_size: int = TILE_SIZE
) -> Float[np.ndarray, " N"]:
    """Log posterior predictive density, log of the mean over draws of p(x | draw), (N,), in nats.

    Args:
        mixture: static description.
        draws: `Posterior`s, each integrated over (which has the smaller variance), or `Readout`s; leaves lead with S.
        x: raw points, (N, ...).
        tile_size: points per tile.

    Raises:
        TypeError: draws of another kind.
    """
    if not isinstance(draws, (Posterior, Readout)):
        raise TypeError(
            f"draws must be a stacked Posterior or Readout, got {type(draws).__name__}; "
            "use stack_draws or inference.numpyro.draw_readouts."
        )
    scorer = predictive(mixture) if isinstance(draws, Posterior) else drawn(mixture)
    log_mean = jitted(_log_mean, scorer)
    return np.asarray(in_tiles(log_mean, _prepare(scorer, draws), x, tile_size))


def _prepare(scorer: Scorer, draws: Any) -> Any:
    return jitted(_map, scorer.prepare)(draws)


def _same(readout: Readout) -> Readout:
    return readout


def _map(function: Any, draws: Any) -> Any:
    return jax.lax.map(function, draws)


def _summarize(
    scorer: Scorer, interval: float, params: Any, tile: Num[Array, "T ..."]
) -> Float[Array, "T 3"]:
    """Mean over the draws and both ends of the interval, of each point."""
    scores = _scores(scorer, params, tile)
    ends = jnp.asarray([0.5 - interval / 2, 0.5 + interval / 2], scores.dtype)
    quantiles = jnp.quantile(scores, ends, axis=0)
    return jnp.concatenate([jnp.mean(scores, axis=0)[None], quantiles]).T


def _log_mean(scorer: Scorer, params: Any, tile: Num[Array, "T ..."]) -> Float[Array, " T"]:
    """Log of the mean over the draws of exp(-score)."""
    scores = _scores(scorer, params, tile)
    return jax.nn.logsumexp(-scores, axis=0) - jnp.log(jnp.asarray(len(scores), scores.dtype))


def _scores(scorer: Scorer, params: Any, tile: Array) -> Float[Array, "S T"]:
    return jax.lax.map(lambda one: scorer.score(one, tile), params)
