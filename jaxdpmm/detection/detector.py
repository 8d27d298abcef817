"""The detector: a backbone, a fitted mixture and a score, from training images to scores of new ones.

A thin class at the edge: it loads the backbone once and compiles the score once; all it knows is in a
`DetectorConfig` (no arrays) and a `DetectorState` (arrays). Read `evaluate.py` next.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

from jaxdpmm.detection import calibration as thresholds
from jaxdpmm.detection.assigning import compile_components
from jaxdpmm.detection.backbones import backbone_for, backbone_named, check_backbone
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.diagnosis import PatchDiagnosis, diagnose
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.learning import decided, explained, learn, with_colours, with_scores
from jaxdpmm.detection.parts import check_parts
from jaxdpmm.detection.patches import (
    BATCH_SIZE,
    ImagePatches,
    TrainingPatches,
    stream_batches,
    stream_patches,
)
from jaxdpmm.detection.scored import ScoredImage, score_batches, score_images
from jaxdpmm.detection.scores.composition import compile_images
from jaxdpmm.detection.scores.joint import compile_score
from jaxdpmm.detection.state import Calibration, DetectorState
from jaxdpmm.detection.stored.state import load_detector_model, model_of
from jaxdpmm.detection.training import chosen_records, tell_of_learned, training_patches
from jaxdpmm.families import Family
from jaxdpmm.features import Backbone
from jaxdpmm.features.digest import backbone_digest
from jaxdpmm.images.depth import value_range_of
from jaxdpmm.images.mask_checks import check_masks
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.persist import Model, save_model
from jaxdpmm.sticks import StickBreaking


class Detector:
    """A fitted detector.

    Attributes:
        config: all settings, with the layers spelled out.
        state: all that was learned.
        backbone: weights and shape of the DINOv2 or DINOv3; or what stands for features made elsewhere.
        score_patches: patch features, (..., D), to patch scores, (...), in NumPy or on the device.
    """

    def __init__(self, config: DetectorConfig, state: DetectorState, backbone: Backbone):
        self.config = config.resolved(backbone)
        self.state = state
        self.backbone = backbone
        self.score_patches = compile_score(state, config.score)

    @property
    def model(self) -> Model:
        """What `save` writes: mixture, prior and posterior, and the rest by name."""
        return model_of(self.config, self.state)

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
        anomalies: Sequence[ImageRecord] = (),
        unlabelled: Sequence[ImageRecord] = (),
    ) -> "Detector":
        """Learn what is normal from images. The same images, settings and seed give the same detector.

        Args:
            records: normal images, for example `jaxdpmm.images.layouts.open_data_set(folder).train`.
            config: settings; None for the defaults.
            validation: further normal images, for thresholds; without any, some of `records` or all, left out in turn.
            backbone: loaded already; by default the one that the settings name, none for images with features.
            strict: an image that cannot be read is an error, instead of a warning and a gap.
            progress: show bars on standard error.
            cache: folder to keep features in, for killed and later runs; rotated images are not kept.
            anomalies: known anomalous images; with some, `odds` is one of the scores (`scores/known.py`).
            unlabelled: normal or not; with some, `discrepancy` is one of the scores (`scores/prevalence.py`).

        Raises:
            FileNotFoundError: no such backbone or image.
            ValueError: bad settings, no readable image, fewer patches than components.
            TypeError: family, prior of the weights, backend and score that do not go together.
        """
        normal = (*records, *validation)
        config = with_scores(config or DetectorConfig(), normal, anomalies, unlabelled)
        learned, held_out = chosen_records(records, validation, config)
        backbone = backbone or backbone_for(learned, config)
        config = config.resolved(backbone)
        check_parts(config, config.num_features(backbone))
        if config.value_range is None:
            config = dataclasses.replace(config, value_range=value_range_of(learned))
        patches = training_patches(learned, config, backbone, strict, progress, cache)
        options: dict[str, Any] = {"held_out": held_out, "strict": strict, "progress": progress}
        for name, part in (("anomalies", anomalies), ("unlabelled", unlabelled)):
            stream = stream_patches(part, config, backbone, strict=strict) if part else ()
            options[name] = list(stream)
        return cls.fit_patches(patches, config, backbone, **options)

    @classmethod
    def fit_patches(
        cls,
        patches: TrainingPatches,
        config: DetectorConfig,
        backbone: Backbone,
        *,
        held_out: Sequence[ImageRecord] = (),
        strict: bool = False,
        progress: bool = False,
        anomalies: Sequence[ImagePatches] = (),
        unlabelled: Sequence[ImagePatches] = (),
    ) -> "Detector":
        """Learn what is normal from features that exist already, of this backbone and these settings.

        Args:
            patches: of training images.
            config: settings.
            backbone: that made the features.
            held_out: further normal images, which thresholds come from unless the settings say otherwise.
            strict: one of them that cannot be read is an error, instead of a warning and a gap.
            progress: show bars on standard error.
            anomalies: patches of images that are known to be anomalous.
            unlabelled: patches of images that may be normal or not.

        Raises:
            ValueError: features that are not finite, or fewer than components.
        """
        config = decided(config.resolved(backbone), patches, bool(held_out))
        options: dict[str, Any] = {"anomalies": anomalies, "unlabelled": unlabelled}
        fitted, patches = learn(patches, config, progress=progress, **options)
        state = explained(fitted, patches, config.seed)
        state = state._replace(backbone_sha256=backbone_digest(backbone))
        detector = cls(config, state, backbone)
        detector.state = with_colours(state, detector.score_patches, patches.features, config.seed)
        if held_out and config.thresholds == "held_out":
            bar = "held-out images" if progress else None
            detector.calibrate(held_out, strict=strict, progress=bar)
        return detector

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        *,
        backbone: Backbone | None = None,
        family: Family | None = None,
        sticks: StickBreaking | None = None,
    ) -> "Detector":
        """Read a detector that `save` wrote, and load its backbone from where it came from.

        Args:
            path: the model file.
            backbone: loaded already; by default from the source that the file names.
            family: the family of the fit, where it is none of this library.
            sticks: the same for the prior of the weights.

        Raises:
            FileNotFoundError: no such file or backbone.
            ValueError: a damaged file, one without a detector, or other weights than it was fitted with.
        """
        config, state = load_detector_model(path, family=family, sticks=sticks)
        backbone = backbone or backbone_named(config, state.num_inputs)
        check_backbone(backbone, config, state, path)
        return cls(config, state, backbone)

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
        components: bool = False,
    ) -> Iterator[ScoredImage]:
        """Scores of images, one after the other; those that cannot be read are left out with a warning.

        Args:
            records: the images.
            strict: an image that cannot be read is an error.
            batch_size: images through the backbone at once.
            progress: what to write before a progress bar; None for no bar.
            components: also find the component of every patch.
        """
        assign = compile_components(self.state) if components else None
        options: dict[str, Any] = {"strict": strict, "batch_size": batch_size, "progress": progress}
        batches = stream_batches(records, self.config, self.backbone, **options)
        scores, whole = {"": self.score_patches}, {"": compile_images(self.state)}
        for scored in score_batches(batches, scores, self.config, assign, whole):
            yield scored[""]

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
        if self.state.examples is not None:
            tell_of_learned(records, self.state.examples.images)
        images = list(self.score(records, strict=strict, progress=progress))
        found = thresholds.calibrate(images, self.config.sigma)
        facts = self.state.facts._replace(num_held_out=len(images), num_left_out=0)
        self.state = self.state._replace(facts=facts, calibration=found)

    @property
    def calibration(self) -> Calibration | None:
        """What held-out or left-out normal images score; None when there were none."""
        return self.state.calibration

    def threshold(self, rate: float = 0.05, of: str = "image", method: str = "conformal") -> float:
        """Score from which on an image, a patch or a pixel is called anomalous.

        Args:
            rate: share of normal ones that is called anomalous at most.
            of: "image", "patch", "pixel" or "most".
            method: see `calibration.threshold`.

        Raises:
            ValueError: no images were held out, or a bad argument.
        """
        return thresholds.threshold(thresholds.survival_of(self.calibration, of), rate, method)

    def p_value(self, image: ScoredImage) -> float | None:
        """Conformal p-value of an image among held-out normal ones; None when none were held out."""
        return thresholds.p_value(self.calibration, image.score)

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
        return diagnose(self.state, patches.features, scored["mixture"], num_patches)

    @property
    def colour_limits(self) -> tuple[float, float]:
        """Scores at which the colours of pictures begin and end."""
        return self.state.colour_limits
