"""Pictures of what components stand for: which one each patch of an image belongs to, and what they have learned from.

Next file to read: `../detection/diagnosis.py`, which finds the components of patches and their examples.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jaxdpmm.detection.state import Examples
from jaxdpmm.images.geometry import Frame, Preprocessing, frame_of
from jaxdpmm.images.reading import load_image
from jaxdpmm.separation import Separation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUM_COLOURS = 20  # of matplotlib's tab20; larger numbers begin anew


def draw_component_map(
    axes: "Axes",
    components: Int[np.ndarray, "h w"],
    image: Float[np.ndarray, "H W 3"] | None = None,
    frame: Frame | None = None,
) -> "Axes":
    """Axes with a colour for the component of each patch, over the image where it is given.

    Colours repeat after 20 components.

    Args:
        axes: to draw into.
        components: of each patch of an image, the first result of `assigning.component_map`.
        image: RGB in [0, 1], the original.
        frame: how it was prepared; needed with an image, to lay the patches over it.

    Raises:
        ValueError: an image without its frame, or a grid that is not the frame's.
    """
    rows, columns = components.shape
    extent = (0.0, float(columns), float(rows), 0.0)
    if image is not None:
        if frame is None or frame.grid != components.shape:
            found = "no frame" if frame is None else f"a frame of {frame.grid} patches"
            raise ValueError(
                f"frame must be that of the image and of its {components.shape} components, got {found}; give "
                "the frame of the scored image."
            )
        top, left, _, _ = frame.box_of(0, 0)
        _, _, bottom, right = frame.box_of(rows - 1, columns - 1)
        extent = (float(left), float(right), float(bottom), float(top))
        height, width = image.shape[:2]
        axes.imshow(image, extent=(0, width, height, 0))
    axes.imshow(
        components % _NUM_COLOURS,
        cmap="tab20",
        vmin=-0.5,
        vmax=_NUM_COLOURS - 0.5,
        alpha=None if image is None else 0.5,
        extent=extent,
        interpolation="nearest",
    )
    if image is not None:
        axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set(xticks=[], yticks=[])
    return axes


def component_crops(
    examples: Examples,
    preprocessing: Preprocessing,
    load: Callable[[str], Float[np.ndarray, "H W 3"]] = load_image,
    margin: int = 1,
) -> list[list[Float[np.ndarray, "h w 3"]]]:
    """The training patches nearest to each component, cropped from their images, nearest first.

    Patches of images that can no longer be read are left out.

    Args:
        examples: `Detector.state.examples`.
        preprocessing: `Detector.config.preprocessing(backbone)`; the images were learned from without rotation.
        load: pixels of an image by its name, RGB in [0, 1].
        margin: patches around each one that are shown as well.
    """
    loaded: dict[int, np.ndarray | None] = {}
    crops = []
    for places in examples.places:
        found = []
        for image, row, column in places[places[:, 0] >= 0].tolist():
            if image not in loaded:
                loaded[image] = _loaded(load, examples.images[image])
            pixels = loaded[image]
            if pixels is not None:
                found.append(_crop(pixels, preprocessing, row, column, margin))
        crops.append(found)
    return crops


def draw_atlas(
    axes: "Axes",
    counts: Float[np.ndarray, " K"],
    crops: Sequence[Sequence[Float[np.ndarray, "h w 3"]]],
    num_components: int = 10,
) -> "Axes":
    """Axes with a row of training patches for each of the largest components: what "normal" means, in pictures.

    Rows are sorted by size and named by the number of the component and its share of the training patches.

    Args:
        axes: to draw into.
        counts: of the posterior.
        crops: pictures for each component, from `component_crops`.
        num_components: rows at most; components without pictures have none.
    """
    counts = np.asarray(counts)
    order = [number for number in np.argsort(-counts, kind="stable").tolist() if crops[number]]
    order = order[:num_components]
    for row, number in enumerate(order):
        for column, crop in enumerate(crops[number]):
            axes.imshow(crop, extent=(column, column + 0.95, row + 0.95, row))
    names = [f"{number}: {counts[number] / counts.sum():.1%}" for number in order]
    widest = max((len(crops[number]) for number in order), default=1)
    axes.set_yticks(np.arange(len(order)) + 0.475, names)
    axes.set(xticks=[], xlim=(0, widest), ylim=(max(len(order), 1), 0))
    return axes


def draw_separation(axes: "Axes", found: Separation) -> "Axes":
    """Axes with a point for each component: how wide it is, and how far its nearest neighbour lies.

    Points are larger for components with more patches, and lighter the more of these another component claims too.
    Above the line, a component is wider than its neighbour is far.

    Args:
        axes: to draw into.
        found: of `separation`.
    """
    shown = (found.num_points > 0) & np.isfinite(found.between)
    sizes = 200 * found.num_points[shown] / max(found.num_points.max(), 1)
    points = axes.scatter(
        found.between[shown],
        found.within[shown],
        s=np.maximum(sizes, 4),
        c=found.contested[shown],
        cmap="viridis",
        vmin=0,
        vmax=1,
    )
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
    axes.set(
        xlabel="distance of the nearest component", ylabel="width", xlim=(0, None), ylim=(0, None)
    )
    axes.figure.colorbar(points, ax=axes, label="share that two components claim")
    return axes


def _loaded(load: Callable[[str], np.ndarray], name: str) -> np.ndarray | None:
    """Pixels of an image, None where it is gone or unreadable."""
    try:
        return load(name)
    except (OSError, ValueError):
        return None


def _crop(
    pixels: np.ndarray, preprocessing: Preprocessing, row: int, column: int, margin: int
) -> np.ndarray:
    """A patch of the original image with what lies around it."""
    frame = frame_of(pixels.shape[:2], preprocessing)
    rows, columns = frame.grid
    top, left, _, _ = frame.box_of(max(row - margin, 0), max(column - margin, 0))
    last = min(row + margin, rows - 1), min(column + margin, columns - 1)
    _, _, bottom, right = frame.box_of(*last)
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
