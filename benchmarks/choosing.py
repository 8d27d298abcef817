"""The tables of the site's page on choosing, from records: start and score, presets by data set.

    python benchmarks/choosing.py

A test holds `examples/site/choosing.md` against what this prints.
"""

import pathlib

from headline import METHODS
from tables import Records, grouped, markdown, read_records, spread

RESULTS = pathlib.Path(__file__).with_name("results")
STARTS = {
    "coverage": "coverage, no sweep",
    "coverage-sweeps": "coverage, four sweeps",
    "mixture": "k-means, K = 200, diagonal",
}
QUALITY = ["quality_tiles", "quality_cells", "quality_metal_plate", "quality_bottle"]
AREAS = ("image_auroc", "pixel_auroc", "pixel_aupr")
AREA_NAMES = ("image AUROC", "pixel AUROC", "pixel AUPR")


def starts_table(records: Records) -> str:
    """Accuracy and time of each start and score on tiles."""
    rows = [
        (STARTS[runs[0]["method"]], f"`{runs[0]['score']}`", *areas_of(runs), time_of(runs))
        for runs in grouped(records, "method", "score")
        if runs[0]["method"] in STARTS
    ]
    return markdown(("start", "score", *AREA_NAMES, "ms per image"), rows)


def presets_table(records: Records) -> str:
    """Accuracy and time of the presets on each data set, with the score that each preset has."""
    rows = [
        (
            runs[0]["data"],
            METHODS[runs[0]["method"]],
            *areas_of(runs),
            time_of(runs, "scoring_cpu_ms"),
        )
        for by_method in grouped(records, "data", "method")
        for runs in grouped(by_method, "score")[:1]
        if runs[0]["method"] in METHODS
    ]
    return markdown(("data", "method", *AREA_NAMES, "processor ms per image"), rows)


def areas_of(runs: Records) -> list[str]:
    """Areas below curves, means over seeds."""
    return [spread(runs, area, "{:.3f}") for area in AREAS]


def time_of(runs: Records, clock: str = "scoring_ms") -> str:
    """Milliseconds per image, from features to scores."""
    return spread(runs, clock, "{:.1f}")


if __name__ == "__main__":
    for table, names in (
        (starts_table, ["coverage_tiles"]),
        (presets_table, QUALITY),
    ):
        print(table(read_records([RESULTS / f"{name}.json" for name in names])), end="\n\n")
