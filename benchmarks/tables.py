"""The tables of README, in Markdown, from the JSON files that other scripts write; several files are read as one.

    python benchmarks/tables.py quality quality-tiles.json quality-cells.json
    python benchmarks/tables.py against-bank quality-tiles.json quality-cells.json
    python benchmarks/tables.py memory memory.json
    python benchmarks/tables.py ideas benchmarks/results/ideas.json
    python benchmarks/tables.py hard benchmarks/results/ideas.json
    python benchmarks/tables.py contamination benchmarks/results/contamination.json
    python benchmarks/tables.py choose benchmarks/results/choose.json
    python benchmarks/tables.py inference inference.json
    python benchmarks/tables.py components benchmarks/results/inference_components.json
    python benchmarks/tables.py gpu benchmarks/results/gpu.json
    python benchmarks/tables.py gpu-gains benchmarks/results/gpu.json

Read `plots.py` for pictures of the same files.
"""

import argparse
import math
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

from choose_tables import choose_table
from gpu_tables import gpu_agreement_table, gpu_gains_table, gpu_table
from ideas_tables import hard_table, ideas_table
from table_parts import Records, grouped, interval, markdown, read_records, spread


def quality_table(records: Records) -> str:
    """Accuracy, size and time of every method and score: mean ± standard deviation over seeds.

    Intervals are the bootstrap's over test images at 95 %, their ends averaged over seeds. "processor" is the time of
    all threads, which other programs disturb less than the clock on the wall.
    """
    header = (
        *("data, method", "score", "image AUROC [95 %]", "pixel AUROC", "pixel AUPR [95 %]"),
        *("AU-PRO", "model", "scoring", "processor", "fit", "seeds"),
    )
    rows = []
    for of_data in grouped(records, "data"):
        for runs in grouped(of_data, "method", "score"):
            rows.append(
                (
                    f"{runs[0]['data']}, {runs[0]['method']}{searched(runs)}",
                    runs[0]["score"],
                    with_interval(runs, "image_auroc"),
                    spread(runs, "pixel_auroc", "{:.3f}"),
                    with_interval(runs, "pixel_aupr"),
                    spread(runs, "pixel_aupro", "{:.3f}"),
                    f"{statistics.mean(run['model_bytes'] for run in runs) / 1e6:.1f} MB",
                    spread(runs, "scoring_ms", "{:.1f}", " ms"),
                    spread(runs, "scoring_cpu_ms", "{:.1f}", " ms"),
                    spread(runs, "fit_seconds", "{:.0f}", " s"),
                    str(len(runs)),
                )
            )
    return markdown(header, rows)


def searched(runs: Records) -> str:
    """The recall of an approximate search and its settings, from the least to the most of all seeds."""
    if "settings" not in runs[0]:
        return ""
    parts = [f"recall {statistics.mean(run['recall'] for run in runs):.3f}"]
    for name in runs[0]["settings"]:
        values = [run["settings"][name] for run in runs]
        ends = dict.fromkeys((min(values), max(values)))
        parts.append(f"{name} {' to '.join(str(end) for end in ends)}")
    return f" ({', '.join(parts)})"


def with_interval(runs: Records, name: str) -> str:
    """Mean and standard deviation over seeds, and the interval over images; a dash without masks."""
    if runs[0].get(name) is None:
        return "-"
    return f"{spread(runs, name, '{:.3f}')} {interval(runs, name)}"


def against_bank_table(records: Records) -> str:
    """Points by which every method is ahead of the exact bank of the same seed, and how much cheaper it is.

    Mean ± standard deviation over seeds of the differences; time is that of all threads.
    """
    header = ("data, method", "image AUROC", "pixel AUROC", "pixel AUPR", "AU-PRO", "time", "size")
    rows = []
    for of_data in grouped(records, "data"):
        banks = {run["seed"]: run for run in of_data if run["method"] == "bank"}
        for runs in grouped(of_data, "method", "score"):
            pairs = [(run, banks[run["seed"]]) for run in runs if run["seed"] in banks]
            if runs[0]["method"] == "bank" or not pairs:
                continue
            areas = ("image_auroc", "pixel_auroc", "pixel_aupr", "pixel_aupro")
            ahead = [points_ahead(pairs, name) for name in areas]
            costs = [
                statistics.mean(bank[name] for _, bank in pairs)
                / statistics.mean(run[name] for run, _ in pairs)
                for name in ("scoring_cpu_ms", "model_bytes")
            ]
            label = f"{runs[0]['data']}, {runs[0]['method']}, {runs[0]['score']}"
            rows.append((label, *ahead, *(part_of_bank(cost) for cost in costs)))
    return markdown(header, rows)


def part_of_bank(times: float) -> str:
    """A cost that is so many times smaller than the bank's, in parts of it."""
    return f"1/{times:.3g}" if times >= 1 else f"{1 / times:.2f}"


def points_ahead(pairs: list[tuple[dict[str, Any], dict[str, Any]]], name: str) -> str:
    """Hundredths by which the first of each pair is ahead."""
    if pairs[0][1].get(name) is None:
        return "-"
    ahead = [100 * (one[name] - bank[name]) for one, bank in pairs]
    more = f" ± {statistics.stdev(ahead):.1f}" if len(ahead) > 1 else ""
    return f"{statistics.mean(ahead):+.1f}{more}"


