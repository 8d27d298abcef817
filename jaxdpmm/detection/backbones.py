"""Where patch features come from: a backbone, or the images themselves where they carry features made elsewhere.

Read `patches.py` next.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from jaxdpmm.detection.config import FeatureConfig
from jaxdpmm.detection.settings import FeatureSettings
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.features import Backbone, load_backbone
from jaxdpmm.features.digest import backbone_digest
from jaxdpmm.features.given import PREFIX, given_features, is_given
from jaxdpmm.images.feature_files import FeatureImage
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.persist import MODEL_FILE


def backbone_for(records: Sequence[ImageRecord], settings: FeatureSettings) -> Backbone:
    """The backbone that the settings name; for images that carry features, what takes its place.

    Args:
        records: images to learn from.
        settings: which backbone.

    Raises:
        FileNotFoundError: no such backbone.
        ValueError: a damaged backbone, or no features that can be read.
    """
    carried = [record.source for record in records if isinstance(record.source, FeatureImage)]
    if not carried:
        return load_backbone(settings.backbone, dtype=settings.dtype)
    problem: Exception | None = None
    for image in carried:
        try:
            name, num_features = image.facts().full_name, image.load().features.shape[-1]
            return given_features(name, num_features)
        except (ValueError, FileNotFoundError) as error:
            problem = problem or error
    raise ValueError(f"records must hold at least one file of features that can be read: {problem}")


def backbone_named(settings: FeatureSettings, num_features: int) -> Backbone:
    """The backbone that a model was fitted with, from where its settings say that it is.

    Args:
        settings: of the model.
        num_features: that it takes.

    Raises:
        FileNotFoundError, ValueError: as of `load_backbone`.
    """
    if settings.backbone.startswith(PREFIX):
        return given_features(settings.backbone, num_features)
    return load_backbone(settings.backbone, dtype=settings.dtype)


def check_backbone(
    backbone: Backbone, config: FeatureConfig, state: DetectorState, path: Any
) -> None:
    """Raise `ValueError` unless a backbone is the one that a detector was fitted with.

    Args:
        backbone: loaded.
        config: settings of the detector.
        state: of the detector.
        path: of its file, for messages.
    """
    if backbone_digest(backbone) != state.backbone_sha256:
        raise ValueError(
            f"backbone {backbone.name!r} must have the weights that {path} was fitted with, got others; "
            "find those weights or fit again."
        )
    num_features = config.resolved(backbone).num_features(backbone)
    if num_features != state.num_inputs:
        raise MODEL_FILE.wrong(
            path,
            f"one for {state.num_inputs} features, where {backbone.name!r} gives {num_features}",
        )


def check_sources(records: Iterable[ImageRecord], backbone: Backbone) -> None:
    """Raise `ValueError` where images carry features and there is a network for images, or the other way round."""
    for record in records:
        carries = isinstance(record.source, FeatureImage)
        if carries and not is_given(backbone):
            raise ValueError(
                f"records must be images for {backbone.name!r}, got features in {record.path}; give the images, or fit "
                "on such features."
            )
        if is_given(backbone) and not carries:
            raise ValueError(
                f"records must carry features for a model of {backbone.name!r}, got the image {record.path}; make its "
                "features as those of the training, see the guide."
            )


def check_given(records: Iterable[ImageRecord], num_features: int, backbone: Backbone) -> None:
    """Raise `ValueError` where features are others than a model has learned.

    Args:
        records: images that carry features.
        num_features: of their patches.
        backbone: what the model has in its place.
    """
    for record in records:
        name = record.source.facts().full_name if isinstance(record.source, FeatureImage) else ""
        found = given_features(name, num_features)
        if found.config != backbone.config:
            wanted = backbone.config.hidden_size
            raise ValueError(
                f"features must be those that were learned, {backbone.name!r} with {wanted} numbers per patch, got "
                f"{found.name!r} with {num_features} in {record.path}; make them alike, or fit again."
            )
