"""The frontier: accuracy of every method of `quality.py` against what it costs, each point labelled.

Means over data sets and seeds, of the methods that were measured on all data sets that have the figure. A grey line
joins the methods that no other one beats in both accuracy and cost. Approximate searches have an empty marker at a
recall of 0.95 and a full one at 0.99. Colours are those of Okabe and Ito, which people with any kind of colour vision
tell apart. `plots.py` draws these panels.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from table_parts import Records, called, grouped

from jaxdpmm.choices import PRESETS


class Look(NamedTuple):
    """How the point of a method is drawn, and the label beside it, which an empty marker leaves to the full one."""

    label: str
    colour: str
    marker: str
    filled: bool = True


OURS, EXACT, FEW_ROWS, SEARCH, RECIPE = "#D55E00", "#000000", "#0072B2", "#009E73", "#CC79A7"
LOOKS = {
    "bank": Look("exact bank", EXACT, "s"),
    "coreset": Look("coreset 1 %", FEW_ROWS, "o"),
    "coreset-10": Look("coreset 10 %", FEW_ROWS, "o"),
    "k-means-equal": Look("k-means 1 %", FEW_ROWS, "v"),
    "ivf-flat-95": Look("IVF-Flat", SEARCH, "D", filled=False),
    "ivf-flat-99": Look("IVF-Flat", SEARCH, "D"),
    "ivf-pq-95": Look("IVF-PQ", SEARCH, "p", filled=False),
    "ivf-pq-99": Look("IVF-PQ", SEARCH, "p"),
    "hnsw-95": Look("HNSW", SEARCH, "h", filled=False),
    "hnsw-99": Look("HNSW", SEARCH, "h"),
    "patchcore": Look("PatchCore 1 %", RECIPE, "^"),
    "patchcore-10": Look("PatchCore 10 %", RECIPE, "^"),
    "anomalydino-16": Look("AnomalyDINO, 16 images", RECIPE, "P"),
    "fast": Look("fast", OURS, "*"),
    "accurate": Look("accurate", OURS, "*"),
}
SEARCHES = "faiss: empty at a recall of 0.95, full at 0.99"
AREAS = {"*": 170}  # of markers, in square points; of others:
AREA = 45
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))  # of a label
GAPS = (2, 10, 20, 32)  # dots between a marker and its label, tried in this order
FAR_BELOW = (
    6.0  # points of accuracy below the bank, beyond which a method is drawn on the lower edge
)


class Point(NamedTuple):
    """A method in a panel."""

    method: str
    cost: float
    accuracy: float


def points_of(records: Records, figure: str, cost: str, unit: float) -> list[Point]:
    """Mean cost and accuracy of each method, over the data sets with this figure and over seeds."""
    known = [run for run in records if run[figure] is not None and is_default(run)]
    num_sets = len(grouped(known, "data"))
    points = []
    for runs in grouped(known, "method"):
        sets = grouped(runs, "data")
        if len(sets) == num_sets and runs[0]["method"] in LOOKS:
            means = (mean_of_means(sets, name) for name in (cost, figure))
            points.append(Point(runs[0]["method"], next(means) / unit, 100 * next(means)))
    return points


def is_default(run: dict[str, Any]) -> bool:
    """Whether a record is of the score that its method is used with: presets have one, other methods only one."""
    preset = PRESETS.get(run["method"])
    return preset is None or run["score"] == called(preset["score"])


def mean_of_means(sets: Sequence[Records], name: str) -> float:
    """Over data sets, of the mean over seeds; all data sets count alike."""
    return statistics.mean(statistics.mean(run[name] for run in runs) for runs in sets)


def best_of(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats in both, from the cheapest to the dearest."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def draw_frontier(
    axes: Any, records: Records, figure: str, cost: str, unit: float, label: str
) -> None:
    """One panel: every method a point, its label beside it."""
    points = points_of(records, figure, cost, unit)
    best = best_of(points)
    axes.plot(
        [point.cost for point in best],
        [point.accuracy for point in best],
        color="0.75",
        drawstyle="steps-post",
        zorder=1,
    )
    seen = [point for point in points if not is_far_below(point, points)]
    lowest, highest = (of(point.accuracy for point in seen) for of in (min, max))
    axes.set_ylim(lowest - 0.25 * (highest - lowest + 1), highest + 0.2 * (highest - lowest + 1))
    shown = [
        point if point in seen else point._replace(accuracy=lowest - 0.17 * (highest - lowest + 1))
        for point in points
    ]
    labels = [label_of(point, point in seen) for point in points]
    for point in shown:
        draw_point(axes, point)
    of, name = figure.split("_")
    sets = grouped([run for run in records if run[figure] is not None], "data")
    over = f"mean of {len(sets)} sets" if len(sets) > 1 else sets[0][0]["data"]
    axes.set(xscale="log", xlabel=label, ylabel=f"{of} {name.upper()}, %, {over}")
    axes.margins(x=0.2)
    axes.text(0.02, 0.97, SEARCHES, va="top", fontsize=7, color=SEARCH, transform=axes.transAxes)
    place_labels(axes, shown, labels)


def label_of(point: Point, is_seen: bool) -> str:
    """What stands beside a point."""
    look = LOOKS[point.method]
    if not is_seen:
        return f"{look.label}: {point.accuracy:.1f}, below"
    return look.label if look.filled else ""


def is_far_below(point: Point, points: Sequence[Point]) -> bool:
    """Whether a panel that showed this point in its place would show little of the others."""
    bank = next((one.accuracy for one in points if one.method == "bank"), point.accuracy)
    return point.accuracy < bank - FAR_BELOW


def draw_point(axes: Any, point: Point) -> None:
    """The marker of a method."""
    look = LOOKS[point.method]
    face = look.colour if look.filled else "white"
    area = AREAS.get(look.marker, AREA)
    style = {"marker": look.marker, "color": face, "edgecolors": look.colour}
    axes.scatter(point.cost, point.accuracy, area, zorder=3, **style)


def place_labels(axes: Any, points: Sequence[Point], labels: Sequence[str]) -> None:
    """Write each label where it covers least: of labels that are there already, of points, of the panel's edge."""
    figure = axes.figure
    figure.canvas.draw()  # the panel has its place only now
    dots = axes.transData.transform([(point.cost, point.accuracy) for point in points])
    per_point = figure.dpi / 72
    halves = [
        AREAS.get(LOOKS[point.method].marker, AREA) ** 0.5 * per_point / 2 for point in points
    ]
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(dots, halves, strict=True)]
    of_points = sorted(zip(dots, halves, points, labels, strict=True), key=lambda one: -one[0][1])
    for (x, y), half, point, label in of_points:
        colour, place = LOOKS[point.method].colour, (point.cost, point.accuracy)
        text = axes.annotate(label, place, (0, 0), textcoords="offset points", fontsize=8)
        text.set(color=colour, zorder=4)
        extent = text.get_window_extent()
        size = extent.width, extent.height
        boxes = [box_at(x, y, size, side, half + gap) for gap in GAPS for side in SIDES]
        box = min(boxes, key=lambda box: covered(box, taken, axes.bbox.extents))
        taken.append(box)
        text.set_position(((box[0] - x) / per_point, (box[1] - y) / per_point))
        if label and boxes.index(box) >= len(SIDES):
            ends = axes.transData.inverted().transform([(x, y), nearest_of(box, x, y)])
            axes.plot(*ends.T, color=colour, linewidth=0.6, zorder=2)


def nearest_of(box: tuple[float, float, float, float], x: float, y: float) -> tuple[float, float]:
    """The point of a box that is nearest to a point."""
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])


def box_at(
    x: float, y: float, size: tuple[float, float], side: tuple[int, int], step: float
) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a label on one side of a point, in dots."""
    width, height = size
    left = x + side[0] * step - width * (1 - side[0]) / 2
    bottom = y + side[1] * step - height * (1 - side[1]) / 2
    return left, bottom, left + width, bottom + height


def covered(
    box: tuple[float, float, float, float], taken: Sequence[Any], panel: Sequence[float]
) -> float:
    """Area of a box that lies on others or outside the panel, which counts ten times."""
    inside = overlap(box, panel)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(overlap(box, other) for other in taken) + 10 * (area - inside)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


COSTS = {
    "scoring_cpu_ms": (1.0, "scoring, processor ms per image"),
    "model_bytes": (1e6, "held in memory for scoring, MB"),
}
FRONTIER: tuple[Callable[[Any, Records], None], ...] = tuple(
    partial(draw_frontier, figure=figure, cost=cost, unit=unit, label=label)
    for figure in ("pixel_aupr", "image_auroc")
    for cost, (unit, label) in COSTS.items()
)
