"""Kept images in the arrays of a model file and back: those of all images joined, with how many are of each.

Next file to read: `state.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdpmm.detection.state import Calibration, KeptImage, Rows, Survival
from jaxdpmm.persist import Model
from jaxdpmm.storage.tree_store import named_leaves

PLACE = "kept/"
SIZES = ("rows", "labels")  # and those of the calibration


def is_survival(scores: np.ndarray, shares: np.ndarray, num_images: np.ndarray) -> bool:
    """Whether scores ascend to infinity, and shares descend from at most 1 to 0."""
    if num_images.shape != () or num_images.dtype.kind not in "iu" or not 0 < num_images < 2**53:
        return False
    if scores.ndim != 1 or scores.shape != shares.shape or not scores.size:
        return False
    if scores.dtype.kind != "f" or not is_finite(scores[:-1]) or not is_finite(shares):
        return False
    ascends = bool((scores[1:] >= scores[:-1]).all()) and bool(scores[-1] == np.inf)
    descends = bool((shares[1:] <= shares[:-1] + 1e-9).all()) and bool(shares[-1] == 0)
    return ascends and descends and bool(shares[0] <= 1 + 1e-6)


def is_finite(array: np.ndarray) -> bool:
    """Whether an array is one of finite floating numbers."""
    return array.dtype.kind == "f" and bool(np.isfinite(array).all())


def arrays_of_kept(kept: Sequence[KeptImage]) -> dict[str, np.ndarray]:
    """Arrays by name, without the names of the images."""
    rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(one.rows for one in kept))
    arrays = {
        "mean_scores": np.array([one.mean_score for one in kept]),
        "labels": np.concatenate([one.labels for one in kept]),
        "sizes/rows": np.array([len(one.rows.places) for one in kept]),
        "sizes/labels": np.array([len(one.labels) for one in kept]),
        **{f"rows/{name}": leaf for name, leaf in named_leaves(rows).items()},
    }
    for of in Calibration._fields:
        parts = [getattr(one.calibration, of) for one in kept]
        if None in parts:
            continue
        arrays[f"sizes/{of}"] = np.array([len(part.scores) for part in parts])
        arrays[f"{of}/scores"] = np.concatenate([part.scores for part in parts])
        arrays[f"{of}/shares"] = np.concatenate([part.shares for part in parts])
    return {PLACE + name: array for name, array in arrays.items()}


def kept_of(model: Model, names: Sequence[str] | None) -> tuple[KeptImage, ...] | None:
    """Kept images of a model file; None where it keeps none.

    Args:
        model: the file.
        names: of the images.

    Raises:
        ValueError: an array is absent or is none that kept images can have; the message is a part of a sentence.
    """
    if names is None:
        return None
    arrays = {
        name.removeprefix(PLACE): array
        for name, array in model.arrays.items()
        if name.startswith(PLACE)
    }
    try:
        return _images(model, arrays, names)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"kept images without the array {error}") from error


def _images(
    model: Model, arrays: Mapping[str, np.ndarray], names: Sequence[str]
) -> tuple[KeptImage, ...]:
    sizes = {name: arrays[f"sizes/{name}"] for name in (*SIZES, *_kinds(arrays))}
    number = model.mixture.num_components
    zero = np.zeros(0, np.int32)
    template = Rows(zero, zero, model.prior.component)
    leaves = {name: arrays[f"rows/{name}"] for name in named_leaves(template)}
    _check_sizes(sizes, len(names))
    _check_leaves(leaves, named_leaves(template), int(sizes["rows"].sum()))
    rows = jax.tree.unflatten(jax.tree.structure(template), list(leaves.values()))
    labels, means = arrays["labels"], arrays["mean_scores"]
    wrong = not _numbers(rows.places, 0, number) or not _numbers(labels, -1, number)
    wrong |= labels.shape != (sizes["labels"].sum(),) or not is_finite(means)
    if wrong or means.shape != (len(names),):
        raise ValueError("kept images that do not fit its components")
    cuts = {name: np.cumsum(parts)[:-1] for name, parts in sizes.items()}
    by_image = [np.split(leaf, cuts["rows"]) for leaf in jax.tree.leaves(rows)]
    calibrations = [_calibration(arrays, cuts, image) for image in range(len(names))]
    structure = jax.tree.structure(rows)
    return tuple(
        KeptImage(name, jax.tree.unflatten(structure, [*own]), calibration, of_patches, float(mean))
        for name, own, calibration, of_patches, mean in zip(
            names,
            zip(*by_image, strict=True),
            calibrations,
            np.split(labels, cuts["labels"]),
            means,
            strict=True,
        )
    )


def _calibration(
    arrays: Mapping[str, np.ndarray], cuts: Mapping[str, np.ndarray], image: int
) -> Calibration:
    parts = []
    for of in _kinds(arrays):
        scores, shares = (
            np.split(arrays[f"{of}/{name}"], cuts[of])[image] for name in Survival._fields[:2]
        )
        if not is_survival(scores, shares, np.array(1)):
            raise ValueError(f"kept {of} scores that are none")
        parts.append(Survival(scores, shares, 1))
    return Calibration(*parts)


def _kinds(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Which scores a calibration is of; files that were written before there was `most` have none of it."""
    return [of for of in Calibration._fields if of != "most" or "sizes/most" in arrays]


def _check_sizes(sizes: Mapping[str, np.ndarray], number: int) -> None:
    for name, parts in sizes.items():
        if not number or parts.shape != (number,) or not _numbers(parts, 0, 2**48):
            raise ValueError(f"sizes of kept {name} that do not fit {number} images")


def _check_leaves(
    leaves: Mapping[str, np.ndarray], template: Mapping[str, Any], number: int
) -> None:
    for name, leaf in leaves.items():
        is_right = leaf.dtype.kind == "i" if name == "places" else is_finite(leaf)
        if leaf.shape != (number, *template[name].shape[name in ("places", "counts") :]):
            is_right = False
        if not is_right:
            raise ValueError(f"kept {name} of shape {leaf.shape} for {number} rows")


def _numbers(array: np.ndarray, least: int, end: int) -> bool:
    """Whether an array has one axis of integers from `least` on, before `end`."""
    is_whole = array.ndim == 1 and array.dtype.kind == "i"
    return is_whole and bool(((array >= least) & (array < end)).all())
