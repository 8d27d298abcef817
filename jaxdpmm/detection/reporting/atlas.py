"""What the components of a run stand for, in its folder: training patches of the largest, the component of each patch.

    atlas/*.jpg         training patches nearest to the largest components, with what lies around them
    components/*.npy    the component of every patch of an image, int32

Read `runs.py` for the other files of a run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.reporting.encoded import jpeg_of, npy_of
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.images.depth import see
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.pictures.components import component_crops

NUM_COMPONENTS = 24
CROP_SIDE = 96  # pixels of the longer side, at most


class AtlasEntry(NamedTuple):
    """One of the largest components of a model.

    Attributes:
        component: its number.
        share: of the training patches that it holds.
        crops: files of training patches, nearest first.
    """

    component: int
    share: float
    crops: tuple[Path, ...]


def shares_of(detector: Detector) -> list[float]:
    """Share of the training patches that each component holds, with four digits that count."""
    counts = np.asarray(detector.state.posterior.counts, np.float64)
    return [float(f"{share:.4g}") for share in counts / counts.sum()]


def largest_components(detector: Detector) -> Iterator[tuple[int, list[bytes]]]:
    """Numbers of the largest components with the JPEG files of their training patches, largest component first.

    Components whose training images can no longer be read are left out; so are all of a model that learned from
    rotated images, which are nowhere on disk.
    """
    examples, config = detector.state.examples, detector.config
    if examples is None or config.rotations > 1:
        return
    counts = np.asarray(detector.state.posterior.counts)
    largest = np.argsort(-counts, kind="stable")[:NUM_COMPONENTS]

    def load(name: str) -> Float[np.ndarray, "H W 3"]:
        return see(ImageRecord(Path(name)), config.value_range).pixels

    chosen = examples._replace(places=examples.places[largest])
    crops = component_crops(chosen, config.preprocessing(detector.backbone), load)
    for component, pictures in zip(largest.tolist(), crops, strict=True):
        if pictures:
            yield component, [jpeg_of(picture, CROP_SIDE) for picture in pictures]


def components_entry(scored: ScoredImage) -> tuple[dict[str, Any], bytes]:
    """Where the patches of an image lie, for the index, and the file of their components.

    Returns:
        "grid_box", the top, left, bottom and right of all patches as shares of the image; and the content of the file.
    """
    rows, columns = scored.frame.grid
    height, width = scored.frame.original
    top, left, _, _ = scored.frame.box_of(0, 0)
    _, _, bottom, right = scored.frame.box_of(rows - 1, columns - 1)
    box = [top / height, left / width, bottom / height, right / width]
    components = npy_of(np.asarray(scored.components, np.int32))
    return {"grid_box": [round(end, 5) for end in box]}, components
