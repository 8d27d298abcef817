"""The detector: a backbone, a fitted mixture and a score, from training images to scores of new ones.

A thin class at the edge: it loads the backbone once and compiles the score once; all it knows is in a
`DetectorConfig` (no arrays) and a `persist.Model` (arrays). `compile_scorer` gives any other score, the memory
bank's for one, the same form. Read `evaluate.py` next.
"""

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.config import COVARIANCES, DetectorConfig
from jaxdpmm.detection.maps import anomaly_map, image_score
from jaxdpmm.detection.overlay import colour_limits
from jaxdpmm.detection.patches import (
    BATCH_SIZE,
    ImagePatches,
    TrainingPatches,
    stack_patches,
    stream_patches,
)
from jaxdpmm.features import Backbone, load_backbone
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.inference import cavi, fit, initialize
from jaxdpmm.inference.initialize import draw_sample
from jaxdpmm.model import Mixture, compact, default_prior
from jaxdpmm.persist import Model, load_model, save_model
from jaxdpmm.scoring import SCORERS, Scorer, in_tiles

SAMPLE_SIZE = 20_000  # patches that the prior and the colours of pictures are set by

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


class Detector:
    """A fitted detector.

    Attributes:
        config: all settings, with the layers spelled out.
        model: mixture, prior, posterior, and as `settings` what `save` writes about the rest.
        backbone: weights and shape of the DINOv2.
        score_patches: patch features of one image, (h, w, D), to patch scores, (h, w).
    """

    def __init__(self, config: DetectorConfig, model: Model, backbone: Backbone):
        self.config = config.resolved(backbone)
        self.model = model
        self.backbone = backbone
        self.score_patches = compile_scorer(SCORERS[config.score](model.mixture), model.posterior)

    @classmethod
    def fit(
        cls,
        records: Sequence[ImageRecord],
        config: DetectorConfig | None = None,
        *,
        backbone: Backbone | None = None,
        strict: bool = False,
        progress: bool = False,
    ) -> "Detector":
        """Learn what is normal from images. The same images, settings and seed give the same detector.

        Args:
            records: normal images, for example `jaxdpmm.images.layouts.open_data_set(folder).train`.
            config: settings; None for the defaults.
            backbone: loaded already; by default the one that the settings name.
            strict: an image that cannot be read is an error, instead of a warning and a gap.
            progress: show bars on standard error.

        Raises:
            FileNotFoundError: no such backbone or image.
            ValueError: bad settings, no readable image, fewer patches than components.
        """
        config = config or DetectorConfig()
        backbone = backbone or load_backbone(config.backbone, dtype=config.dtype)
        config = config.resolved(backbone)
        bar = "training images" if progress else None
        stream = stream_patches(records, config, backbone, strict=strict, progress=bar)
        patches = stack_patches(stream, len(records), progress=progress)
        return cls.fit_patches(patches, config, backbone, progress=progress)

    @classmethod
    def fit_patches(
        cls,
        patches: TrainingPatches,
        config: DetectorConfig,
        backbone: Backbone,
        *,
        progress: bool = False,
    ) -> "Detector":
        """Learn what is normal from features that exist already, of this backbone and these settings.

        Raises:
            ValueError: features that are not finite, or fewer than components.
        """
        config = config.resolved(backbone)
        model = fit_mixture(patches.features, config, progress=progress)
        settings = {
            **model.settings,
            "detector": dataclasses.asdict(config),
            "backbone_sha256": backbone_digest(backbone),
            "num_images": patches.num_images,
        }
        detector = cls(config, model._replace(settings=settings), backbone)
        detector._set_colours(patches.features)
        return detector

    @classmethod
    def load(cls, path: str | os.PathLike, *, backbone: Backbone | None = None) -> "Detector":
        """Read a detector that `save` wrote, and load its backbone from where it came from.

        Args:
            path: the model file.
            backbone: loaded already; by default from the source that the file names.

        Raises:
            FileNotFoundError: no such file or backbone.
            ValueError: a damaged file, one without a detector, or other weights than it was fitted with.
        """
        model = load_model(path)
        if "detector" not in model.settings:
            raise ValueError(
                f"path must be a detector's model file, got {path}, which holds a mixture alone; give a "
                "file that `jaxdpmm fit` or Detector.save wrote, or read this one with load_model."
            )
        config = DetectorConfig.from_dict(model.settings["detector"])
        backbone = backbone or load_backbone(config.backbone, dtype=config.dtype)
        if backbone_digest(backbone) != model.settings["backbone_sha256"]:
            raise ValueError(
                f"backbone {backbone.name!r} must have the weights that {path} was fitted with, got others; "
                "find those weights or fit again."
            )
        return cls(config, model, backbone)

    def save(self, path: str | os.PathLike) -> None:
        """Write mixture and settings to one file, without the backbone.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        save_model(path, self.model)

    def score(
        self,
        records: Sequence[ImageRecord],
        *,
        strict: bool = False,
        batch_size: int = BATCH_SIZE,
        progress: str | None = None,
    ) -> Iterator[ScoredImage]:
        """Scores of images, one after the other; those that cannot be read are left out with a warning.

        Args:
            records: the images.
            strict: an image that cannot be read is an error.
            batch_size: images through the backbone at once.
            progress: what to write before a progress bar; None for no bar.
        """
        patches = stream_patches(
            records,
            self.config,
            self.backbone,
            strict=strict,
            batch_size=batch_size,
            progress=progress,
        )
        for scored in score_images(patches, {"mixture": self.score_patches}, self.config):
            yield scored["mixture"]

    @property
    def colour_limits(self) -> tuple[float, float]:
        """Scores at which the colours of pictures begin and end, found from training patches."""
        low, high = self.model.settings["colour_limits"]
        return low, high

    def _set_colours(self, features: Float[np.ndarray, "N D"]) -> None:
        sample = draw_sample(jax.random.key(self.config.seed), features, SAMPLE_SIZE)
        low, high = colour_limits([self.score_patches(sample[None])])
        settings = {
            **self.model.settings,
            "colour_limits": [low, max(high, float(np.nextafter(low, np.inf)))],
        }
        self.model = self.model._replace(settings=settings)


def fit_mixture(
    features: Float[np.ndarray, "N D"], config: DetectorConfig, *, progress: bool = False
) -> Model:
    """Prior from the data, k-means++ start, CAVI until it stands still, empty components dropped.

    Returns:
        The model; its `settings` tell the number of patches, the sweeps, whether it converged, and the ELBO.

    Raises:
        ValueError: features that are not finite, or fewer than components.
    """
    key_sample, key_start, key_fit = jax.random.split(jax.random.key(config.seed), 3)
    mixture = Mixture(COVARIANCES[config.covariance](features.shape[1]), config.num_components)
    prior = default_prior(mixture, jnp.asarray(draw_sample(key_sample, features, SAMPLE_SIZE)))
    start = initialize(mixture, prior, features, key=key_start)
    result = fit(
        cavi(mixture, prior),
        features,
        start,
        key=key_fit,
        num_epochs=config.num_epochs,
        tolerance=config.tolerance,
        progress=progress,
    )
    smaller, posterior = compact(mixture, prior, result.posterior)
    settings = {
        "num_patches": len(features),
        "num_sweeps": len(result.history),
        "converged": result.converged,
        "elbo_per_patch": result.history[-1].objective / len(features),
    }
    return Model(smaller, prior, posterior, settings)


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
        config: for the share of patches that makes an image's score.
    """
    for image in patches:
        scored = {}
        for name, score_patches in scores.items():
            begin = time.perf_counter()
            grid = score_patches(image.features)
            seconds = time.perf_counter() - begin
            whole = float(image_score(jnp.asarray(grid), config.top_fraction))
            scored[name] = ScoredImage(
                image.record, image.frame, grid, whole, image.seconds, seconds
            )
        yield scored


def num_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def backbone_digest(backbone: Backbone) -> str:
    """SHA-256 of a backbone's configuration and weights, so that a model never meets others unseen."""
    digest = hashlib.sha256(repr(backbone.config).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(backbone.params)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
