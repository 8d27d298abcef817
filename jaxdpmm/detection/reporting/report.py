"""One self-contained HTML page of a run: figures, histograms, and every image with a map that a slider redraws.

Python reduces the images and writes them into the page as data; `templates/report.js` draws. The page asks the network
for nothing, and its content security policy keeps it so. Scores reach the browser as one byte a pixel, the number of a
level: half of the 256 levels lie evenly over what normal patches score, half over what lies beyond.
Not here: what is in the folder of a run (`runs.py`).
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxdpmm.detection.evaluate import LABELS
from jaxdpmm.detection.overlay import colours_of
from jaxdpmm.detection.products.figures import confusion_rows
from jaxdpmm.detection.reporting.atlas import AtlasEntry
from jaxdpmm.detection.reporting.runs import Run, RunImage
from jaxdpmm.images.records import ANOMALOUS, NORMAL

NUM_LEVELS = 256
NUM_BINS = 40
NUM_WORST = 6
VIEWS = ("overlay", "map", "image", "components")
TEMPLATES = Path(__file__).parent / "templates"
METHODS = {"bank": "memory bank"}  # the others are called what they are called
FIGURES = {
    **LABELS,
    "model_bytes": "size",
    "backbone_ms": "backbone, ms per image",
    "scoring_ms": "scoring, ms per image",
}


def render_report(run: Run, *, side: int = 256) -> str:
    """The page of a run.

    Args:
        run: what `read_run` found.
        side: pixels of the longer side of each image in the page, which mostly decides its size.

    Returns:
        HTML, the same for the same run.

    Raises:
        ImportError: jinja2 is not installed.
        ValueError: `side` is below 32.
    """
    if side < 32:
        raise ValueError(f"side must be at least 32 pixels, got {side}; the default is 256.")
    levels = score_levels(run)
    scores = np.array([image.score for image in run.images])
    labels = np.array([-1 if image.label is None else image.label for image in run.images])
    threshold, origin = _image_threshold(run, scores, labels)
    data = {
        "levels": [float(f"{level:.6g}") for level in levels],
        "start": NUM_LEVELS // 2,
        "palette": colours_of(np.linspace(0, 1, NUM_LEVELS)[None], (0.0, 1.0))[0].tolist(),
        "threshold": threshold,
        "images": [_image_data(image, levels, side) for image in run.images],
        "shares": run.about.get("shares", []),
        "atlas": [_atlas_data(entry) for entry in run.atlas],
        "worst": {
            "positives": _worst(scores, labels, NORMAL),
            "negatives": _worst(scores, labels, ANOMALOUS),
        },
    }
    has_components = any(image.components is not None for image in run.images)
    return _template().render(
        about=run.about,
        views=VIEWS if has_components else VIEWS[:-1],
        data=data,
        counts={name: int(np.sum(labels == label)) for name, label in _KINDS.items()},
        table=_table(run.about["figures"]),
        headline=_headline(run.about["figures"]),
        confusion=_confusion(run.about["figures"]),
        histogram=histogram(scores, labels),
        origin=origin,
    )


_KINDS = {"normal": NORMAL, "anomalous": ANOMALOUS, "unlabelled": -1}


def score_levels(run: Run) -> Float[np.ndarray, " L"]:
    """Ascending scores where levels begin: half up to the 99.9 % quantile of normal patches, half beyond."""
    low, high = run.about["colour_limits"]
    middle = (low + high) / 2  # see `overlay.colour_limits`
    ends = np.array([_ends_of(image) for image in run.images])
    least, most = min(float(ends[:, 0].min()), low), max(float(ends[:, 1].max()), high)
    half = NUM_LEVELS // 2
    return np.concatenate(
        [np.linspace(least, middle, half, endpoint=False), np.linspace(middle, most, half)]
    )


def histogram(scores: Float[np.ndarray, " I"], labels: np.ndarray) -> dict[str, Any]:
    """Counts of image scores in even bins, by kind, as shares of the tallest bin.

    Returns:
        "low" and "high" ends of the scores, and "bins": for each its left end and width (shares of the axis) and, by
        kind, "normal", "anomalous", "unlabelled", its height and count.
    """
    low, high = float(scores.min()), float(scores.max())
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, NUM_BINS + 1)
    counts = {
        name: np.histogram(scores[labels == label], edges)[0] for name, label in _KINDS.items()
    }
    tallest = max(int(each.max()) for each in counts.values())
    bins = [
        {
            "left": number / NUM_BINS,
            "from": float(edges[number]),
            "to": float(edges[number + 1]),
            **{
                name: {"count": int(each[number]), "height": each[number] / tallest}
                for name, each in counts.items()
            },
        }
        for number in range(NUM_BINS)
    ]
    return {"low": low, "high": high, "bins": bins, "num_bins": NUM_BINS}


def block_maximum(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Largest value of each block of a smaller grid, so that nothing small is lost in reduction."""
    rows, columns = (
        np.linspace(0, length, number, endpoint=False).astype(int)
        for length, number in zip(array.shape, size, strict=True)
    )
    return np.maximum.reduceat(np.maximum.reduceat(array, rows, axis=0), columns, axis=1)


