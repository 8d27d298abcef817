"""Cost of a sweep and peak memory against the number of points, read from disk.

    python benchmarks/scale.py --folder /somewhere/with/8/GB --json scale.json

One feature store of float16 rows is written and read in growing parts, each in a process of its own, so that
its peak memory is known. The sweep is that of `cavi` with diagonal covariance; `slope` is that of log seconds over log
points, 1 if cost is linear. The file is in the page cache after writing where memory allows; the reading itself is
in the seconds. `--start` measures a start for coverage instead: seeds, a Lloyd step and the posterior of all points, of
256 spherical components. `--fit NAME` measures a whole fit in memory.

    python benchmarks/scale.py --folder /somewhere/with/8/GB --start --json scale.json
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
from harness import peak_memory_bytes, write_report
from options import parser_of

import jaxdpmm
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.inference import LocalStep, dense
from jaxdpmm.inference.local_steps.sparse import candidates

DIM, NUM_COMPONENTS = 384, 16
BATCH_SIZE = 12_500  # small, since the first of a sweep is read while nothing computes
PIECE = 62_500
SIZES = (100_000, 312_500, 1_000_000, 2_500_000, 10_000_000)
START_SIZES = (100_000, 1_000_000, 10_000_000)
NUM_COVERING = 256  # components of a start for coverage


def write_store(folder: pathlib.Path, num_points: int) -> None:
    """Unit-norm clusters in pieces; what is there already is kept."""
    centres = np.random.default_rng(0).standard_normal((NUM_COMPONENTS, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    with FeatureWriter(folder, settings={"benchmark": "scale"}, dtype="float16") as writer:
        for number in range(-(-num_points // PIECE)):
            if str(number) in writer:
                continue
            random = np.random.default_rng(number)
            x = centres[random.integers(NUM_COMPONENTS, size=PIECE)]
            x = x + 0.02 * random.standard_normal(x.shape, np.float32)
            writer.append(x.astype(np.float16), str(number))


def measure(folder: pathlib.Path, num_points: int) -> dict[str, Any]:
    """Seconds of the fastest sweep after the first, and the peak memory of this process."""
    store = FeatureStore(folder)
    rows = store.part(0, len(store) // num_points)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(DIM), NUM_COMPONENTS)
    sample = np.asarray(rows[:20_000], np.float32)
    prior = jaxdpmm.default_prior(mixture, sample)
    start = jaxdpmm.initialize(mixture, prior, sample, key=jax.random.key(0))
    clock = time.perf_counter()
    seconds: list[float] = []

    def note(epoch, _):
        nonlocal clock
        seconds.append(time.perf_counter() - clock)
        clock = time.perf_counter()

    jaxdpmm.fit(
        jaxdpmm.cavi(mixture, prior),
        rows,
        start,
        num_epochs=3
        if num_points > 1_000_000
        else 10,  # of short ones more, whatever else disturbs
        tolerance=0,
        batch_size=BATCH_SIZE,
        callback=note,
    )
    return {
        "name": f"scale-{num_points}",
        "num_points": len(rows),
        "sweep_seconds": min(seconds[1:]),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def measure_start(folder: pathlib.Path, num_points: int) -> dict[str, Any]:
    """Seconds of a start for coverage, of the second one where points are few, and the peak memory of this process."""
    store = FeatureStore(folder)
    rows = store.part(0, len(store) // num_points)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianSpherical(DIM), NUM_COVERING)
    prior = jaxdpmm.default_prior(mixture, np.asarray(rows[:20_000], np.float32))
    seconds = []
    for _ in range(1 + (num_points < START_SIZES[-1])):  # the first one compiles
        clock = time.perf_counter()
        posterior = jaxdpmm.initialize(
            mixture, prior, rows, key=jax.random.key(0), start="coverage", one_unit=True
        )
        counts = np.asarray(posterior.counts)
        seconds.append(time.perf_counter() - clock)
    return {
        "name": f"start-{num_points}",
        "num_points": len(rows),
        "num_components": NUM_COVERING,
        "num_counted": float(counts.sum()),
        "start_seconds": seconds[-1],
        "peak_memory_bytes": peak_memory_bytes(),
    }


def whole_fit(family: jaxdpmm.Family, local_step: LocalStep, name: str) -> dict[str, Any]:
    """Seconds of a fit to its tolerance, start and compilation included: K = 500 on 307,200 points."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((500, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    x = centres[random.integers(500, size=307_200)]
    x = x + np.float32(0.02) * random.standard_normal(x.shape, np.float32)
    clock = time.perf_counter()
    mixture = jaxdpmm.Mixture(family, 500)
    prior = jaxdpmm.default_prior(mixture, x[::30])
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    algorithm = jaxdpmm.cavi(mixture, prior, local_step)
    result = jaxdpmm.fit(algorithm, x, start, tolerance=1e-2)
    return {
        "name": name,
        "fit_seconds": time.perf_counter() - clock,
        "num_sweeps": len(result.history),
        "converged": result.converged,
        "num_active": result.history[-1].num_active,
        "peak_memory_bytes": peak_memory_bytes(),
    }


FITS = {
    "fit-diag-k500": (jaxdpmm.GaussianDiagonal(DIM), dense),
    "fit-full-k500-candidates": (jaxdpmm.GaussianFull(DIM), candidates()),
}


def main() -> None:
    """Write, measure each size in a process of its own, fit the slope."""
    parser = parser_of(__doc__)
    parser.add_argument("--folder", type=pathlib.Path, help="for the feature store")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="largest number of points")
    parser.add_argument("--start", action="store_true", help="measure a start for coverage")
    parser.add_argument("--fit", choices=FITS, help="measure this fit of 307,200 points only")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.fit or options.folder):
        parser.error("--folder is needed; it takes 8 GB for 10 million points")
    if options.fit:
        record = whole_fit(*FITS[options.fit], options.fit)
        print(record)
        if options.json:
            write_report(options.json, [record])
        return
    if options.one:
        of_one = measure_start if options.start else measure
        print(json.dumps(of_one(options.folder, options.one)))
        return
    what = "start_seconds" if options.start else "sweep_seconds"
    wanted = START_SIZES if options.start else SIZES
    sizes = [size for size in wanted if size <= options.largest]
    write_store(options.folder, sizes[-1])
    records = []
    for size in sizes:
        command = [sys.executable, __file__, "--folder", str(options.folder), "--one", str(size)]
        command += ["--start"] * options.start
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        records.append(json.loads(output.splitlines()[-1]))
        last = records[-1]
        print(
            f"{size:>10} points {last[what]:8.3f} s {last['peak_memory_bytes'] / 2**30:6.2f} GiB",
            flush=True,
        )
    if len(records) > 1:
        logs = np.log([[r["num_points"], r[what]] for r in records])
        slope = float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])
        records.append({"name": "scale-slope", "slope": slope})
        print(f"slope {slope:.3f}")
    if options.json:
        write_report(options.json, records)


if __name__ == "__main__":
    main()
