"""The table that README begins with: five figures of each preset beside an exact memory bank and a coreset.

    python benchmarks/headline.py

A test holds README's table against what this prints, so that no figure stands there that is not in the records.
Read `tables.py` for all other tables.
"""

import pathlib
import statistics

from tables import Records, grouped, interval, markdown, read_records, spread

RECORDS = pathlib.Path(__file__).with_name("results") / "quality_tiles.json"
METHODS = {
    "fast": "`fast`, the default",
    "accurate": "`accurate`",
    "bank": "exact memory bank",
    "coreset": "coreset of 1 % (PatchCore)",
}
"""Columns of the table, by the method's name in records."""
ROWS = {
    "image AUROC [95 % interval]": lambda runs: (
        f"{spread(runs, 'image_auroc', '{:.3f}')} {interval(runs, 'image_auroc')}"
    ),
    "pixel AUROC": lambda runs: spread(runs, "pixel_auroc", "{:.3f}"),
    "pixel AUPR": lambda runs: spread(runs, "pixel_aupr", "{:.3f}"),
    "time to score an image": lambda runs: spread(runs, "scoring_ms", "{:.1f}", " ms"),
    "size of what is kept": lambda runs: (
        f"{statistics.mean(run['model_bytes'] for run in runs) / 1e6:.1f} MB"
    ),
}


def headline(records: Records, data: str = "magnetic_tile") -> str:
    """The table, in Markdown, and how long learning takes: means over seeds, with standard deviations of several.

    A method that was scored in several ways has the figures of the first, which is its default.

    Args:
        records: of `quality.py`.
        data: the data set to take.
    """
    chosen = []
    for method in METHODS:
        runs = [run for run in records if (run["data"], run["method"]) == (data, method)]
        chosen.append(grouped(runs, "score")[0])
    rows = [(name, *map(cell, chosen)) for name, cell in ROWS.items()]
    times = (spread(runs, "fit_seconds", "{:.0f}", " s") for runs in chosen)
    learning = f"Learning from the features takes, from left to right, {', '.join(times)}."
    return f"{markdown(('', *METHODS.values()), rows)}\n\n{learning}"


if __name__ == "__main__":
    print(headline(read_records([RECORDS])))
