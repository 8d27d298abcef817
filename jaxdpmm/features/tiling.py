"""Large images through the backbone in overlapping tiles of one size: one compilation, bounded memory.

Attention costs the square of the number of patches. Each patch is taken from the tile in whose middle it lies most, so
that none is seen without its surroundings. Read `extractor.py` first.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.features.extractor import PatchExtractor
from jaxdpmm.features.weights import Backbone
from jaxdpmm.programs import bounded

OVERLAP = 0.25  # of a tile, at least


def extract_in_tiles(
    extractor: PatchExtractor,
    backbone: Backbone,
    images: Any,
    tile_side: int,
    batch_size: int = 8,
) -> Float[Array, "B h w D"]:
    """Patch features of images of one size, tile by tile, on the device.

    Args:
        extractor: which features.
        backbone: from `load_backbone`.
        images: (B, H, W, 3), as `PatchExtractor.extract` takes them.
        tile_side: side of a tile in pixels; a side of the image that is shorter is not cut.
        batch_size: tiles through the backbone at once.

    Raises:
        ValueError: the side is no multiple of the patch size, or the images are refused.
    """
    patch = backbone.config.patch_size
    check_tile_side(tile_side, patch)
    sides = [side // patch for side in np.shape(images)[1:3]]
    sizes = [min(tile_side // patch, side) for side in sides]
    rows, columns = (tile_starts(*pair) for pair in zip(sides, sizes, strict=True))
    places = [(row, column) for row in rows for column in columns]
    owners = [_owners(*args) for args in zip(sides, sizes, (rows, columns), strict=True)]
    sources = _sources(owners, sizes, (rows, columns))
    return jnp.stack(
        [
            _gathered(_in_batches(extractor, backbone, image, places, sizes, batch_size), sources)
            for image in images
        ]
    )


def check_tile_side(tile_side: int, patch: int) -> None:
    """Raise unless a tile holds whole patches, and four at least.

    Args:
        tile_side: in pixels.
        patch: side of a patch in pixels.

    Raises:
        ValueError: it is no multiple of the patch size, or too small.
    """
    if tile_side < 4 * patch or tile_side % patch:
        raise ValueError(
            f"tile_side must be a multiple of the patch size {patch} and at least {4 * patch}, got {tile_side}; use "
            f"{max(tile_side // patch, 4) * patch}."
        )


def tile_starts(num_patches: int, size: int) -> list[int]:
    """First patches of tiles that cover a side, spread evenly, overlapping by a quarter at least.

    >>> tile_starts(32, 16), tile_starts(10, 16)
    ([0, 8, 16], [0])
    """
    if num_patches <= size:
        return [0]
    step = max(1, int(size * (1 - OVERLAP)))
    number = -(-(num_patches - size) // step)
    return [round(place * (num_patches - size) / number) for place in range(number + 1)]


def _owners(num_patches: int, size: int, starts: list[int]) -> np.ndarray:
    """Which tile each patch of a side is taken from: the one whose middle is nearest."""
    middles = np.array(starts) + (size - 1) / 2
    return np.abs(np.arange(num_patches)[:, None] - middles[None]).argmin(axis=1)


def _sources(owners: Any, sizes: Any, starts: Any) -> Int[np.ndarray, "h w"]:
    """Where each patch of an image is found among the patches of all its tiles, counted tile after tile."""
    row, column = np.ix_(*(np.arange(len(owner)) for owner in owners))
    down, across = np.ix_(*owners)
    first_row, first_column = np.array(starts[0])[down], np.array(starts[1])[across]
    tile = down * len(starts[1]) + across
    return (tile * sizes[0] + row - first_row) * sizes[1] + column - first_column


def _in_batches(
    extractor: Any, backbone: Any, image: Any, places: Any, sizes: Any, batch_size: Any
) -> list[Array]:
    """Features of all tiles, the last batch filled up so that there is one shape."""
    patch = backbone.config.patch_size
    height, width = (size * patch for size in sizes)
    image = np.asarray(image)
    tiles = [
        image[row * patch : row * patch + height, column * patch : column * patch + width]
        for row, column in places
    ]
    size = min(batch_size, len(tiles))
    filled = tiles + [tiles[0]] * (-len(tiles) % size)
    return [
        extractor.extract(backbone, np.stack(filled[start : start + size]))
        for start in range(0, len(filled), size)
    ]


@bounded
def _gathered(parts: list[Array], sources: Int[Array, "h w"]) -> Float[Array, "h w D"]:
    patches = jnp.concatenate(parts).reshape(-1, parts[0].shape[-1])
    return patches[sources]
