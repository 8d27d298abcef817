"""The detector: a backbone, a fitted mixture and a score, from training images to scores of new ones.

A thin class at the edge: it loads the backbone once and compiles the score once; all it knows is in a
`DetectorConfig` (no arrays) and a `persist.Model` (arrays). Read `evaluate.py` next.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxdpmm.detection import calibration as thresholds
from jaxdpmm.detection.calibration import Calibration
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.diagnosis import PatchDiagnosis, diagnose, remember_examples
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.fitting import SAMPLE_SIZE, fit_mixture, model_scorer
from jaxdpmm.detection.overlay import colour_limits
from jaxdpmm.detection.patches import BATCH_SIZE, TrainingPatches, stream_batches, stream_patches
from jaxdpmm.detection.scored import (
    ScoredImage,
    compile_scorer,
    score_batches,
    score_images,
)
from jaxdpmm.detection.stored import load_detector_model, num_inputs
from jaxdpmm.detection.training import chosen_records, tell_of_learned, training_patches
from jaxdpmm.features import Backbone, PatchExtractor, load_backbone
from jaxdpmm.features.digest import backbone_digest
from jaxdpmm.images.depth import value_range_of
from jaxdpmm.images.mask_checks import check_masks
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.persist import MODEL_FILE, Model, save_model

COLOURS = 1  # makes a key of its own of the seed, for the sample that colours are set by


class Detector:
    """A fitted detector.

    Attributes:
        config: all settings, with the layers spelled out.
        model: mixture, prior, posterior, and as `settings` what `save` writes about the rest.
        backbone: weights and shape of the DINOv2.
        score_patches: patch features, (..., D), to patch scores, (...), in NumPy or on the device.
    """

    def __init__(self, config: DetectorConfig, model: Model, backbone: Backbone):
        self.config = config.resolved(backbone)
        self.model = model
        self.backbone = backbone
        self.score_patches = compile_scorer(*model_scorer(model, config.score))

    @classmethod
    def fit(
        cls,
        records: Sequence[ImageRecord],
        config: DetectorConfig | None = None,
        *,
        validation: Sequence[ImageRecord] = (),
        backbone: Backbone | None = None,
        strict: bool = False,
        progress: bool = False,
        cache: str | os.PathLike | None = None,
    ) -> "Detector":
        """Learn what is normal from images. The same images, settings and seed give the same detector.

        Args:
            records: normal images, for example `jaxdpmm.images.layouts.open_data_set(folder).train`.
            config: settings; None for the defaults.
            validation: further normal images, which thresholds come from; without any a share of `records` is held out.
            backbone: loaded already; by default the one that the settings name.
            strict: an image that cannot be read is an error, instead of a warning and a gap.
            progress: show bars on standard error.
            cache: folder to keep features in, so that a run that was killed goes on and the next one starts with them;
                rotated images are not kept.

        Raises:
            FileNotFoundError: no such backbone or image.
            ValueError: bad settings, no readable image, fewer patches than components.
        """
        config = config or DetectorConfig()
        learned, held_out = chosen_records(records, validation, config)
        backbone = backbone or load_backbone(config.backbone, dtype=config.dtype)
        config = config.resolved(backbone)
        if config.value_range is None:
            config = dataclasses.replace(config, value_range=value_range_of(learned))
        patches = training_patches(learned, config, backbone, strict, progress, cache)
        detector = cls.fit_patches(patches, config, backbone, progress=progress)
        if held_out:
            bar = "held-out images" if progress else None
            detector.calibrate(held_out, strict=strict, progress=bar)
        return detector

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
        model = remember_examples(fit_mixture(patches.features, config, progress=progress), patches)
        settings = {
            **model.settings,
            "detector": dataclasses.asdict(config),
            "backbone_sha256": backbone_digest(backbone),
            "num_images": patches.num_images // config.rotations,
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
        config, model = load_detector_model(path)
        backbone = backbone or load_backbone(config.backbone, dtype=config.dtype)
        if backbone_digest(backbone) != model.settings["backbone_sha256"]:
            raise ValueError(
                f"backbone {backbone.name!r} must have the weights that {path} was fitted with, got others; "
                "find those weights or fit again."
            )
        config = config.resolved(backbone)
        num_features = PatchExtractor(config.layers).num_features(backbone.config)
        if num_features != num_inputs(model):
            raise MODEL_FILE.wrong(
                path,
                f"one for {num_inputs(model)} features, where {backbone.name!r} gives {num_features}",
            )
        return cls(config, model, backbone)

    def save(self, path: str | os.PathLike) -> None:
        """Write mixture and settings to one file, without the backbone.

        Raises:
            FileNotFoundError: the folder does not exist.
            FileExistsError: what lies there is no model file.
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
        batches = stream_batches(
            records,
            self.config,
            self.backbone,
            strict=strict,
            batch_size=batch_size,
            progress=progress,
        )
        for scored in score_batches(batches, {"mixture": self.score_patches}, self.config):
            yield scored["mixture"]

    def evaluate(
        self,
        records: Sequence[ImageRecord],
        normal: Sequence[ImageRecord] = (),
        *,
        strict: bool = False,
    ) -> dict[str, Any]:
        """Figures on labelled images, see `evaluate.evaluate`; images go through one at a time, as they are timed.

        Args:
            records: normal and anomalous images that were not learned from.
            normal: further normal images, whose quantiles are the thresholds of F1 and Dice.
            strict: an image that cannot be read is an error.

        Raises:
            ValueError: labels are unknown or all alike, or a mask does not fit its image.
        """
        check_masks(records)
        held_out, images = (
            list(self.score(part, strict=strict, batch_size=1)) if part else []
            for part in (normal, records)
        )
        return evaluate(images, self.config.sigma, normal=held_out, seed=self.config.seed)

    def calibrate(
        self, records: Sequence[ImageRecord], *, strict: bool = False, progress: str | None = None
    ) -> None:
        """Take thresholds and p-values from other normal images; those of before are forgotten.

        Args:
            records: normal images that were not learned from.
            strict: an image that cannot be read is an error.
            progress: what to write before a progress bar; None for no bar.

        Raises:
            ValueError: no image could be read.

        Warns:
            UserWarning: some of them were learned from, so that rates would be too low for new images.
        """
        tell_of_learned(records, self.model.settings.get("images", ()))
        images = list(self.score(records, strict=strict, progress=progress))
        found = thresholds.calibrate(images, self.config.sigma)
        self.model = self.model._replace(
            settings={**self.model.settings, "num_held_out": len(images)},
            arrays={**self.model.arrays, **thresholds.to_arrays(found)},
        )

    @property
    def calibration(self) -> Calibration | None:
        """What held-out normal images score; None when none were held out."""
        return thresholds.from_arrays(self.model.arrays)

    def threshold(self, rate: float = 0.05, of: str = "image", method: str = "conformal") -> float:
        """Score from which on an image, a patch or a pixel is called anomalous.

        Args:
            rate: share of normal ones that is called anomalous at most.
            of: "image", "patch" or "pixel".
            method: see `calibration.threshold`.

        Raises:
            ValueError: no images were held out, or a bad argument.
        """
        found = self.calibration
        if found is None or of not in Calibration._fields:
            raise ValueError(
                f"a threshold needs held-out normal images and of one of {', '.join(Calibration._fields)}, got "
                f"{'no images' if found is None else 'images'} and {of!r}; give some to Detector.calibrate."
            )
        return thresholds.threshold(getattr(found, of), rate, method)

    def p_value(self, image: ScoredImage) -> float | None:
        """Conformal p-value of an image among held-out normal ones; None when none were held out."""
        found = self.calibration
        return (
            None
            if found is None
            else float(thresholds.p_values(found.image, np.asarray(image.score)))
        )

    def explain(self, record: ImageRecord, num_patches: int = 5) -> list[PatchDiagnosis]:
        """The most anomalous patches of an image, and what they were held against.

        Args:
            record: the image.
            num_patches: how many.

        Raises:
            FileNotFoundError, ValueError: the image cannot be read.
        """
        (patches,) = stream_patches([record], self.config, self.backbone, strict=True)
        (scored,) = score_images([patches], {"mixture": self.score_patches}, self.config)
        return diagnose(
            self.model, patches.features, scored["mixture"], self.calibration, num_patches
        )

    @property
    def colour_limits(self) -> tuple[float, float]:
        """Scores at which the colours of pictures begin and end, found from training patches."""
        low, high = self.model.settings["colour_limits"]
        return low, high

    def _set_colours(self, features: Any) -> None:
        key = jax.random.fold_in(jax.random.key(self.config.seed), COLOURS)
        sample = draw_sample(key, features, SAMPLE_SIZE)
        low, high = colour_limits([self.score_patches(sample[None])])
        settings = {
            **self.model.settings,
            "colour_limits": [low, max(high, float(np.nextafter(low, np.inf)))],
        }
        self.model = self.model._replace(settings=settings)