def _image_data(image: RunImage, levels: np.ndarray, side: int) -> dict[str, Any]:
    from PIL import Image

    pixels = np.load(image.map)
    scale = min(1.0, side / max(pixels.shape))
    height, width = (max(1, round(length * scale)) for length in pixels.shape)
    with Image.open(image.preview) as preview:
        picture = preview.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    places = np.searchsorted(levels, block_maximum(pixels, (height, width)), side="right") - 1
    return {
        "name": image.name,
        "kind": image.kind,
        "label": image.label,
        "score": image.score,
        "width": width,
        "height": height,
        "picture": _data_uri(picture, "JPEG", quality=85),
        "map": _data_uri(Image.fromarray(np.maximum(places, 0).astype(np.uint8)), "PNG"),
        "mask": _mask_uri(image.mask, (height, width)),
        **_components_data(image),
    }


def _components_data(image: RunImage) -> dict[str, Any]:
    """The component of each patch as a picture whose red and green are the lower and the higher byte, and its place."""
    from PIL import Image

    if image.components is None:
        return {}
    grid = np.load(image.components)
    colours = np.stack([grid & 255, grid >> 8, np.zeros_like(grid)], axis=-1).astype(np.uint8)
    return {
        "components": _data_uri(Image.fromarray(colours), "PNG"),
        "grid": grid.shape,
        "box": image.grid_box,
    }


def _atlas_data(entry: AtlasEntry) -> dict[str, Any]:
    crops = [base64.b64encode(path.read_bytes()).decode() for path in entry.crops]
    uris = [f"data:image/jpeg;base64,{crop}" for crop in crops]
    return {"component": entry.component, "share": entry.share, "crops": uris}


def _mask_uri(path: Path | None, size: tuple[int, int]) -> str | None:
    from PIL import Image

    if path is None:
        return None
    with Image.open(path) as mask:
        marked: Bool[np.ndarray, "H W"] = np.asarray(mask) > 0
    grey: UInt8[np.ndarray, "h w"] = block_maximum(marked, size).astype(np.uint8) * 255
    return _data_uri(Image.fromarray(grey).convert("1"), "PNG")


def _data_uri(picture: Any, format_name: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format=format_name, optimize=True, **options)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{format_name.lower()};base64,{content}"


def _ends_of(image: RunImage) -> tuple[float, float]:
    pixels = np.load(image.map, mmap_mode="r")
    return float(pixels.min()), float(pixels.max())


def _worst(scores: np.ndarray, labels: np.ndarray, label: int) -> list[int]:
    """Numbers of the normal images that score highest, or of the anomalous ones that score lowest."""
    chosen = np.flatnonzero(labels == label)
    order = np.argsort(scores[chosen] if label == ANOMALOUS else -scores[chosen], kind="stable")
    return chosen[order][:NUM_WORST].tolist()


def _image_threshold(run: Run, scores: np.ndarray, labels: np.ndarray) -> tuple[float, str]:
    """From which score on the page first calls an image anomalous, and where that number comes from."""
    if run.about["threshold"] is not None:
        return float(run.about["threshold"]), "from held-out normal images"
    if (labels == NORMAL).any():
        return float(
            np.quantile(scores[labels == NORMAL], 0.95)
        ), "the 95 % quantile of normal images here"
    return float(np.quantile(scores, 0.95)), "the 95 % quantile of all images here"


def _table(figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """Rows of figures, a column a method."""
    if figures is None:
        return None
    figures = figures.get("products", figures)
    methods = [name for name, value in figures.items() if isinstance(value, dict)]
    rows = [
        {"label": label, "cells": [_cell(figures[method], name) for method in methods]}
        for name, label in FIGURES.items()
        if any(figures[method].get(name) is not None for method in methods)
    ]
    return {"methods": [METHODS.get(name, name) for name in methods], "rows": rows}


def _confusion(figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """Rows of the confusion of several products, where there are some."""
    if figures is None or "confusion" not in figures:
        return None
    names, rows = confusion_rows(figures["confusion"])
    return {"names": names, "rows": [{"label": label, "counts": row} for label, row in rows]}


def _headline(figures: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The figures that are read first."""
    if figures is None:
        return []
    names = ("image_auroc", "pixel_auroc", "pixel_aupro", "scoring_ms")
    if "products" in figures:
        shares = {"right product": "share_right", "of none": "share_none"}
        return [
            {"label": f"normal images, {label}", "value": f"{figures[name]:.1%}", "interval": ""}
            for label, name in shares.items()
            if figures[name] is not None
        ]
    mixture = figures["mixture"]
    found = [
        (FIGURES[name], _cell(mixture, name)) for name in names if mixture.get(name) is not None
    ]
    return [{"label": label, **cell} for label, cell in found]


def _cell(figures: dict[str, Any], name: str) -> dict[str, str]:
    value = figures.get(name)
    if value is None:
        return {"value": "", "interval": ""}
    if name == "model_bytes":
        size = f"{value / 1e6:,.1f} MB" if value >= 1e5 else f"{value / 1e3:,.1f} kB"
        return {"value": size, "interval": ""}
    if name.endswith("_ms"):
        return {"value": f"{value:,.1f}", "interval": ""}
    ends: Sequence[float] = figures.get("intervals", {}).get(name, ())
    return {"value": f"{value:.3f}", "interval": " to ".join(f"{end:.3f}" for end in ends)}


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            "jaxdpmm report needs jinja2, which is not installed; install it with: pip install 'jaxdpmm[report]'."
        ) from error
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html")
