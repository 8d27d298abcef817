"""What every benchmark script shares: options, an interleaved clock, a table and a JSON file.

    @record("diag-k128", peer="scikit-learn")
    def diagonal(quick: bool) -> Case:
        ...
        return Case(ours=lambda: step(x), peer=lambda: mixture.fit(x), extras={"num_points": N})

    if __name__ == "__main__":
        main()

Both sides take turns (ours, peer, ours, peer, ...) after a warm-up of each, so that whatever else
the machine does falls on both; medians of 5 runs or more, of fewer where one takes minutes. ratio =
peer / ours in wall time, above 1 if we are faster; cpu_ratio is the same in processor time of all
threads, which other programs disturb less, but which does not see how well a side uses its threads.
A record whose case raises `MemoryError` is skipped and says so.

Against NumPy, SciPy or scikit-learn, unset OPENBLAS_CORETYPE and OPENBLAS_NUM_THREADS first: either
may slow the peer.
"""

import argparse
import contextlib
import gc
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

MIN_RUNS = 5

_PACKAGES = (
    *("jax", "jaxlib", "flax", "numpyro", "numpy", "scipy", "scikit-learn", "gmmx"),
    *("torch", "transformers", "onnxruntime"),
)


class Case(NamedTuple):
    """The two sides of a comparison.

    Attributes:
        ours: Does our work once. What it returns is waited for, if it is a tree of JAX arrays.
        peer: Does the peer's work once; None where there is no peer.
        extras: Further entries of the record: sizes, threads, accuracy.
        num_runs: Runs of each side without `--quick`; fewer where one takes long.
        warm_up: Whether each side runs once before; not where that takes minutes, beside which compiling is nothing.
    """

    ours: Callable[[], Any]
    peer: Callable[[], Any] | None = None
    extras: dict[str, Any] = {}  # noqa: RUF012, never changed
    num_runs: int = 2 * MIN_RUNS + 1
    warm_up: bool = True


class _Record(NamedTuple):
    name: str
    peer: str
    in_quick: bool
    build: Callable[[bool], Case]


_records: list[_Record] = []


def record(name: str, *, peer: str = "", in_quick: bool = True):
    """Register a function of `quick` that builds a case.

    Args:
        name: What `--only` takes.
        peer: What we compare with.
        in_quick: Whether `--quick` alone runs it; too long a case needs its name as well.
    """

    def register(build: Callable[[bool], Case]) -> Callable[[bool], Case]:
        _records.append(_Record(name, peer, in_quick, build))
        return build

    return register


def main() -> None:
    """Run the registered records as the command line says; print a table, write `--json`."""
    options = _parse_options()
    print(
        f"{'record':<28} {'peer':<14} {'ours':>10} {'peer':>10} {'ratio':>7} {'cpu':>7} {'peak':>12}"
    )
    results = []
    for entry in _records:
        if entry.name in options.only or (not options.only and entry.in_quick >= options.quick):
            try:
                results.append(_measure(entry, options.quick))
            except MemoryError as error:
                print(f"{entry.name:<28} skipped: {error}", flush=True)
            else:
                print(_row(results[-1]), flush=True)
                if options.json:
                    write_report(options.json, results)


def write_report(path: pathlib.Path, records: list[dict[str, Any]], **more: Any) -> None:
    """Records with the machine and the versions that they were measured with, and more by name, as JSON."""
    write_json(path, {"machine": machine(), "versions": versions(), **more, "records": records})


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    """A JSON file that is the old one or the new one at any moment, never half of it: a run may be cut."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)


def interleave(
    ours: Callable[[], Any], peer: Callable[[], Any] | None, num_runs: int, warm_up: bool = True
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(Wall, processor) seconds of each run, the sides taking turns after a warm-up of each."""
    times: list[list[tuple[float, float]]] = [[], []]
    for _ in range(warm_up + num_runs):
        for measured, side in zip(times, (ours, peer), strict=True):
            if side is not None:
                measured.append(wall_and_processor_seconds(side))
    return times[0][warm_up:], times[1][warm_up:]


def peak_memory_bytes() -> int:
    """The largest resident memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def num_cores() -> int:
    """Cores that this process may use; what every side should get as its number of threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the figures were measured on; the memory and the exact model on Linux only."""
    import jax

    report = {"cpu": platform.processor() or platform.machine(), "num_cores": num_cores()}
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE)
        report["cpu"] = names[0] if names else report["cpu"]
        report["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    device = jax.devices()[0]
    return report | {"system": platform.platform(), "device": device.device_kind}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed here."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _measure(entry: _Record, quick: bool) -> dict[str, Any]:
    case = entry.build(quick)
    num_runs = min(MIN_RUNS, case.num_runs) if quick else case.num_runs
    ours, peer = interleave(case.ours, case.peer, num_runs, case.warm_up)
    our_wall, our_cpu = _medians(ours)
    peer_wall, peer_cpu = _medians(peer)
    return {
        "name": entry.name,
        "peer": entry.peer,
        "ours_seconds": our_wall,
        "peer_seconds": peer_wall,
        "ratio": peer_wall / our_wall if peer_wall else None,
        "cpu_ratio": peer_cpu / our_cpu if peer_cpu and our_cpu else None,
        "ours_runs": ours,
        "peer_runs": peer,
        "peak_memory_bytes": peak_memory_bytes(),
        **case.extras,
    }


def _medians(runs: list[tuple[float, float]]) -> list[Any]:
    return [statistics.median(column) for column in zip(*runs, strict=True)] or [None, None]


def wall_and_processor_seconds(side: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of one run on the wall's clock and of all threads; its JAX arrays are waited for."""
    import jax

    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(side())
    return time.perf_counter() - wall, time.process_time() - cpu


def _row(result: dict[str, Any]) -> str:
    columns = [f"{result['name']:<28} {result['peer']:<14} {result['ours_seconds']:8.4f} s"]
    if result["ratio"] is not None:
        columns.append(f"{result['peer_seconds']:8.4f} s {result['ratio']:7.2f}")
        columns.append(f"{result['cpu_ratio'] or 0:7.2f}")
    return " ".join(columns) + f" {result['peak_memory_bytes'] / 2**20:8.0f} MiB"


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [entry.name for entry in _records]
    parser.add_argument(
        "--only", action="append", default=[], choices=names, help="this record (repeatable)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs: a minute in all")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the report there")
    return parser.parse_args()
