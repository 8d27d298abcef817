"""The tables of README, in Markdown, from the JSON files that other scripts write; several files are read as one.

    python benchmarks/tables.py quality quality-tiles.json quality-cells.json
    python benchmarks/tables.py memory memory.json
    python benchmarks/tables.py ideas benchmarks/results/ideas.json
    python benchmarks/tables.py inference inference.json
    python benchmarks/tables.py gpu benchmarks/results/gpu.json
    python benchmarks/tables.py gpu-gains benchmarks/results/gpu.json

Read `plots.py` for pictures of the same files.
"""

import argparse
import json
import pathlib
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Records = Sequence[dict[str, Any]]

AGREEMENT = {
    "predictive_max_nats": "predictive",
    "plug_in_max_nats": "plug-in",
    "expected_max_nats": "expected",
    "nearest_predictive_max_nats": "nearest predictive",
    "cosine_max": "cosine",
    "euclidean_max": "Euclidean",
    "mahalanobis_max": "Mahalanobis",
}


def read_records(paths: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """The records of all files, one after the other."""
    return [one for path in paths for one in json.loads(path.read_text())["records"]]


def quality_table(records: Records) -> str:
    """Accuracy, size and time of every method and score: mean ± standard deviation over seeds.

    The interval of image AUROC is the bootstrap's over test images at 95 %, its ends averaged over seeds.
    """
    header = (
        "data, method",
        "score",
        "image AUROC [95 % interval]",
        "pixel AUROC",
        "pixel AUPR",
        "pixel AUPRO",
        "model",
        "scoring",
        "fit",
        "seeds",
    )
    rows = []
    for runs in grouped(records, "data", "method", "score"):
        areas = (spread(runs, f"pixel_{name}", "{:.3f}") for name in ("auroc", "aupr", "aupro"))
        rows.append(
            (
                f"{runs[0]['data']}, {runs[0]['method']}",
                runs[0]["score"],
                f"{spread(runs, 'image_auroc', '{:.3f}')} {interval(runs, 'image_auroc')}",
                *areas,
                f"{statistics.mean(run['model_bytes'] for run in runs) / 1e6:.1f} MB",
                spread(runs, "scoring_ms", "{:.1f}", " ms"),
                spread(runs, "fit_seconds", "{:.0f}", " s"),
                str(len(runs)),
            )
        )
    return markdown(header, rows)


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


def ideas_table(records: Records) -> str:
    """Image AUROC, pixel AUROC and pixel AUPR without and with each idea, means over seeds."""
    header = ("data", "idea", "without", "with", "ms per image added")
    rows = []
    for runs in grouped([one for one in records if "skipped" not in one], "data", "idea"):
        cells = (
            " / ".join(spread([one[of] for one in runs], name, "{:.3f}") for name in runs[0][of])
            for of in ("without", "with")
        )
        rows.append((runs[0]["data"], runs[0]["idea"], *cells, spread(runs, "ms_added", "{:.1f}")))
    return markdown(header, rows)


def inference_table(records: Records) -> str:
    """Milliseconds an image of every scorer; memory banks by their number of patches."""
    rows = [
        (label_of(record), f"{record['num_rows']:,}", f"{milliseconds(record):,.2f}")
        for record in records
        if "engine" in record
    ]
    return markdown(("scorer", "components or patches", "ms per image"), rows)


def label_of(record: dict[str, Any]) -> str:
    """What a record of `inference.py` is called: its engine, its type and number of images where they are not usual."""
    parts = [record["engine"]]
    parts += [record["dtype"]] * (record["dtype"] != "float32")
    parts += [f"{record['num_images']} images at once"] * (record["num_images"] > 1)
    return ", ".join(parts)


def milliseconds(record: dict[str, Any]) -> float:
    """Time an image of a record of `inference.py`."""
    return 1e3 * record["ours_seconds"] / record["num_images"]


def gpu_table(records: Records) -> str:
    """Every time of `gpu.py` beside its floor at the rates that the same run measured, or why there is none.

    The floor of "library" is that of full float32, below which cosines and the backbone may go, in TF32.
    """
    header = ("on", "what", "size", "type", "whose", "one call", "in a queue", "times its floor")
    rows = [
        (
            called(record["device"]),
            record["what"],
            record.get("size", ""),
            record.get("precision", ""),
            record.get("by", ""),
            *times_of(record),
        )
        for record in records
        if {"seconds", "published_seconds", "error"} & record.keys()
    ]
    return markdown(header, rows)


def times_of(record: dict[str, Any]) -> tuple[str, str, str]:
    """Time of a call, of one in a queue, and how many times its floor that is; an error in place of the first."""
    if "error" in record:
        return record["error"].replace("|", "/"), "-", "-"
    if "published_seconds" in record:
        return in_ms(record["published_seconds"]), "-", "-"
    queued, floor = record["queued_seconds"], record.get("floor_seconds")
    if not floor:
        over = "-"
    elif floor < record["launch_seconds"]:
        over = "below a launch"
    else:
        over = f"{queued / floor:.1f}"
    return in_ms(record["seconds"]), in_ms(queued), over


def gpu_gains_table(records: Records) -> str:
    """How many times faster the mixtures score than the exact banks, by the number of rows of a bank.

    The fastest of each kind, in whatever type, from calls in a queue. Milliseconds per image are seconds per 1,000
    images. A ratio has a star where a call takes less than ten launches: it is then the launch that limits the mixture.
    """
    timed = [record for record in records if "queued_seconds" in record and "images" in record]
    banks = [record for record in timed if record["what"] == "bank"]
    mixtures = [record for record in timed if record["what"].startswith("mixture")]
    sizes = sorted({bank["rows"] for bank in banks})
    rows = []
    for at_once in grouped(banks, "device", "images"):
        device, images = at_once[0]["device"], at_once[0]["images"]
        best = {runs[0]["rows"]: fastest(runs) for runs in grouped(at_once, "rows")}
        times = (per_image(best[size]) if size in best else "-" for size in sizes)
        rows.append((called(device), "exact bank, ms per image", str(images), "", *times))
        own = [run for run in mixtures if (run["device"], run["images"]) == (device, images)]
        for runs in grouped(own, "what", "by", "rows"):
            run = fastest(runs)
            ratios = (faster(run, best[size]) if size in best else "-" for size in sizes)
            name = f"{run['what']}, K = {run['rows']:,}, {run['by']}: faster by"
            rows.append((called(device), name, str(images), per_image(run), *ratios))
    header = ("on", "what", "images at once", "ms per image", *(f"{size:,} rows" for size in sizes))
    return markdown(header, rows)


def gpu_agreement_table(records: Records) -> str:
    """Largest differences of float32 on the device from float64 on a CPU, of every family.

    In nats, of a point's log density, and per point of the bound; distances are between 0 and 2.
    """
    header = ("on", "family", "size", "products", "ELBO", "largest fall of it", *AGREEMENT.values())
    rows = []
    for record in records:
        if record["what"].startswith("agreement, ") and "error" not in record:
            names = ("elbo_nats_per_point", "elbo_largest_fall_nats_per_point", *AGREEMENT)
            figures = (f"{record[name]:.1e}" if name in record else "-" for name in names)
            family = record["what"].removeprefix("agreement, ")
            labels = (called(record["device"]), family, record["size"], record["precision"])
            rows.append((*labels, *figures))
    return markdown(header, rows)


def fastest(runs: Records) -> dict[str, Any]:
    """The run of the shortest call in a queue."""
    return min(runs, key=lambda run: run["queued_seconds"])


def per_image(run: dict[str, Any]) -> str:
    """Time per image, and the type it was taken in."""
    return f"{in_ms(run['queued_seconds'] / run['images'])} ({run['precision']})"


def faster(mixture: dict[str, Any], bank: dict[str, Any]) -> str:
    """Times as fast."""
    star = " *" * (mixture["queued_seconds"] < 10 * mixture.get("launch_seconds", 0))
    ratio = f"{bank['queued_seconds'] / mixture['queued_seconds']:.2g}"
    return f"{float(ratio):,g} x{star}"


def called(device: str) -> str:
    """What a device is called in a table: a run on a processor proves the script and no speed."""
    return "CPU rehearsal" if device == "cpu" else device


def in_ms(seconds: float) -> str:
    """Milliseconds with three digits that count."""
    return f"{float(f'{1e3 * seconds:.3g}'):,g} ms"


def grouped(records: Records, *names: str) -> list[list[dict[str, Any]]]:
    """Records that agree in some entries, in the order in which they first appear."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in names), []).append(record)
    return list(groups.values())


def spread(runs: Records, name: str, form: str, unit: str = "") -> str:
    """Mean, and the standard deviation where there are several; a dash where there is nothing."""
    values = [run[name] for run in runs if run.get(name) is not None]
    if not values:
        return "-"
    mean = form.format(statistics.mean(values))
    more = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return mean + more + unit


def interval(runs: Records, name: str) -> str:
    """Bootstrap interval of a figure, its ends averaged over runs."""
    low, high = (statistics.mean(run["intervals"][name][end] for run in runs) for end in (0, 1))
    return f"[{low:.3f}, {high:.3f}]"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


TABLES: dict[str, Callable[[Records], str]] = {
    "quality": quality_table,
    "memory": memory_table,
    "ideas": ideas_table,
    "inference": inference_table,
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
