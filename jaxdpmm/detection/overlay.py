"""Pictures to look at: an image beside its anomaly map, alone or many on one sheet.

Colours stand for scores between two limits that the caller gives, the same for all images of a
sheet: stretching each map to its own range would paint an anomaly onto every normal image. Sensible
limits come from normal images, see `colour_limits`. Pillow draws, and is imported on first use.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from jaxdpmm.persist import write_whole
from jaxdpmm.storage.outputs import MARK, PICTURE, check_replaceable

if TYPE_CHECKING:
    from PIL.Image import Image

# Dark to light as well as blue to yellow, so that it reads in grey print and without red or green.
_COLOURS = np.array(
    [[10, 8, 40], [64, 18, 110], [140, 30, 110], [214, 62, 70], [248, 140, 30], [252, 240, 140]],
    np.float32,
)
_CONTOUR = (0, 255, 160)
_GAP = 6
_CAPTION_HEIGHT = 20


class Tile(NamedTuple):
    """One image of a picture.

    Attributes:
        image: RGB in [0, 1], shape (H, W, 3).
        anomaly_map: one score a pixel, shape (H, W).
        caption: text above it, for example its kind and score.
        mask: true anomalous pixels, whose outline is drawn, or None.
    """

    image: Float[np.ndarray, "H W 3"]
    anomaly_map: Float[np.ndarray, "H W"]
    caption: str = ""
    mask: Bool[np.ndarray, "H W"] | None = None


def colour_limits(normal_maps: Sequence[Float[np.ndarray, "..."]]) -> tuple[float, float]:
    """Limits for colours from maps of normal images: dark for the usual, light far beyond it.

    The lower limit is the median of normal scores; the upper one lies twice as far from it as the
    99.9 % quantile does, so that normal images stay in the darker half.

    Args:
        normal_maps: maps or patch scores of normal images.

    Raises:
        ValueError: there are none.
    """
    if not normal_maps:
        raise ValueError("normal_maps must hold at least one map, got none; give normal images.")
    scores = np.concatenate([np.asarray(scores).reshape(-1) for scores in normal_maps])
    usual, high = np.quantile(scores, [0.5, 0.999])
    return float(usual), float(usual + 2 * (high - usual))


def colours_of(
    anomaly_map: Float[np.ndarray, "H W"], limits: tuple[float, float]
) -> UInt8[np.ndarray, "H W 3"]:
    """Map as colours, from dark blue at the lower limit to light yellow at the upper."""
    place = _fraction(anomaly_map, limits) * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(int), len(_COLOURS) - 2)
    part = (place - below)[:, :, None]
    colours = _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part
    return np.round(colours).astype(np.uint8)


def overlay(
    image: Float[np.ndarray, "H W 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    limits: tuple[float, float],
    mask: Bool[np.ndarray, "rows columns"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Grey image with colours where scores are high, and the outline of the mask.

    The colours cover the more the higher the score, so a normal place shows the image itself.

    Args:
        image: RGB in [0, 1].
        anomaly_map: one score a pixel; as large as the image.
        limits: scores at which colours begin and end.
        mask: true anomalous pixels, as large as the image, or None.

    Raises:
        ValueError: map or mask differ in size from the image, or the limits are not ascending.
    """
    _check_sizes(image, anomaly_map, mask)
    grey = np.mean(image, axis=2, keepdims=True) * 255
    cover = 0.85 * _fraction(anomaly_map, limits)[:, :, None]
    mixed = grey * (1 - cover) + colours_of(anomaly_map, limits) * cover
    pixels = np.round(mixed).astype(np.uint8)
    return pixels if mask is None else _outlined(pixels, mask)


def panel(tile: Tile, limits: tuple[float, float], height: int = 320) -> "Image":
    """Picture of one image: image, map and overlay side by side, with caption and colour scale.

    Args:
        tile: what to draw.
        limits: scores at which colours begin and end.
        height: of the image within the picture, in pixels.

    Raises:
        ValueError: see `overlay`.
    """
    _check_sizes(tile.image, tile.anomaly_map, tile.mask)
    width = max(1, round(height * tile.image.shape[1] / tile.image.shape[0]))
    pictures = [
        _scaled(_bytes(tile.image), (width, height)),
        _scaled(colours_of(tile.anomaly_map, limits), (width, height)),
        _marked(tile, limits, (width, height)),
    ]
    names = ["image", "anomaly map", "overlay" if tile.mask is None else "overlay, true outline"]
    rows = [_beside([_captioned(*pair) for pair in zip(pictures, names, strict=True)])]
    rows.append(_scale_bar(rows[0].width, limits))
    return _captioned(_below(rows), tile.caption)


