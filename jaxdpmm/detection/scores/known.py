"""Few known anomalies: a second mixture of their patches under the same prior, and the posterior odds of the two.

The score `odds` is the log posterior odds that a patch is anomalous (`../../scoring/ratio.py`): for a patch like
those of the known anomalies, the ratio of the two densities; for a patch like neither, the distance of its normal
density from a low quantile of normal densities, so that unknown anomalies are still found. Of an image with a mask,
the patches at least half of which are marked are learned from; of one without, those less dense than nearly all
normal patches.
Next file to read: `joint.py`, which makes one score of this and others.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxdpmm.choices import ODDS
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.evaluate import true_mask
from jaxdpmm.detection.maps import map_weights
from jaxdpmm.detection.patches import ImagePatches
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import ScoredImage, compile_scorer
from jaxdpmm.detection.scores.beside import compile_ratio, with_score_of
from jaxdpmm.detection.state import DetectorState, Known
from jaxdpmm.images.records import NORMAL, ImageRecord
from jaxdpmm.inference import initialize
from jaxdpmm.model import Mixture
from jaxdpmm.scoring import anomaly_hypotheses

UNKNOWN = (
    0.999  # quantile of left-out normal patches from which on a patch may be an unknown anomaly
)
MARKED = 0.5  # of a patch that must be masked for it to be learned from
PATCHES_PER_COMPONENT = 4


def with_odds(config: DetectorConfig, anomalies: Sequence[ImageRecord]) -> DetectorConfig:
    """The settings, with the odds among the scores where there are known anomalies.

    Args:
        config: settings.
        anomalies: images that are known to be anomalous.

    Raises:
        ValueError: the odds are asked for without anomalies, or an anomaly is a normal image.
    """
    if normal := [one.path for one in anomalies if one.label == NORMAL]:
        raise ValueError(
            f"anomalies must be anomalous images, got {len(normal)} normal ones, for example {normal[0]}; leave them "
            "out."
        )
    return with_score_of(config, ODDS, "anomalies", anomalies, "anomalous")


def learn_known(
    state: DetectorState,
    config: DetectorConfig,
    images: Sequence[ImagePatches],
    normal_scores: Float[np.ndarray, " N"],
) -> Known:
    """Learn what known anomalies look like.

    Args:
        state: the mixture of normal patches.
        config: settings.
        images: anomalous ones.
        normal_scores: minus log densities, by `nearest_predictive`, of normal patches that were left out.
    """
    limit = float(np.quantile(normal_scores, UNKNOWN))
    density = compile_scorer(*state.scorer("nearest_predictive"))
    chosen = [anomalous_patches(one, np.asarray(density(one.features)) - limit) for one in images]
    rows = reduce_features(state.reduction, np.concatenate(chosen))
    number = -(-len(rows) // PATCHES_PER_COMPONENT)
    mixture = Mixture(state.mixture.family, number, state.mixture.sticks)
    key = jax.random.key(config.seed)
    posterior = initialize(mixture, state.prior, rows, key=key, start="coverage", one_unit=True)
    return Known(posterior, len(images), -limit)


def anomalous_patches(
    image: ImagePatches, excess: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "n D"]:
    """Features of the patches of an image that are masked; without a mask, of those whose excess is positive.

    Args:
        image: an anomalous one.
        excess: of each patch's score over that of nearly all normal patches; the largest is taken in any case.
    """
    mask = true_mask(ScoredImage(image.record, image.frame, excess, 0.0, 0.0, 0.0))
    if mask is not None:
        rows, columns = map_weights(image.frame, 0.0)
        share = rows.T @ mask @ columns / np.outer(rows.sum(0), columns.sum(0))
        excess = share - MARKED
    return image.features[excess >= min(0.0, excess.max())]


def compile_odds(
    state: DetectorState, known: Known
) -> Callable[[Any, Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]:
    """Features (..., D) and minus log densities of the same patches as normal ones, (...), to log odds, (...)."""
    hypotheses = anomaly_hypotheses(
        (), () if known.num_images else None, known.num_images, known.log_unknown
    )
    return compile_ratio(state, known.posterior, hypotheses)
