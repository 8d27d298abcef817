"""Methods side by side on the same features: what `jaxdpmm evaluate` and `jaxdpmm demo` print.

Next file to read: `evaluate.py`, for what the figures mean.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxdpmm.detection.assigning import compile_components
from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.methods import ANEW, METHODS, Fitted, of_state
from jaxdpmm.detection.patches import ImagePatches
from jaxdpmm.detection.scored import ScoredImage, score_images


def compare(
    detector: Detector,
    features: Any,
    test: Iterable[ImagePatches],
    normal: Iterable[ImagePatches] = (),
    methods: Sequence[str] = ("bank",),
    components: bool = False,
) -> tuple[dict[str, Any], dict[str, list[ScoredImage]]]:
    """Figures of the detector's mixture and of other methods, which learn from `features`.

    Args:
        detector: the fitted detector.
        features: normal patches, (N, D), for the other methods.
        test: labelled images.
        normal: held-out normal images, for thresholds.
        methods: names in `METHODS`; "mixture" is fitted anew and stands beside the detector's own.
        components: also find the component of every patch of the test images.

    Returns:
        Figures by method and the number of held-out images; and the scored test images by method.
    """
    rows = np.asarray(features)
    fitted = {"mixture": of_state(detector.state, detector.config)}
    for name in methods:
        own = ANEW if name == "mixture" else name
        fitted[own] = METHODS[name](rows, detector.config)
    scores = {name: method.score_patches for name, method in fitted.items()}
    whole = {name: method.score_images for name, method in fitted.items()}
    assign = compile_components(detector.state) if components else None
    others = [name for name in fitted if name != "mixture"]
    held_out, scored = (
        _by_name(score_images(patches, scores, detector.config, of_patches, whole, others), scores)
        for patches, of_patches in ((normal, None), (test, assign))
    )
    result: dict[str, Any] = {
        name: _figures(detector, method, scored[name], held_out[name])
        for name, method in fitted.items()
    }
    result["mixture"]["num_components"] = detector.state.mixture.num_components
    return result | {"num_held_out": len(held_out["mixture"])}, scored


def _figures(
    detector: Detector, method: Fitted, images: list[ScoredImage], normal: list[ScoredImage]
) -> dict[str, Any]:
    figures = evaluate(images, detector.config.sigma, normal=normal, seed=detector.config.seed)
    return {**figures, "model_bytes": method.num_bytes, "num_rows": method.num_rows}


def _by_name(
    images: Iterable[dict[str, ScoredImage]], names: Iterable[str]
) -> dict[str, list[ScoredImage]]:
    found: dict[str, list[ScoredImage]] = {name: [] for name in names}
    for image in images:
        for name, of_name in found.items():
            of_name.append(image[name])
    return found