def memory_table(records: Records) -> str:
    """Peak of host memory while learning, and size of what is kept, by number of training images."""
    methods = list(dict.fromkeys(record["method"] for record in records))
    header = ["images", *(f"{name}: peak, model" for name in methods)]
    rows = []
    for number in sorted({record["num_images"] for record in records}):
        of = {r["method"]: r for r in records if r["num_images"] == number}
        cells = (
            f"{of[name]['score_bytes'] / 1e6:,.0f} MB, {of[name]['model_bytes'] / 1e6:,.1f} MB"
            if name in of
            else "-"
            for name in methods
        )
        rows.append((f"{number:,}", *cells))
    return markdown(header, rows)


def contamination_table(records: Records) -> str:
    """Image AUROC and, where there are masks, pixel AUPR by the share of the defects that is learned from.

    Beside a mixture that leaves images out stands how many of the defective and of the normal ones it has left out.
    """
    rates = sorted({one["rate"] for one in records})
    header = ("data", "method", *(f"{100 * rate:.0f} %" for rate in rates))
    rows = []
    for runs in grouped(records, "data", "method"):
        cells = [_contaminated([one for one in runs if one["rate"] == rate]) for rate in rates]
        rows.append((runs[0]["data"], runs[0]["method"], *cells))
    return markdown(header, rows)


def _contaminated(runs: Records) -> str:
    parts = [spread(runs, name, "{:.1f}") for name in ("image_auroc", "pixel_aupr")]
    cell = " / ".join(part for part in parts if part != "-") or "-"
    if not any(run["trimmed_mixed"] + run["trimmed_normal"] for run in runs):
        return cell
    mixed, number, normal = (
        statistics.mean(run[name] for run in runs)
        for name in ("trimmed_mixed", "num_mixed", "trimmed_normal")
    )
    return f"{cell} ({mixed:.0f} of {number:.0f}, {normal:.0f} normal)"


def inference_table(records: Records) -> str:
    """Milliseconds an image of every scorer; memory banks by their number of patches."""
    rows = [
        (label_of(record), f"{record['num_rows']:,}", f"{milliseconds(record):,.2f}")
        for record in records
        if "engine" in record
    ]
    return markdown(("scorer", "components or patches", "ms per image"), rows)


def components_table(records: Records) -> str:
    """Milliseconds an image of all threads against the number of components, and the slopes of their logarithms.

    Beside each is the plain product of the same run; "missed" is the share of patches whose nearest mean a screen does
    not find.
    """
    counted = [record for record in records if "num_components" in record]
    names = list(dict.fromkeys(record["score"] for record in counted))
    rows = []
    for runs in grouped(counted, "num_components"):
        of = {run["score"]: f"{processor_milliseconds(run['ours_runs']):.1f}" for run in runs}
        product = statistics.median(processor_milliseconds(run["peer_runs"]) for run in runs)
        missed = max((run["missed"] for run in runs if "missed" in run), default=0)
        cells = (of.get(name, "-") for name in names)
        rows.append((f"{runs[0]['num_components']:,}", *cells, f"{product:.1f}", f"{missed:.4f}"))
    slopes = (f"{slope_of([run for run in counted if run['score'] == one]):.2f}" for one in names)
    rows.append(("slope", *slopes, "-", "-"))
    return markdown(("components", *names, counted[0]["peer"], "missed"), rows)


def processor_milliseconds(runs: list[tuple[float, float]]) -> float:
    """Median of all threads, of (wall, processor) seconds."""
    return 1e3 * statistics.median(processor for _, processor in runs)


def slope_of(runs: Records) -> float:
    """Of log processor time over log components."""
    counts = [math.log(run["num_components"]) for run in runs]
    times = [math.log(processor_milliseconds(run["ours_runs"])) for run in runs]
    return statistics.linear_regression(counts, times).slope


def label_of(record: dict[str, Any]) -> str:
    """What a record of `inference.py` is called: its engine, its type and number of images where they are not usual."""
    parts = [record["engine"]]
    parts += [record["dtype"]] * (record["dtype"] != "float32")
    parts += [f"{record['num_images']} images at once"] * (record["num_images"] > 1)
    return ", ".join(parts)


def milliseconds(record: dict[str, Any]) -> float:
    """Time an image of a record of `inference.py`."""
    return 1e3 * record["ours_seconds"] / record["num_images"]


TABLES: dict[str, Callable[[Records], str]] = {
    "quality": quality_table,
    "against-bank": against_bank_table,
    "memory": memory_table,
    "ideas": ideas_table,
    "hard": hard_table,
    "choose": choose_table,
    "contamination": contamination_table,
    "inference": inference_table,
    "components": components_table,
    "gpu": gpu_table,
    "gpu-gains": gpu_gains_table,
    "gpu-agreement": gpu_agreement_table,
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    print(TABLES[options.table](read_records(options.files)))


if __name__ == "__main__":
    main()
