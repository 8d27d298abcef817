"""Pictures of the JSON files that other scripts write, a panel for each kind, four for a frontier.

Several files of a kind are read as one.

    python benchmarks/plots.py --inference inference.json --output scoring_time.png
    python benchmarks/plots.py --quality tiles.json cells.json --output quality.png
    python benchmarks/plots.py --frontier tiles.json cells.json --output frontier.png
    python benchmarks/plots.py --components inference.json --output components.png
    python benchmarks/plots.py --memory memory.json --output memory.png

Read `tables.py` for the same in numbers.
"""

import argparse
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

from frontier import FRONTIER
from table_parts import Records, grouped, read_records
from tables import milliseconds

SIZE, RESOLUTION = (6.0, 3.6), 110  # inches per panel, dots per inch
WIDEST, SMALL = 3, (4.4, 4.2)  # panels in one row; size of those of more rows
BANKS = {"bank": "exact bank", "faiss": "faiss, exact", "coreset": "coreset of 1 %"}
MARKERS = "osD^vPX*<>phH8d1234+x|_."  # as many as a picture has methods, and more
STYLES = (":", "--", "-.")


def draw_growth(axes: Any, records: Records) -> None:
    """Milliseconds an image against the size of the bank; a mixture does not grow with it, so its line is level.

    Only what scores one image at a time.
    """
    alone = [record for record in records if record.get("num_images") == 1 and "engine" in record]
    banks = [record for record in alone if "bank_size" in record]
    for number, runs in enumerate(grouped(banks, "engine", "dtype")):
        runs.sort(key=lambda run: run["bank_size"])
        name = BANKS[runs[0]["engine"]] + in_type(runs[0])
        sizes, times = [run["bank_size"] for run in runs], [milliseconds(run) for run in runs]
        axes.plot(sizes, times, marker=MARKERS[number], label=name)
    level = sorted((r for r in alone if "bank_size" not in r), key=milliseconds, reverse=True)
    for number, run in enumerate(level):
        name = f"{run['engine']}, K = {run['num_rows']}{in_type(run)}"
        colour, style = f"C{(number + len(BANKS) + 1) % 10}", STYLES[number % len(STYLES)]
        axes.axhline(milliseconds(run), color=colour, linestyle=style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="normal patches in the bank")
    axes.set(ylabel="scoring, ms per image of 1,024 patches")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_components(axes: Any, records: Records) -> None:
    """Milliseconds per image against the number of components of `inference.py`, and a line of slope one half."""
    counted = [record for record in records if "num_components" in record]
    for number, runs in enumerate(grouped(counted, "score")):
        runs.sort(key=lambda run: run["num_components"])
        counts, times = [r["num_components"] for r in runs], [milliseconds(r) for r in runs]
        axes.plot(counts, times, marker=MARKERS[number], label=runs[0]["score"])
    plain = 1e3 * statistics.median(record["peer_seconds"] for record in counted)
    axes.axhline(plain, color="0.5", linestyle=":", label=counted[0]["peer"])
    ends = [min(r["num_components"] for r in counted), max(r["num_components"] for r in counted)]
    axes.plot(ends, [plain * (end / 3000) ** 0.5 for end in ends], "0.5", label="slope 1/2")
    axes.set(xscale="log", yscale="log", xlabel="components")
    axes.set(ylabel="scoring, ms per image of 1,024 patches")
    axes.legend(fontsize=7)


def draw_accuracy(axes: Any, records: Records) -> None:
    """Image AUROC against scoring time, one colour a data set: means over seeds, 95 % intervals over test images."""
    figure = "image_auroc"
    methods = [
        (runs[0]["method"], runs[0]["score"]) for runs in grouped(records, "method", "score")
    ]
    for colour, of_data in enumerate(grouped(records, "data")):
        for runs in grouped(of_data, "method", "score"):
            point = statistics.mean(run["scoring_ms"] for run in runs)
            mean = statistics.mean(run[figure] for run in runs)
            ends = [statistics.mean(r["intervals"][figure][end] for r in runs) for end in (0, 1)]
            marker = MARKERS[methods.index((runs[0]["method"], runs[0]["score"]))]
            bars = [[max(mean - ends[0], 0)], [max(ends[1] - mean, 0)]]
            axes.errorbar(point, mean, bars, color=f"C{colour}", marker=marker, elinewidth=0.7)
        axes.plot([], [], color=f"C{colour}", linewidth=4, label=of_data[0]["data"])
    for marker, (method, score) in zip(MARKERS, methods, strict=False):
        name = (
            f"{method}, {score}" if method.startswith(("mixture", "finite", "coverage")) else method
        )
        axes.plot([], [], color="0.3", marker=marker, linestyle="", label=name)
    axes.set(xscale="log", xlabel="scoring, ms per image", ylabel="image AUROC")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_memory(axes: Any, records: Records) -> None:
    """Peak memory of a process that learns and scores, beyond what it took to start, against the training images."""
    for marker, runs in zip(MARKERS, grouped(records, "method"), strict=False):
        runs.sort(key=lambda run: run["num_images"])
        numbers = [run["num_images"] for run in runs]
        axes.plot(
            numbers,
            [run["score_bytes"] / 1e6 for run in runs],
            marker=marker,
            label=runs[0]["method"],
        )
    axes.set(xscale="log", yscale="log", xlabel="training images of 1,024 patches")
    axes.set(ylabel="peak memory of learning and scoring, MB")
    axes.legend()


def in_type(record: dict[str, Any]) -> str:
    """The type of the numbers, where it is not the usual one."""
    return "" if record["dtype"] == "float32" else f", {record['dtype']}"


PANELS: dict[str, tuple[Callable[[Any, Records], None], ...]] = {
    "inference": (draw_growth,),
    "components": (draw_components,),
    "quality": (draw_accuracy,),
    "frontier": FRONTIER,
    "memory": (draw_memory,),
}


def draw(panels: dict[str, Records], output: pathlib.Path) -> None:
    """One picture with the panels of each kind of records; more than three panels are drawn two in a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = [(one, records) for kind, records in panels.items() for one in PANELS[kind]]
    in_one_row = len(drawn) <= WIDEST
    columns = len(drawn) if in_one_row else 2
    num_rows = -(-len(drawn) // columns)
    width, height = SIZE if in_one_row else SMALL
    figure, axes = pyplot.subplots(
        num_rows,
        columns,
        figsize=(width * columns, height * num_rows),
        squeeze=False,
        layout="constrained",
    )
    for axis, (draw_panel, records) in zip(axes.flat, drawn, strict=False):
        draw_panel(axis, records)
        axis.grid(alpha=0.3)
    figure.savefig(output, dpi=RESOLUTION)


def main() -> None:
    """Draw what is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in PANELS:
        parser.add_argument(f"--{kind}", nargs="+", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="PNG")
    options = parser.parse_args()
    given = {kind: getattr(options, kind) for kind in PANELS if getattr(options, kind)}
    if not given:
        parser.error("at least one of --inference, --quality and --memory must be given")
    draw({kind: read_records(files) for kind, files in given.items()}, options.output)


if __name__ == "__main__":
    main()
