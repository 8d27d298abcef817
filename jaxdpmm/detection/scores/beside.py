"""A second mixture beside that of normal patches, and the log ratio of the two as a score of patches.

The first is of normal patches, the second of known anomalies (`known.py`), under the same prior and by the same
reduction. Of both, the density of the component that fits best is taken (`nearest_predictive`). Next file to read:
`../../scoring/ratio.py`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.choices import names_of
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.reduction import reduced
from jaxdpmm.detection.scored import compile_scorer
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.model import Mixture, Posterior
from jaxdpmm.programs import jitted
from jaxdpmm.scoring import nearest_predictive
from jaxdpmm.scoring.ratio import Hypotheses, log_odds


def with_score_of(
    config: DetectorConfig, name: str, argument: str, images: Sequence[Any], kind: str
) -> DetectorConfig:
    """The settings, with a score among them where there are the images that it is learned from.

    Args:
        config: settings.
        name: of the score.
        argument: what the images are passed as.
        images: that the score is learned from.
        kind: of these images, after "at least one".

    Raises:
        ValueError: the score is asked for without images.
    """
    names = names_of(config.score)
    if name in names and not images:
        raise ValueError(
            f"{argument} must be at least one {kind} image for the score {name!r}, got none; give some, or name "
            "another score."
        )
    if name in names or not images:
        return config
    return dataclasses.replace(config, score=(*names, name))


def check_others(
    argument: str, images: Sequence[ImageRecord], normal: Sequence[ImageRecord]
) -> None:
    """Raise `ValueError` if images that something else is learned from are among the normal ones.

    Args:
        argument: what the images are passed as.
        images: anomalous or unlabelled ones.
        normal: images.
    """
    known = {one.path for one in normal}
    if both := [one.path for one in images if one.path in known]:
        raise ValueError(
            f"{argument} must be other images than the normal ones, got {len(both)} of these, for example {both[0]}; "
            "leave them out."
        )


def compile_ratio(
    state: DetectorState, posterior: Posterior, hypotheses: Hypotheses
) -> Callable[[Any, Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]:
    """Features (..., D) and minus log densities of the same patches as normal ones, (...), to log ratios, (...).

    Args:
        state: of the mixture of normal patches.
        posterior: of the second mixture.
        hypotheses: of which the weights are used.
    """
    mixture = Mixture(state.mixture.family, len(posterior.counts), state.mixture.sticks)
    density = compile_scorer(reduced(nearest_predictive(mixture)), (posterior, state.reduction))

    def score(features: Any, normal: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        alternative = np.asarray(density(features), normal.dtype)
        return np.asarray(jitted(_ratio)(hypotheses, alternative, normal))

    return score


def _ratio(hypotheses: Hypotheses, alternative: Array, normal: Array) -> Array:
    return log_odds(hypotheses, jnp.ravel(alternative), jnp.ravel(normal)).reshape(normal.shape)
