"""From patch features to scores of patches and images: any scorer, the mixture's or a memory bank's, in one form.

Read `maps.py` next, which makes pixels of patches.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.foreground import foreground_mask, in_foreground
from jaxdpmm.detection.maps import anomaly_map, image_score
from jaxdpmm.detection.patches import ImagePatches
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.scoring import Scorer, in_tiles

ScorePatches = Callable[[Float[np.ndarray, "h w D"]], Float[np.ndarray, "h w"]]


class ScoredImage(NamedTuple):
    """Anomaly scores of one image.

    Attributes:
        record: where the image comes from.
        frame: how it was prepared.
        patch_scores: one a patch.
        score: of the whole image.
        backbone_seconds: from pixels to features; compilation included.
        scoring_seconds: from features to patch scores; compilation included.
    """

    record: ImageRecord
    frame: Frame
    patch_scores: Float[np.ndarray, "h w"]
    score: float
    backbone_seconds: float
    scoring_seconds: float

    def pixel_scores(self, sigma: float) -> Float[np.ndarray, "H W"]:
        """Score of every pixel of the original image, smoothed."""
        return anomaly_map(self.patch_scores, self.frame, sigma)


def compile_scorer(scorer: Scorer, fitted: Any) -> ScorePatches:
    """A score ready to run on the patches of one image at a time.

    Args:
        scorer: which score.
        fitted: what its `prepare` takes: a posterior, or the features of a memory bank.

    Returns:
        Function from patch features (h, w, D) to patch scores (h, w), compiled once for each number of patches.
    """
    params = jax.jit(scorer.prepare)(fitted)
    compiled = jax.jit(scorer.score)

    def score_patches(features: Float[np.ndarray, "h w D"]) -> Float[np.ndarray, "h w"]:
        points = features.reshape(-1, features.shape[-1])
        return in_tiles(compiled, params, points).reshape(features.shape[:2])

    return score_patches


def score_images(
    patches: Iterable[ImagePatches], scores: Mapping[str, ScorePatches], config: DetectorConfig
) -> Iterator[dict[str, ScoredImage]]:
    """Every score on every image, the features computed once.

    Args:
        patches: features of images.
        scores: by name.
        config: for the share of patches that makes an image's score, and whether the background counts.
    """
    for image in patches:
        scored = {}
        mask = foreground_mask(image.features) if config.foreground else None
        for name, score_patches in scores.items():
            begin = time.perf_counter()
            grid = score_patches(image.features)
            grid = grid if mask is None else in_foreground(grid, mask)
            seconds = time.perf_counter() - begin
            whole = float(image_score(jnp.asarray(grid), config.top_fraction))
            scored[name] = ScoredImage(
                image.record, image.frame, grid, whole, image.seconds, seconds
            )
        yield scored


def num_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
