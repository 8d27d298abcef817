"""Two mixtures, one of normal patches and one of unlabelled ones: where they disagree, and how sure that is.

Under the same prior the two make, side by side, a mixture of all patches. The log ratio of its density to that of the
normal ones (`../../scoring/ratio.py`) is large for a kind of patch that the unlabelled images add, however rare normal
ones are. It is a ratio of patches, in which a kind that one image alone has counts as much as one that many have. The
score `discrepancy` of a detector counts images instead (`prevalence.py`).

How sure the ratio is comes from a bootstrap over images (`fit_discrepancy`): each draw takes images with replacement,
and the posterior of a draw is the prior and the sum of its images' statistics, under the assignments of the fit; none
is fitted anew. Next file to read: `prevalence.py`.

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
from jaxdpmm.scoring.ratio import Hypotheses, hypotheses_of_all
from jaxdpmm.scoring.uncertainty import ScoreSummary, score_over_draws, stack_draws

FEWEST = 2  # unlabelled images, so that draws of them differ
NUM_DRAWS = 20


Grid = Float[np.ndarray, "h w D"]


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
    images: Sequence[Grid],
    unlabelled: Sequence[Grid],
    num_draws: int = NUM_DRAWS,
) -> Discrepancy:
    """Fit a mixture of the unlabelled patches, and draw both mixtures anew from their images.

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
    others, share = _learned(normal, config, unlabelled)
    random = np.random.default_rng(config.seed)
    pairs = zip(
        _drawn(normal, config, images, num_draws, random),
        _drawn(others, config, unlabelled, num_draws, random),
        strict=True,
    )
    scorer = log_ratio(predictive(others.mixture), predictive(normal.mixture))
    draws = [hypotheses_of_all(*pair, share) for pair in pairs]
    return Discrepancy(normal, scorer, stack_draws(draws))


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


def _learned(
    state: DetectorState, config: DetectorConfig, unlabelled: Sequence[Grid]
) -> tuple[DetectorState, float]:
    """The mixture of unlabelled patches, and the share of all patches that they are."""
    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in unlabelled])
    if not config.is_adaptive:
        number = min(config.truncation(len(rows)), len(rows))
        config = dataclasses.replace(config, num_components=number)
    others = fit_mixture(rows, config, beside=state)
    return others, len(rows) / (len(rows) + state.facts.num_patches)


def _rows(state: DetectorState, features: Any) -> Float[np.ndarray, "N q"]:
    flat = np.asarray(features).reshape(-1, features.shape[-1])
    return np.asarray(reduce_features(state.reduction, flat))


def _drawn(
    state: DetectorState,
    config: DetectorConfig,
    images: Sequence[Grid],
    num_draws: int,
    random: np.random.Generator,
) -> list[Posterior]:
    """Posteriors of images that are drawn with replacement."""
    times = random.multinomial(len(images), np.full(len(images), 1 / len(images)), num_draws)
    mixture, prior, posterior = state.mixture, state.prior, state.posterior
    readout, step = expected_readout(mixture, posterior), local_step_of(config, mixture)
    sums = [empty_stats(posterior)] * num_draws
    groups = (_rows(state, one) for one in images)
    for number, stats in enumerate(stats_of_groups(mixture, readout, groups, step)):
        for draw, weight in enumerate(times[:, number]):
            if weight:
                part = trees.scale(stats, _like(weight, stats.counts))
                sums[draw] = trees.add(sums[draw], part)
    return [from_stats(mixture, prior, one) for one in sums]


def _like(weight: Any, array: Array) -> Array:
    return jnp.asarray(weight, array.dtype)
