"""Features that no backbone of the library has made, from files to a report: every command on them, and its figures.

The features are those of `examples/other_features.py`, colours and gradients of patches, written as `.npz` files.

    python benchmarks/own_features.py --data path/to/metal_plate --json own_features.json
"""

import argparse
import json
import pathlib
import runpy
import tempfile
import time
from typing import Any

from harness import write_report
from options import parser_of

from jaxdpmm import cli

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "other_features.py"
FIGURES = ("image_auroc", "pixel_auroc", "pixel_aupr", "pixel_aupro")


def main() -> None:
    """Print the figures of every data set; write `--json`."""
    options = _options()
    records = []
    for path in options.data:
        with tempfile.TemporaryDirectory() as folder:
            records.append(of_data(path, pathlib.Path(folder)))
        print(records[-1])
    if options.json:
        write_report(options.json, records)


def of_data(path: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
    """Figures of one data set, through the commands alone."""
    data, model, result = folder / "features", folder / "model", folder / "result.json"
    write_features = runpy.run_path(str(EXAMPLE))["write_features"]
    seconds = {"features": _timed(lambda: write_features(path, data))}
    for name, arguments in {
        "fit": [data, "--output", model, "--json", result],
        "score": [model, data / "test", "--output", folder / "scores"],
        "evaluate": [model, data, "--output", folder / "run", "--json", folder / "figures.json"],
        "report": [folder / "run"],
    }.items():
        seconds[name] = _timed(lambda name=name, given=arguments: _run(name, *given))
    fitted, found = (json.loads(one.read_text()) for one in (result, folder / "figures.json"))
    return {
        "data": path.name,
        "backbone": fitted["config"]["backbone"],
        "num_components": fitted["num_components"],
        "num_train": found["num_train"],
        "num_test": found["num_test"],
        **{
            method: {name: found[method].get(name) for name in FIGURES}
            for method in ("mixture", "bank")
        },
        "report_bytes": (folder / "run" / "report.html").stat().st_size,
        "seconds": seconds,
    }


def _run(*arguments: Any) -> None:
    if cli.run([str(one) for one in arguments]):
        raise SystemExit(f"{arguments[0]} failed")


def _timed(work: Any) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--data", action="append", type=pathlib.Path, required=True, help="folder; repeatable"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
