"""What must be known of patch features that were made elsewhere, beside their numbers: name, sizes, preprocessing.

Facts stand in `features.json` or in the file of the features itself; see `feature_files.py`, to read next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from jaxdpmm.images.geometry import Frame
from jaxdpmm.storage.descriptions import as_type, read_json

FACTS_FILE = "features.json"

Side = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
Place = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


@dataclass(frozen=True)
class FeatureFacts:
    """Facts of the features of an image; every pair is (height, width) or (top, left).

    Attributes:
        name: which features these are, for example "openai/clip-vit-base-patch16, block 9". A model takes new images
            with features of the same name only.
        image_size: of the original image, in pixels; not needed where the image is beside its features.
        preprocessing: how the image was prepared, in words; part of the name.
        grid: rows and columns of patches, to be checked against the array.
        resized: size of the image after resizing; left out where the patches cover the whole image evenly.
        patch_size: pixels of a patch in the resized image; needed with `resized`.
        corner: of the crop in the resized image; left out where the crop is in the centre.
    """

    name: str
    image_size: tuple[Side, Side] | None = None
    preprocessing: str = ""
    grid: tuple[Side, Side] | None = None
    resized: tuple[Side, Side] | None = None
    patch_size: Side | None = None
    corner: tuple[Place, Place] | None = None

    @property
    def full_name(self) -> str:
        """The name with the preprocessing."""
        return f"{self.name} ({self.preprocessing})" if self.preprocessing else self.name


def facts_of(path: Path, own: Mapping[str, Any]) -> FeatureFacts:
    """Facts of a file of features.

    Args:
        path: the file; the nearest `features.json` in its folder or in those above counts.
        own: facts that the file itself holds, which go before.

    Raises:
        ValueError: a fact is missing, unknown or of another type.
    """
    places = (folder / FACTS_FILE for folder in path.absolute().parents)
    found = next((place for place in places if place.is_file()), None)
    try:
        known = {} if found is None else dict(read_json(found))
        return as_type({**known, **own}, FeatureFacts)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"features must have a name and an image_size, in the .npz or in a {FACTS_FILE} beside it or above, got "
            f"{found or 'no such file'} for {path} ({error}); write for example "
            '{"name": "clip-vit-b16, block 9", "image_size": [512, 512]}.'
        ) from error


def frame_of_features(
    grid: tuple[int, int], size: tuple[int, int], facts: FeatureFacts, path: Path
) -> Frame:
    """How an image was prepared: resized and cropped as the facts say, or the whole image cut evenly.

    Args:
        grid: rows and columns of the features.
        size: of the original image.
        facts: of the features.
        path: of their file, for messages.

    Raises:
        ValueError: facts do not fit the grid.
    """
    if facts.grid not in (None, grid):
        raise ValueError(
            f"grid must be that of the features, {grid}, got {facts.grid} for {path}; mend one of them."
        )
    patch = facts.patch_size or 1
    cropped = (grid[0] * patch, grid[1] * patch)
    if facts.resized is None:
        return Frame(size, cropped, (0, 0), cropped, patch)
    spare = (facts.resized[0] - cropped[0], facts.resized[1] - cropped[1])
    corner = facts.corner or (max(0, spare[0]) // 2, max(0, spare[1]) // 2)
    if facts.patch_size is None or corner[0] > spare[0] or corner[1] > spare[1]:
        raise ValueError(
            f"resized must hold a grid of {grid} patches, got {facts.resized} with patch_size {facts.patch_size} and "
            f"corner {corner} for {path}; mend them, or leave resized out where patches cover the image."
        )
    return Frame(size, facts.resized, corner, cropped, patch)