def contact_sheet(
    tiles: Sequence[Tile], limits: tuple[float, float], columns: int = 4, side: int = 160
) -> "Image":
    """Many images on one sheet, each with its overlay beside it, all in the same colours.

    Args:
        tiles: what to draw, row by row.
        limits: scores at which colours begin and end.
        columns: tiles in a row.
        side: longer side of each image, in pixels.

    Raises:
        ValueError: no tiles, fewer than one column, or as in `overlay`.
    """
    if not tiles or columns < 1:
        raise ValueError(
            f"tiles and columns must be at least 1, got {len(tiles)} tiles and {columns} columns; "
            "choose some images to draw."
        )
    pictures = [_pair(tile, limits, side) for tile in tiles]
    rows = [_beside(pictures[start : start + columns]) for start in range(0, len(tiles), columns)]
    return _below([*rows, _scale_bar(max(row.width for row in rows), limits)])


def save_png(picture: "Image", path: str | Path) -> Path:
    """The path of a picture, once it is written there whole; folders on the way are made.

    Raises:
        FileExistsError: what lies there is no picture of this library, but the image itself, for example.
    """
    path = Path(path)
    check_replaceable(path, PICTURE)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png_of(picture))
    return path


def png_of(picture: "Image") -> bytes:
    """A picture as PNG that names this library, so that it is known when a later one takes its place."""
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text("Software", MARK)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=mark)
    return buffer.getvalue()


def _pair(tile: Tile, limits: tuple[float, float], side: int) -> "Image":
    """Image and overlay in two squares, so that images of any shape line up."""
    _check_sizes(tile.image, tile.anomaly_map, tile.mask)
    height, width = tile.image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = [_scaled(_bytes(tile.image), size), _marked(tile, limits, size)]
    squares = [_blank(side, side), _blank(side, side)]
    for square, picture in zip(squares, pictures, strict=True):
        square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return _captioned(_beside(squares, gap=1), tile.caption)


def _marked(tile: Tile, limits: tuple[float, float], size: tuple[int, int]) -> "Image":
    """Overlay at the size of the picture; the outline is drawn there, so that it stays thin."""
    from PIL import Image

    picture = _scaled(overlay(tile.image, tile.anomaly_map, limits), size)
    if tile.mask is None:
        return picture
    mask = Image.fromarray(tile.mask).resize(size, Image.Resampling.NEAREST)
    return Image.fromarray(_outlined(np.asarray(picture), np.asarray(mask)))


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _fraction(anomaly_map: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"limits must be two ascending finite scores, got {low:g} and {high:g}; "
            "colour_limits finds them from normal images."
        )
    return np.clip((np.asarray(anomaly_map, np.float32) - low) / (high - low), 0, 1)


def _check_sizes(image: np.ndarray, anomaly_map: np.ndarray, mask: np.ndarray | None) -> None:
    sizes = [image.shape[:2], anomaly_map.shape, image.shape[:2] if mask is None else mask.shape]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"image, anomaly_map and mask must have one height and width, got {sizes[0]}, "
            f"{sizes[1]} and {sizes[2]}; draw maps over the original image they belong to."
        )


def _outlined(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colour a ring just outside the mask, so that what it encloses stays visible."""
    width = max(1, min(mask.shape) // 150)
    ring = scipy.ndimage.binary_dilation(mask, iterations=width + 1)
    ring &= ~scipy.ndimage.binary_dilation(mask)  # a hair of space lets small spots show
    return np.where(ring[:, :, None], np.array(_CONTOUR, np.uint8), pixels)


def _scaled(pixels: np.ndarray, size: tuple[int, int]) -> "Image":
    from PIL import Image

    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _blank(width: int, height: int) -> "Image":
    from PIL import Image

    return Image.new("RGB", (width, height), "white")


def _beside(pictures: Sequence["Image"], gap: int = _GAP) -> "Image":
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    sheet = _blank(width, max(picture.height for picture in pictures))
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet


def _below(pictures: Sequence["Image"]) -> "Image":
    height = sum(picture.height for picture in pictures) + _GAP * (len(pictures) - 1)
    sheet = _blank(max(picture.width for picture in pictures), height)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + _GAP
    return sheet


def _captioned(picture: "Image", caption: str) -> "Image":
    if not caption:
        return picture
    label = _blank(picture.width, _CAPTION_HEIGHT)
    _write(label, caption)
    sheet = _blank(picture.width, picture.height + _CAPTION_HEIGHT)
    sheet.paste(label, (0, 0))
    sheet.paste(picture, (0, _CAPTION_HEIGHT))
    return sheet


def _scale_bar(width: int, limits: tuple[float, float]) -> "Image":
    """The colours with their scores, at most 320 pixels wide."""
    length = min(width, 320)
    ramp = np.linspace(*limits, length)[None]
    bar = _blank(width, 12 + _CAPTION_HEIGHT)
    bar.paste(_scaled(colours_of(ramp, limits), (length, 12)), (0, 0))
    label = _blank(width, _CAPTION_HEIGHT)
    _write(label, f"anomaly score {limits[0]:.4g} (dark) to {limits[1]:.4g} (light)")
    bar.paste(label, (0, 12))
    return bar


def _write(picture: "Image", text: str) -> None:
    from PIL import ImageDraw, ImageFont

    ImageDraw.Draw(picture).text((2, 2), text, fill="black", font=ImageFont.load_default(13))
