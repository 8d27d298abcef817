"""The tables of `ideas.py`: figures without and with each idea, and false positives on hard normal images.

Read `tables.py` next, which prints them.
"""

import statistics
from collections.abc import Iterator
from typing import Any

from table_parts import Records, grouped, markdown, spread

PARTS = {"seen": "kinds that are known", "unseen": "other kinds"}
MOVED = "parts in a wrong place"
SITES = {"alone": "each alone", "even": "all as one, evenly"}  # in place of the weighed merge
AREAS = ("image_auroc", "pixel_auroc", "pixel_aupr")
RATES = {
    "without": "left out",
    "with": "kept",
    "fused": "kept, fused with the density",
    "fused_by_atypical": "left out, p-values among them",
}


def ideas_table(records: Records) -> str:
    """Image AUROC, pixel AUROC and pixel AUPR without and with each idea, means over seeds.

    Known anomalies have further rows for kinds that are known and for others, the context for parts in a wrong place,
    sites for other ways to use them. What changes no score has none.
    """
    header = ("data", "idea", "without", "with", "ms per image added", "seeds")
    rows = []
    measured = [one for one in records if "skipped" not in one and one["idea"] != "separation"]
    every = [part for one in measured for part in _parts(one)]
    for runs in grouped(every, "data", "idea"):
        cells = (
            " / ".join(spread([one[of] for one in runs], name, "{:.3f}") for name in AREAS)
            for of in ("without", "with")
        )
        added = spread(runs, "ms_added", "{:.1f}")
        rows.append((runs[0]["data"], runs[0]["idea"], *cells, added, str(len(runs))))
    return markdown(header, rows)


def hard_table(records: Records) -> str:
    """False positives in 100 hard normal images where 95 % of the anomalous ones are found, means over seeds."""
    rows = []
    for runs in grouped([one for one in records if "hard_fpr95" in one], "data"):
        cells = (100 * statistics.mean(one["hard_fpr95"][name] for one in runs) for name in RATES)
        rows.append((runs[0]["data"], *(f"{cell:.0f}" for cell in cells), str(len(runs))))
    return markdown(("data", *RATES.values(), "seeds"), rows)


def _parts(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A record, and what it says of parts of the images or of other ways, in the form of records."""
    yield record
    key = {name: record[name] for name in ("data", "seed")}
    for part, text in PARTS.items():
        if PARTS.keys() <= record.keys():
            yield {**key, **record[part], "idea": f"{record['idea']}, {text}"}
    if "moved" in record:
        yield {**key, **record["moved"], "idea": f"{record['idea']}, {MOVED}"}
    for way, text in SITES.items():
        if record["idea"] == "sites":
            without = record["without"]
            yield {**key, "idea": f"sites, {text}", "without": without, "with": record[way]}
