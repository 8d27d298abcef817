"""What a detector keeps in a model file beside the mixture, and the check of all of it before a detector is made.

`settings` and `arrays` of a `persist.Model` are free; a detector's are described here, so that what is read later needs
no further look. Read `detector.py` next.
"""

import os
from typing import Annotated, Any

import msgspec
import numpy as np

from jaxdpmm.detection.calibration import Calibration, Survival
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.reduction import AXES, MEAN
from jaxdpmm.persist import MODEL_FILE, Model, load_model
from jaxdpmm.storage.descriptions import as_type, shown

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


def load_detector_model(path: str | os.PathLike) -> tuple[DetectorConfig, Model]:
    """Settings and model of a file that `Detector.save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds no detector.
    """
    model = load_model(path)
    if "detector" not in model.settings:
        raise ValueError(
            f"path must be a detector's model file, got {path}, which holds a mixture alone; give a "
            "file that `jaxdpmm fit` or Detector.save wrote, or read this one with load_model."
        )
    with MODEL_FILE.reading(path):
        settings = as_type(dict(model.settings), _Settings)
        config = DetectorConfig.from_dict(settings.detector)
        if settings.colour_limits[0] >= settings.colour_limits[1]:
            raise ValueError(f"colour limits {settings.colour_limits} that do not ascend")
    problem = reduction_problem(model) or _calibration_problem(model) or _examples_problem(model)
    if problem:
        raise MODEL_FILE.wrong(path, f"one with {problem}")
    return config, model


def score_of(model: Model) -> str:
    """Name of the score that a model was fitted for: the detector's, "predictive" for a mixture alone.

    Raises:
        ValueError: the settings of the detector are none, or the arrays that reduce features do not fit the mixture.
    """
    config = model.settings.get("detector", {})
    if not isinstance(config, dict) or (problem := reduction_problem(model)):
        found = f"settings {shown(config)}" if not isinstance(config, dict) else problem
        raise ValueError(f"model must be of a detector or a mixture, got {found}; fit again.")
    return DetectorConfig.from_dict(config).score if config else "predictive"


def num_inputs(model: Model) -> int:
    """Number of features that a model's scores take, before they are reduced."""
    (dim,) = model.mixture.family.point_shape or (0,)
    return model.arrays[AXES].shape[0] if AXES in model.arrays else dim


def reduction_problem(model: Model) -> str | None:
    """What is wrong with the principal axes of a model; None where nothing is, or where it has none."""
    if not {MEAN, AXES} & set(model.arrays):
        return None
    mean, axes = (model.arrays.get(name, np.zeros(0)) for name in (MEAN, AXES))
    wanted = (mean.size, *(model.mixture.family.point_shape or ()))
    if mean.ndim != 1 or axes.shape != wanted or not (_is_finite(mean) and _is_finite(axes)):
        return f"principal axes of shapes {mean.shape} and {axes.shape} for {model.mixture.family}"
    return None


def _calibration_problem(model: Model) -> str | None:
    names = {
        f"calibration/{of}/{name}": (of, name)
        for of in Calibration._fields
        for name in Survival._fields
    }
    found = [name for name in names if name in model.arrays]
    if not found:
        return None
    if len(found) < len(names):
        return f"{len(found)} of the {len(names)} arrays of its calibration"
    for of in Calibration._fields:
        arrays = [model.arrays[f"calibration/{of}/{name}"] for name in Survival._fields]
        if not _is_survival(*arrays):
            return f"a calibration of {of} scores that is none"
    return None


def _is_survival(scores: np.ndarray, shares: np.ndarray, num_images: np.ndarray) -> bool:
    """Scores ascend to infinity, shares descend from at most 1 to 0."""
    if num_images.shape != () or num_images.dtype.kind not in "iu" or not 0 < num_images < 2**53:
        return False
    if scores.ndim != 1 or scores.shape != shares.shape or not scores.size:
        return False
    if scores.dtype.kind != "f" or not _is_finite(scores[:-1]) or not _is_finite(shares):
        return False
    ascends = bool((scores[1:] >= scores[:-1]).all()) and bool(scores[-1] == np.inf)
    descends = bool((shares[1:] <= shares[:-1] + 1e-9).all()) and bool(shares[-1] == 0)
    return ascends and descends and bool(shares[0] <= 1 + 1e-6)


def _examples_problem(model: Model) -> str | None:
    places, distances = (
        model.arrays.get(f"examples/{name}", np.zeros(0)) for name in ("places", "distances")
    )
    number, images = model.mixture.num_components, len(model.settings["images"])
    if places.ndim != 3 or places.shape[::2] != (number, 3) or places.dtype.kind != "i":
        return f"examples of shape {places.shape} and type {places.dtype} for {number} components"
    if (places < -1).any() or (places[..., 0] >= images).any() or (places >= 2**31).any():
        return f"examples out of other images than its {images}"
    if distances.shape != (number, 2) or not _is_finite(distances) or (distances < 0).any():
        return f"distances of examples of shape {distances.shape} that are none"
    return None


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(np.isfinite(array).all())
