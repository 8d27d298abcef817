"""A detector's state in a model file and back, and the check of all of it before a detector is made.

`settings` and `arrays` of a `persist.Model` are free. The names that a detector uses there stand in this file alone, so
that the parts of a `DetectorState` can move without a change of the format. Next file to read: `../detector.py`.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np

from jaxdpmm.choices import CONTEXT, DISCREPANCY, DIVERGENCE, ODDS, is_joint, names_of
from jaxdpmm.detection.config import OWN, DetectorConfig
from jaxdpmm.detection.reduction import arrays_of as reduction_arrays
from jaxdpmm.detection.reduction import reduction_of
from jaxdpmm.detection.state import (
    Calibration,
    DetectorState,
    Examples,
    FitFacts,
    Survival,
    TrainingImage,
)
from jaxdpmm.detection.stored.kept import arrays_of_kept, is_finite, is_survival, kept_of
from jaxdpmm.detection.stored.scores import (
    arrays_of,
    context_of,
    fusion_of,
    histograms_of,
    known_of,
    unlabelled_of,
)
from jaxdpmm.families import Family, Gaussian
from jaxdpmm.persist import MODEL_FILE, Model, load_model
from jaxdpmm.sticks import StickBreaking
from jaxdpmm.storage.descriptions import as_type
from jaxdpmm.storage.tree_store import named_leaves

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _Settings(msgspec.Struct):
    """Settings of a detector's model; others may stand beside them."""

    detector: dict[str, Any]
    backbone_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    colour_limits: tuple[float, float]
    images: list[str]
    num_images: Count
    num_patches: Count
    num_sweeps: Count
    converged: bool
    truncation_binds: bool
    elbo_per_patch: float | None
    num_held_out: Count = 0
    num_left_out: Count = 0
    num_trimmed: Count = 0
    within_over_between: Annotated[float, msgspec.Meta(ge=0)] | None = None
    contested: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    training_images: list[tuple[str, float, bool]] = []
    kept_images: list[str] | None = None
    radius: Annotated[float, msgspec.Meta(ge=0)] | None = None


def model_of(config: DetectorConfig, state: DetectorState) -> Model:
    """What a model file holds of a detector."""
    calibration = named_leaves({"calibration": state.calibration})
    arrays = {name: np.asarray(leaf) for name, leaf in calibration.items()}
    arrays |= reduction_arrays(state.reduction) | arrays_of(state)
    settings = {
        "detector": config.to_dict(),
        "backbone_sha256": state.backbone_sha256,
        "colour_limits": state.colour_limits,
        **state.facts._asdict(),
        "training_images": [list(one) for one in state.training_images],
    }
    if state.kept is not None:
        settings["kept_images"] = [image.name for image in state.kept]
        arrays |= arrays_of_kept(state.kept)
    if state.examples is not None:
        arrays["examples/places"], arrays["examples/distances"], images, radius = state.examples
        settings |= {"images": list(images), "radius": radius}
    return Model(state.mixture, state.prior, state.posterior, settings, arrays)


def load_detector_model(
    path: str | os.PathLike,
    *,
    family: Family | None = None,
    sticks: StickBreaking | None = None,
) -> tuple[DetectorConfig, DetectorState]:
    """Settings and state of a file that `Detector.save` wrote.

    Args:
        path: the model file.
        family: needed where the family is none of this library.
        sticks: the same for the prior of the weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds no detector, or `family` or `sticks` is needed.
    """
    return detector_of(path, load_model(path, family=family, sticks=sticks))


def detector_of(path: str | os.PathLike, model: Model) -> tuple[DetectorConfig, DetectorState]:
    """Settings and state of a detector from what `model_of` has made of them.

    Args:
        path: of the file that holds them, for messages.
        model: what was read.

    Raises:
        ValueError: it holds no detector, or one whose parts do not fit.
    """
    if "detector" not in model.settings:
        raise ValueError(
            f"path must be a detector's model file, got {path}, which holds a mixture alone; give a "
            "file that `jaxdpmm fit` or Detector.save wrote, or read this one with load_model."
        )
    with MODEL_FILE.reading(path):
        settings = as_type(dict(model.settings), _Settings)
        config = DetectorConfig.from_dict(_with_own_parts(settings.detector, model))
        if settings.colour_limits[0] >= settings.colour_limits[1]:
            raise ValueError(f"colour limits {settings.colour_limits} that do not ascend")
    try:
        state = _state_of(model, settings, config)
    except ValueError as error:
        raise MODEL_FILE.wrong(path, f"one with {error}") from error
    return config, state


