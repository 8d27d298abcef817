"""Unlabelled images beside normal ones: a second mixture of all of them, and where the two disagree.

A kind of patch that the unlabelled images add has a large log ratio of the density of all patches to that of normal
ones (`../../scoring/ratio.py`), however rare normal ones are. How sure that is comes from a bootstrap over images: each
draw takes images with replacement, and the posterior of a draw is the prior and the sum of its images' statistics,
under the assignments of the fit; none is fitted anew. Next file to read: `joint.py`.

References:
    Cai, Chen, Yang, Zhou and Cheng (2023), Dual-distribution discrepancy with self-supervised refinement for anomaly
    detection in medical images (there by reconstruction networks). Efron (1979), Bootstrap methods.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm import trees
from jaxdpmm.checks import check_at_least_one
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.parts import local_step_of
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.inference import from_stats
from jaxdpmm.leave_out import stats_of_groups
from jaxdpmm.model import Posterior, empty_stats, expected_readout
from jaxdpmm.scoring import Scorer, log_ratio, predictive
from jaxdpmm.scoring.ratio import Hypotheses
from jaxdpmm.scoring.uncertainty import ScoreSummary, score_over_draws, stack_draws

FEWEST = 2  # unlabelled images, so that draws of them differ
NUM_DRAWS = 20


class Discrepancy(NamedTuple):
    """Two mixtures to compare.

    Attributes:
        normal: the state of the mixture of normal patches, whose reduction serves both.
        scorer: the log ratio.
        draws: what it is fitted on, leaves lead with the draws.
    """

    normal: DetectorState
    scorer: Scorer
    draws: Hypotheses


def fit_discrepancy(
    normal: DetectorState,
    config: DetectorConfig,
    images: Sequence[Float[np.ndarray, "h w D"]],
    unlabelled: Sequence[Float[np.ndarray, "h w D"]],
    num_draws: int = NUM_DRAWS,
) -> Discrepancy:
    """Fit a mixture of all patches, and draw both mixtures anew from their images.

    Args:
        normal: fitted to the normal images.
        config: settings of the fit.
        images: features of the normal images.
        unlabelled: features of images that may be normal or not.
        num_draws: of the bootstrap.

    Raises:
        ValueError: fewer than two normal or unlabelled images, or `num_draws` is below 1.
    """
    check_at_least_one("num_draws", num_draws, f"the default is {NUM_DRAWS}")
    if min(len(images), len(unlabelled)) < FEWEST:
        raise ValueError(
            f"images and unlabelled must be at least {FEWEST} images each, so that draws of them differ, got "
            f"{len(images)} and {len(unlabelled)}; give more, or leave the unlabelled ones out."
        )
    everything = [_rows(normal, one) for one in (*images, *unlabelled)]
    config = dataclasses.replace(config, num_principal=None)  # features are reduced already
    both = fit_mixture(np.concatenate(everything), config)
    random = np.random.default_rng(config.seed)
    first = random.multinomial(len(images), np.full(len(images), 1 / len(images)), num_draws)
    share = np.full(len(unlabelled), 1 / len(unlabelled))
    second = random.multinomial(len(unlabelled), share, num_draws)
    of_normal = _drawn(normal, config, everything[: len(images)], first)
    of_both = _drawn(both, config, everything, np.concatenate([first, second], axis=1))
    pairs = [Hypotheses(*pair) for pair in zip(of_both, of_normal, strict=True)]
    scorer = log_ratio(predictive(both.mixture), predictive(normal.mixture))
    return Discrepancy(normal, scorer, stack_draws(pairs))


def discrepancy_scores(
    found: Discrepancy, features: Float[np.ndarray, "... D"], interval: float = 0.9
) -> ScoreSummary:
    """Log ratio of the density of all patches to that of normal ones, in nats: mean and interval over draws, (N,).

    Args:
        found: from `fit_discrepancy`.
        features: of patches, of which there are N.
        interval: share of the draws that lie within.

    Raises:
        ValueError: `interval` is not between 0 and 1.
    """
    return score_over_draws(found.scorer, found.draws, _rows(found.normal, features), interval)


def _rows(state: DetectorState, features: Any) -> Float[np.ndarray, "N q"]:
    flat = np.asarray(features).reshape(-1, features.shape[-1])
    return np.asarray(reduce_features(state.reduction, flat))


def _drawn(
    state: DetectorState,
    config: DetectorConfig,
    groups: Sequence[Float[np.ndarray, "n q"]],
    times: np.ndarray,
) -> list[Posterior]:
    """Posteriors of draws, in which each group is there so many times, (draws, groups)."""
    mixture, prior, posterior = state.mixture, state.prior, state.posterior
    readout, step = expected_readout(mixture, posterior), local_step_of(config, mixture)
    sums = [empty_stats(posterior)] * len(times)
    for number, stats in enumerate(stats_of_groups(mixture, readout, groups, step)):
        for draw, weight in enumerate(times[:, number]):
            if weight:
                part = trees.scale(stats, _like(weight, stats.counts))
                sums[draw] = trees.add(sums[draw], part)
    return [from_stats(mixture, prior, one) for one in sums]


def _like(weight: Any, array: Array) -> Array:
    return jnp.asarray(weight, array.dtype)
