"""The component whose mean is nearest to each patch of an image, as contexts, histograms and presence count them.

Next file to read: `prevalence.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxdpmm.detection.reduction import reduced
from jaxdpmm.detection.scored import compile_scorer
from jaxdpmm.detection.scores.context import nearest_component
from jaxdpmm.detection.state import DetectorState


def compile_nearest(state: DetectorState) -> Callable[[Any], Int[np.ndarray, "..."]]:
    """Function from patch features (..., D) to the number of the component nearest to each patch, (...).

    Args:
        state: of the mixture.

    Raises:
        TypeError: components of this family have no means.
    """
    fitted = state.posterior, state.reduction
    found = compile_scorer(reduced(nearest_component(state.mixture)), fitted)
    return lambda features: np.asarray(found(features)).astype(int)


def components_of(
    state: DetectorState, images: Iterable[Float[np.ndarray, "h w D"]]
) -> Iterator[Int[np.ndarray, "h w"]]:
    """The number of the component whose mean is nearest to each patch of each image.

    Args:
        state: of the mixture.
        images: features.
    """
    return map(compile_nearest(state), images)