def _with_own_parts(values: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Settings in which the family and the prior of the weights of the user's own are those of the mixture."""
    own = {"family": model.mixture.family, "weights": model.mixture.sticks}
    return {
        name: own[name] if name in OWN and value is None else value
        for name, value in values.items()
    }


def _state_of(model: Model, settings: _Settings, config: DetectorConfig) -> DetectorState:
    """The parts of a model file.

    Raises:
        ValueError: one of them is wrong; the message is a part of a sentence.
    """
    names = names_of(config.score)
    fusion = fusion_of(model.arrays, len(names))
    context = context_of(model.arrays, model.mixture.num_components)
    known = known_of(model.arrays, model.mixture, model.prior)
    unlabelled = unlabelled_of(model.arrays, model.mixture, model.prior)
    histograms = histograms_of(model.arrays, model.mixture.num_components)
    parts = (fusion, context, known, unlabelled, histograms)
    are_there = [part is not None for part in parts]
    wanted = [is_joint(config.score), *(one in names for one in (CONTEXT, ODDS, DISCREPANCY))]
    wanted.append(config.image_score == DIVERGENCE)
    if are_there != wanted:
        raise ValueError(f"the parts of other scores than {' and '.join(names)}")
    facts = FitFacts(**{name: getattr(settings, name) for name in FitFacts._fields})
    return DetectorState(
        model.mixture,
        model.prior,
        model.posterior,
        facts,
        reduction_of(model.arrays, model.mixture.family.point_shape),
        _examples_of(model, settings.images)._replace(radius=settings.radius),
        _calibration_of(model.arrays),
        settings.colour_limits,
        settings.backbone_sha256,
        tuple(TrainingImage(*one) for one in settings.training_images),
        fusion,
        context,
        kept_of(model, settings.kept_images),
        known,
        unlabelled,
        histograms,
    )


def _calibration_of(arrays: Mapping[str, np.ndarray]) -> Calibration | None:
    kinds = [
        of for of in Calibration._fields if of != "most" or "calibration/most/scores" in arrays
    ]
    names = [f"calibration/{of}/{name}" for of in kinds for name in Survival._fields]
    found = [arrays[name] for name in names if name in arrays]
    if not found:
        return None
    if len(found) < len(names):
        raise ValueError(f"{len(found)} of the {len(names)} arrays of its calibration")
    number = len(Survival._fields)
    parts = [found[start : start + number] for start in range(0, len(found), number)]
    for of, part in zip(kinds, parts, strict=True):
        if not is_survival(*part):
            raise ValueError(f"a calibration of {of} scores that is none")
    return Calibration(*(Survival(scores, shares, int(num)) for scores, shares, num in parts))


def _examples_of(model: Model, images: list[str]) -> Examples:
    places, distances = (
        model.arrays.get(f"examples/{name}", np.zeros(0)) for name in ("places", "distances")
    )
    number = model.mixture.num_components
    if places.ndim != 3 or places.shape[::2] != (number, 3) or places.dtype.kind != "i":
        found = f"shape {places.shape} and type {places.dtype} for {number} components"
        raise ValueError(f"examples of {found}")
    if (places < -1).any() or (places[..., 0] >= len(images)).any() or (places >= 2**31).any():
        raise ValueError(f"examples out of other images than its {len(images)}")
    is_distance = isinstance(model.mixture.family, Gaussian)  # others have log densities
    is_wrong = not is_finite(distances) or (is_distance and (distances < 0).any())
    if distances.shape != (number, 2) or is_wrong:
        raise ValueError(f"distances of examples of shape {distances.shape} that are none")
    return Examples(places, distances, tuple(images))
