"""Lesions: connected anomalous voxels of a volume, each with its place, size and p-value, and tables of them.

The maps of volumes come from `volume_maps.py`. Next file to read: `runs.py`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.calibration import p_values
from jaxdpmm.detection.state import Survival
from jaxdpmm.images.medical.intensities import Volume

TOUCHING = np.ones(
    (3, 3, 3), bool
)  # voxels that share a side, an edge or a corner are of one lesion


class Lesion(NamedTuple):
    """Connected voxels that score at least a threshold.

    Attributes:
        volume: name of the volume.
        lesion: its number in the volume, from 1 on, the highest score first.
        score: of its highest voxel.
        mean_score: of all its voxels.
        p_value: of its highest voxel among pixels of normal images; None where there were none.
        volume_ml: in millilitres.
        right_mm, anterior_mm, superior_mm: its centre in millimetres to the right, anterior and superior of the
            origin of the file's coordinates; along the axes of the volume where the file does not know its place.
        first_slice, last_slice: that it lies in.
    """

    volume: str
    lesion: int
    score: float
    mean_score: float
    p_value: float | None
    volume_ml: float
    right_mm: float
    anterior_mm: float
    superior_mm: float
    first_slice: int
    last_slice: int


def lesions_of(
    name: str,
    scores: Float[np.ndarray, "X Y Z"],
    volume: Volume,
    axis: int,
    threshold: float,
    survival: Survival | None = None,
) -> list[Lesion]:
    """Lesions of a volume, the highest score first.

    Args:
        name: of the volume.
        scores: one per voxel; not a number where there is none.
        volume: for size and place of the voxels.
        axis: across which it was cut into slices.
        threshold: score from which on a voxel is anomalous.
        survival: what pixels of normal images score, for p-values.
    """
    from scipy import ndimage  # takes long to load

    labels, number = ndimage.label(np.nan_to_num(scores, nan=-np.inf) >= threshold, TOUCHING)
    boxes = ndimage.find_objects(labels)
    found = []
    for label in range(1, number + 1):
        box = boxes[label - 1]
        places = np.argwhere(labels[box] == label) + [part.start for part in box]
        values = scores[tuple(places.T)]
        highest = float(values.max())
        p_value = None if survival is None else float(p_values(survival, np.asarray(highest)))
        found.append(
            Lesion(
                name,
                0,
                highest,
                float(values.mean()),
                p_value,
                len(places) * float(np.prod(volume.spacing)) / 1000,
                *_millimetres(places.mean(axis=0), volume),
                int(places[:, axis].min()),
                int(places[:, axis].max()),
            )
        )
    found.sort(key=lambda one: -one.score)
    return [one._replace(lesion=place) for place, one in enumerate(found, start=1)]


def smoothed_across(
    scores: Float[np.ndarray, "X Y Z"], axis: int, sigma: float
) -> Float[np.ndarray, "X Y Z"]:
    """Scores smoothed across slices by a Gaussian; slices without scores count nothing and stay without.

    Args:
        scores: one per voxel; not a number where there is none.
        axis: across which the volume was cut.
        sigma: standard deviation, in slices; 0 for scores as they are.
    """
    if not sigma:
        return scores
    from scipy import ndimage

    is_known = np.isfinite(scores)
    kept = ndimage.gaussian_filter1d(np.where(is_known, scores, 0), sigma, axis, mode="constant")
    weight = ndimage.gaussian_filter1d(is_known.astype(np.float32), sigma, axis, mode="constant")
    smoothed = kept / np.where(is_known, weight, 1)
    return np.where(is_known, smoothed, np.nan).astype(np.float32)


def table_bytes(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Content of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _millimetres(place: Float[np.ndarray, " 3"], volume: Volume) -> tuple[float, float, float]:
    if volume.affine is None:
        across, along, up = place * np.asarray(volume.spacing)
    else:
        across, along, up = (volume.affine @ [*place, 1.0])[:3]
    return float(across), float(along), float(up)
