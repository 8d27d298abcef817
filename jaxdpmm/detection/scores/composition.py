"""The score of an image by what it is made of: how far its shares of the components are from those of training images.

What `histograms.py` says of counts, for a detector: patches count for the component whose mean is nearest. Training
images that thresholds come from are held against the others. Next file to read: `../learning.py`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxdpmm.detection.scored import ScoreImages
from jaxdpmm.detection.scores.histograms import histogram_score, learn_histograms
from jaxdpmm.detection.scores.nearest import components_of
from jaxdpmm.detection.state import DetectorState


def component_counts(
    state: DetectorState, images: Iterable[Float[np.ndarray, "h w D"]]
) -> Int[np.ndarray, "R K"]:
    """How many patches of each image are nearest to the mean of each component.

    Args:
        state: of the mixture.
        images: features.
    """
    number = state.mixture.num_components
    labels = components_of(state, images)
    return np.stack([np.bincount(one.ravel(), minlength=number) for one in labels])


def scores_without(counts: Int[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """The score of each image, held against all others.

    Args:
        counts: of the components in each of at least two images.
    """
    others = (np.delete(counts, place, axis=0) for place in range(len(counts)))
    pairs = zip(others, counts, strict=True)
    return np.array([histogram_score(learn_histograms(rest), own) for rest, own in pairs])


def compile_images(state: DetectorState) -> ScoreImages | None:
    """What makes scores of whole images; None where they are those of their patches.

    Args:
        state: with histograms where the settings ask for the divergence.
    """
    histograms = state.histograms
    if histograms is None:
        return None

    def score(features: Any) -> Float[np.ndarray, " B"]:
        counts = component_counts(state, np.asarray(features))
        return np.array([histogram_score(histograms, one) for one in counts])

    return score
