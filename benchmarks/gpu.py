"""Everything that this library claims of a GPU, measured in one run of less than six minutes.

On a machine with a GPU, in the root of a copy of the repository, this one command is all there is to run:

    python3 benchmarks/gpu.py --json benchmarks/results/gpu.json

It needs JAX, Flax and NumPyro, measures torch, transformers and gmmx where they are, and never reaches for a network.
The script itself puts the repository on the path, and `benchmarks/packages` last, so that packages of the machine win.
What such a machine may lack is carried in that folder, which git ignores; before, where there is a package index:

    pip install --no-deps --only-binary=:all: --python-version 3.12 -t benchmarks/packages -r benchmarks/carried.txt

Records run in the order of importance (`on_gpu/plan.py`); every figure is in the file as soon as it is known. What
fails says so there in one sentence and the next goes on; what outlasts its budget is ended. Run again, the script
measures what is missing or failed; `--again` measures all anew. `--quick` has sizes for a rehearsal on two cores:

    python benchmarks/gpu.py --quick --json benchmarks/results/gpu_rehearsal.json

Afterwards `python benchmarks/tables.py TABLE FILE` makes the tables `gpu-gains`, `gpu-agreement` and `gpu` (all times).
Figures are medians of warm runs, data on the device, waited for; `on_gpu/cases.py` says which two times are taken.
"""

import argparse
import pathlib
import sys

from on_gpu.driver import Limits, run_plan
from on_gpu.plan import PLAN, QUICK, Record, Sizes
from on_gpu.report import Report
from on_gpu.worker import measure

SECONDS = 345.0  # of six minutes, less the start of Python and the end of a worker
FOLDER = pathlib.Path(__file__).resolve().parent


def chosen(report: Report, only: list[str], again: bool, seconds: float) -> list[Record]:
    """The records to measure, those named or all, less those that are in the file; budgets as a share of `seconds`."""
    wanted = [record for record in PLAN if not only or record.name in only]
    left = [record for record in wanted if again or not report.is_done(record.name)]
    return [record._replace(seconds=record.seconds * seconds / SECONDS) for record in left]


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [record.name for record in PLAN]
    parser.add_argument("--json", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="sizes for two processor cores")
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="NAME")
    parser.add_argument("--again", action="store_true", help="also what the file holds")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="of the run; budgets grow with it (%(default)s)",
    )
    options = parser.parse_args()
    sys.path[1:1] = [str(FOLDER.parent)]  # the worker gets the same path
    sys.path.append(str(FOLDER / "packages"))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = Report(options.json, {"quick": options.quick})
    records = chosen(report, options.only, options.again, options.seconds)
    if not records:
        print(f"{options.json} holds all of it already; --again measures anew")
    sizes = QUICK if options.quick else Sizes()
    run_plan(records, sizes, report, Limits(options.seconds), measure)


if __name__ == "__main__":
    main()
