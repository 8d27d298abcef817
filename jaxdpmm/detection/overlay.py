"""Pictures to look at: an image beside its anomaly map, alone or many on one sheet.

Colours stand for scores between two limits that the caller gives, the same for all images of a
sheet: stretching each map to its own range would paint an anomaly onto every normal image. Sensible
limits come from normal images, see `colour_limits`.

matplotlib gives the colours, the colour bar and the outlines, on a canvas of its own in memory without
`pyplot`, so that threads and machines without a screen can draw. Pillow scales pictures and puts them side by side,
which takes a quarter of the time of a figure with axes and matters for thousands of images. Both are imported on first
use. Not here: how pictures are put together to sheets (`sheets.py`), and figures with axes (`../pictures/scores.py`).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxdpmm.detection.sheets import LINE_HEIGHT, below, beside, captioned

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

COLOURS = "inferno"  # dark to light, so that it reads in grey print and without red or green
_OUTLINE = "#00ffa0"
_COVER = 0.85  # of the image by the colour of the highest score
_BAR_HEIGHT = 12
_BAR_LENGTH = 320
_NAME_LENGTH = 110  # pixels beside the colour bar for what it stands for
_DPI = 64  # a power of two: a number of pixels divided and multiplied by it is the same again


class Tile(NamedTuple):
    """One image of a picture.

    Attributes:
        image: RGB in [0, 1], shape (H, W, 3).
        anomaly_map: one score per pixel, shape (H, W).
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
    """RGB colours of a map, from black at the lower limit to light yellow at the upper.

    Args:
        anomaly_map: one score per pixel.
        limits: scores at which colours begin and end.

    Raises:
        ValueError: the limits are not ascending.
    """
    from matplotlib import colormaps

    coloured = colormaps[COLOURS](_fraction(anomaly_map, limits), bytes=True)
    return np.asarray(coloured)[:, :, :3]


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
        anomaly_map: one score per pixel; as large as the image.
        limits: scores at which colours begin and end.
        mask: true anomalous pixels, as large as the image, or None.

    Raises:
        ValueError: map or mask differ in size from the image, or the limits are not ascending.
    """
    _check_sizes(image, anomaly_map, mask)
    grey = np.mean(image, axis=2, keepdims=True) * 255
    cover = _COVER * _fraction(anomaly_map, limits)[:, :, None]
    mixed = grey * (1 - cover) + colours_of(anomaly_map, limits) * cover
    pixels = np.round(mixed).astype(np.uint8)
    return pixels if mask is None else np.asarray(_outlined(_scaled(pixels), mask))


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
    row = beside([captioned(*pair) for pair in zip(pictures, names, strict=True)])
    return captioned(below([row, colour_bar(row.width, limits)]), tile.caption)


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
    rows = [beside(pictures[start : start + columns]) for start in range(0, len(tiles), columns)]
    return below([*rows, colour_bar(max(row.width for row in rows), limits)])


@lru_cache(maxsize=16)
def colour_bar(width: int, limits: tuple[float, float]) -> "Image":
    """The colours with their scores below them; kept, so that all sheets of a run share one drawing.

    Args:
        width: of the strip, in pixels; the colours take at most 320 of them.
        limits: scores at which colours begin and end.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    margin, height = 16, _BAR_HEIGHT + LINE_HEIGHT
    length = max(1, min(width - margin - _NAME_LENGTH, _BAR_LENGTH))
    figure = _figure((width, height))
    axes = figure.add_axes(
        (margin / width, LINE_HEIGHT / height, length / width, _BAR_HEIGHT / height)
    )
    scores = ScalarMappable(Normalize(*limits), COLOURS)
    bar = figure.colorbar(scores, cax=axes, orientation="horizontal", ticks=MaxNLocator(4))
    bar.ax.tick_params(labelsize=9, length=2, pad=1)
    axes.text(1.03, 0.5, "anomaly score", fontsize=10, va="center", transform=axes.transAxes)
    return _drawn(figure).convert("RGB")


def _pair(tile: Tile, limits: tuple[float, float], side: int) -> "Image":
    """Image and overlay in two squares, so that images of any shape line up."""
    from PIL import ImageOps

    _check_sizes(tile.image, tile.anomaly_map, tile.mask)
    height, width = tile.image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = [_scaled(_bytes(tile.image), size), _marked(tile, limits, size)]
    squares = [ImageOps.pad(picture, (side, side), color="white") for picture in pictures]
    return captioned(beside(squares, gap=1), tile.caption)


def _marked(tile: Tile, limits: tuple[float, float], size: tuple[int, int]) -> "Image":
    """Overlay at the size of the picture; the outline is drawn there, so that it stays thin."""
    picture = _scaled(overlay(tile.image, tile.anomaly_map, limits), size)
    return picture if tile.mask is None else _outlined(picture, tile.mask)


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _fraction(anomaly_map: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Where scores lie between the limits, in [0, 1]."""
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


def _outlined(picture: "Image", mask: np.ndarray) -> "Image":
    """The picture with the outline of a mask, which is stretched to the picture's size."""
    from PIL import Image

    if not mask.any():
        return picture
    height, width = mask.shape
    figure = _figure(picture.size)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    around = np.pad(mask, 1).astype(float)  # lines close along the edges of the image
    columns, rows = np.arange(-1, width + 1), np.arange(-1, height + 1)
    axes.contour(columns, rows, around, levels=[0.5], colors=_OUTLINE, linewidths=1.7)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return Image.alpha_composite(picture.convert("RGBA"), _drawn(figure)).convert("RGB")


def _figure(size: tuple[int, int]) -> "Figure":
    """An empty figure of (width, height) pixels that no other thread knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI)


def _drawn(figure: "Figure") -> "Image":
    """The pixels of a figure, with transparency."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()))


def _scaled(pixels: np.ndarray, size: tuple[int, int] | None = None) -> "Image":
    from PIL import Image

    picture = Image.fromarray(pixels)
    return picture if size is None else picture.resize(size, Image.Resampling.BICUBIC)
