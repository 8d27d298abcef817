"""From patch features to scores of patches and images: any scorer, the mixture's or a memory bank's, in one form.

Read `maps.py` next, which makes pixels of patches.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxdpmm.choices import is_joint
from jaxdpmm.detection.foreground import foreground_mask, in_foreground
from jaxdpmm.detection.maps import anomaly_map, image_scores
from jaxdpmm.detection.patches import ImagePatches, PatchBatch
from jaxdpmm.detection.settings import ScoreSettings
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.programs import reshaped
from jaxdpmm.scoring import Scorer, in_tiles
from jaxdpmm.scoring.fusion import OF_EACH

ScoreImages = Callable[[Any], Float[np.ndarray, " B"]]
"""Features of images, (B, h, w, D), to a score of each."""

ScorePatches = Callable[[Any], Any]
"""Patch features (..., D) to patch scores (...), in NumPy or on the device."""


NOTHING: Mapping[str, Any] = {}


class ScoredImage(NamedTuple):
    """Anomaly scores of one image.

    Attributes:
        record: where the image comes from.
        frame: how it was prepared.
        patch_scores: one per patch.
        score: of the whole image.
        backbone_seconds: from pixels to features; compilation included.
        scoring_seconds: from features to patch scores; compilation included.
        components: the most probable component of each patch, where it was asked for.
    """

    record: ImageRecord
    frame: Frame
    patch_scores: Float[np.ndarray, "h w"]
    score: float
    backbone_seconds: float
    scoring_seconds: float
    components: Int[np.ndarray, "h w"] | None = None

    def pixel_scores(self, sigma: float) -> Float[np.ndarray, "H W"]:
        """Score of every pixel of the original image, smoothed."""
        return anomaly_map(self.patch_scores, self.frame, sigma)

    def quantile(self, share: float) -> float:
        """Lowest score that so large a share of the patches of the object does not exceed.

        Background that was left out has the lowest score of the object (`foreground.py`): patches that share the lowest
        score do not count, unless they are all.

        Args:
            share: in (0, 1].
        """
        values = np.sort(self.patch_scores, axis=None)
        lowest = int(np.searchsorted(values, values[0], side="right"))
        values = values[lowest:] if 1 < lowest < len(values) else values
        return float(values[math.ceil(share * len(values)) - 1])


def compile_scorer(scorer: Scorer, fitted: Any) -> ScorePatches:
    """A score ready to run on the patches of one image, or of a batch of images, at a time.

    Args:
        scorer: which score.
        fitted: what its `prepare` takes: a posterior, or the features of a memory bank.

    Returns:
        Function from patch features (..., D) to patch scores (...), of NumPy to NumPy and of JAX arrays to JAX arrays,
        which are not waited for. It compiles for few numbers of patches, see `scoring.in_tiles`.
    """
    params = jax.jit(scorer.prepare)(fitted)
    compiled = jax.jit(scorer.score)

    def score_patches(features: Any) -> Any:
        found = in_tiles(compiled, params, reshaped(features, -1, features.shape[-1]))
        return reshaped(found, *features.shape[:-1], *found.shape[1:])

    return score_patches


def score_images(
    patches: Iterable[ImagePatches],
    scores: Mapping[str, ScorePatches],
    config: ScoreSettings,
    components: ScorePatches | None = None,
    whole: Mapping[str, ScoreImages | None] = NOTHING,
    distances: Collection[str] = (),
) -> Iterator[dict[str, ScoredImage]]:
    """Every score on every image, the features computed once.

    Args:
        patches: features of images.
        scores: by name.
        config: for the share of patches that makes an image's score, the unit of the scores, and whether the
            background counts.
        components: patch features to numbers of components, see `assigning.compile_components`; None to leave them out.
        whole: scores of whole images by the same names; without one, `image_score` of those of patches.
        distances: names of scores that are no minus logs of p-values, where the settings name such a score.
    """
    batches = (
        PatchBatch((one.record,), (one.frame,), one.features[None], one.seconds) for one in patches
    )
    return score_batches(batches, scores, config, components, whole, distances)


def score_batches(
    batches: Iterable[PatchBatch],
    scores: Mapping[str, ScorePatches],
    config: ScoreSettings,
    components: ScorePatches | None = None,
    whole: Mapping[str, ScoreImages | None] = NOTHING,
    distances: Collection[str] = (),
) -> Iterator[dict[str, ScoredImage]]:
    """As `score_images`, a batch at a time, whose features stay on the device: scores alone are fetched, once.

    With `config.foreground` the features are fetched as well, since the mask is computed in NumPy.

    Args:
        batches: features of images.
        scores: by name.
        config: as of `score_images`.
        components: as of `score_images`.
        whole: as of `score_images`.
        distances: as of `score_images`.
    """
    in_nats = set(scores) - set(distances) if is_joint(config.score) else set()
    for batch in batches:
        masks = None
        if config.foreground:
            masks = [foreground_mask(one) for one in np.asarray(batch.features)]
        scored = {}
        for name, score_patches in scores.items():
            exponent = OF_EACH if name in in_nats else 0.0
            of_patches = partial(image_scores, fraction=config.top_fraction, exponent=exponent)
            scored[name] = _scored(batch, score_patches, masks, of_patches, whole.get(name))
        grids = [None] * len(batch.records) if components is None else components(batch.features)
        for number, grid in enumerate(grids):
            yield {
                name: images[number]._replace(components=grid) for name, images in scored.items()
            }


def _scored(
    batch: PatchBatch,
    score_patches: ScorePatches,
    masks: list[np.ndarray] | None,
    of_patches: Callable[[Any], Any],
    score_images: ScoreImages | None,
) -> list[ScoredImage]:
    """One score of every image of a batch."""
    begin = time.perf_counter()
    grids = score_patches(batch.features)
    if masks is not None:
        pairs = zip(np.asarray(grids), masks, strict=True)
        grids = np.stack([in_foreground(grid, mask) for grid, mask in pairs])
    jax.block_until_ready(grids)
    seconds = (time.perf_counter() - begin) / len(batch.records)
    of_images = score_images(batch.features) if score_images else of_patches(grids)
    found, whole = jax.device_get((grids, of_images))
    return [
        ScoredImage(record, frame, grid, float(one), batch.seconds, seconds)
        for record, frame, grid, one in zip(batch.records, batch.frames, found, whole, strict=True)
    ]


def num_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
