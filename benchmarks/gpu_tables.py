"""The tables of what `gpu.py` writes: all times, gains over memory banks, agreement with float64.

Read `tables.py` next, which prints them.
"""

from typing import Any

from table_parts import Records, grouped, markdown

AGREEMENT = {
    "predictive_max_nats": "predictive",
    "plug_in_max_nats": "plug-in",
    "expected_max_nats": "expected",
    "nearest_predictive_max_nats": "nearest predictive",
    "cosine_max": "cosine",
    "euclidean_max": "Euclidean",
    "mahalanobis_max": "Mahalanobis",
}


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
