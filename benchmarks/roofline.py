"""How fast a score could be at best: operations and bytes from XLA's own cost analysis, and their time on an H100.

The floor is the longer of two times, operations / peak and bytes / bandwidth, at the figures of the data sheet
(`floors.py`), or with `--rates FILE` at those that `gpu.py` measured. On a machine with a GPU, and with `--measure`
anywhere, the measured time stands beside it. What is not in the floor: launching kernels, some 10 microseconds each.
XLA counts the body of a loop once, whatever its length; operations are therefore counted in JAX's own program as well,
and the larger number is taken.

    python benchmarks/roofline.py --json roofline.json
    python benchmarks/roofline.py --rates benchmarks/results/gpu.json
"""

import argparse
import json
import math
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
from floors import H100, Rates, floor_seconds, measured_rates
from harness import write_report
from inference import DIM, NUM_PATCHES, as_type, bank_rows, fitted, patches

from jaxdpmm.detection.banks import memory_bank
from jaxdpmm.scoring import SCORERS

MOVES = frozenset(
    {
        "broadcast_in_dim",
        "concatenate",
        "convert_element_type",
        "copy",
        "dynamic_slice",
        "dynamic_update_slice",
        "gather",
        "iota",
        "pad",
        "reshape",
        "select_n",
        "slice",
        "squeeze",
        "transpose",
    }
)
NUM_RUNS = 11


def kernels():
    """Name, scorer and prepared parameters of what is looked at."""
    for covariance, number, names in (
        ("diagonal", 500, tuple(SCORERS)),
        ("full", 100, ("predictive", "mahalanobis")),
    ):
        mixture, posterior = fitted(covariance, number)
        for name in names:
            scorer = SCORERS[name](mixture)
            yield f"{name}-{covariance}-k{number}", scorer, jax.jit(scorer.prepare)(posterior)
    rows = jnp.asarray(bank_rows(10**5))
    scorer = memory_bank(chunk_size=len(rows))  # the analysis counts the body of a loop once
    yield "bank-1e5", scorer, jax.jit(scorer.prepare)(rows)


def analyse(scorer, params, x, measure: bool, rates: Rates = H100) -> dict[str, float]:
    """Operations, bytes and floors of one kernel, and its measured time."""
    compiled = jax.jit(scorer.score).lower(params, x).compile()
    costs = compiled.cost_analysis()
    counted = operations(jax.make_jaxpr(scorer.score)(params, x).jaxpr)
    flops, moved = max(costs.get("flops", 0.0), counted), costs.get("bytes accessed", 0.0)
    least = (
        sum(leaf.nbytes for leaf in jax.tree.leaves((params, x))) + x.shape[0] * x.dtype.itemsize
    )
    kinds = ("bfloat16",) if x.dtype == jnp.bfloat16 else ("float32", "tf32")
    floors = {f"floor_us_{kind}": 1e6 * floor_seconds(flops, least, kind, rates) for kind in kinds}
    found = {"flops": flops, "flops_xla": costs.get("flops", 0.0), "flops_counted": counted}
    found |= {"bytes_accessed": moved, "bytes_least": least, **floors}
    return found | ({"measured_us": 1e6 * seconds(compiled, params, x)} if measure else {})


def operations(jaxpr) -> float:
    """Operations of a program: products two per term, all else one per number.

    Bodies of loops count as often as they run, of branches (one for each platform, say) the largest.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        inner = [value for value in equation.params.values() if hasattr(value, "jaxpr")]
        if branches := equation.params.get("branches", ()):
            total += max(operations(branch.jaxpr) for branch in branches)
            continue
        times = equation.params.get("length", 1)
        total += times * sum(operations(program.jaxpr) for program in inner)
        size = math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            size *= 2 * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        if not inner and equation.primitive.name not in MOVES:
            total += size
    return total


def seconds(compiled, params, x) -> float:
    """Median time of a warm run."""
    jax.block_until_ready(compiled(params, x))
    times = []
    for _ in range(NUM_RUNS):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(params, x))
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Print the table, write `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="also time it, GPU or not")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--rates", type=pathlib.Path, metavar="FILE", help="of `gpu.py`")
    options = parser.parse_args()
    rates = read_rates(options.rates) if options.rates else H100
    measure = options.measure or jax.default_backend() == "gpu"
    print(f"{'kernel':<32} {'GFLOP':>9} {'MB':>9} {'floor':>13} {'measured':>12}")
    records = []
    for name, scorer, params in kernels():
        for dtype in (jnp.float32, jnp.bfloat16):
            if dtype == jnp.bfloat16 and not name.startswith(("cosine", "euclidean", "bank")):
                continue  # densities are sums of large numbers that cancel
            typed, x = as_type((params, patches(1)), dtype)
            found = {
                "name": f"{name}-{jnp.dtype(dtype).name}",
                **analyse(scorer, typed, x, measure, rates),
            }
            records.append(found)
            print(row(found), flush=True)
    if options.json:
        settings = {"num_patches": NUM_PATCHES, "dim": DIM, "rates": rates._asdict()}
        write_report(options.json, records, **settings)


def read_rates(path: pathlib.Path) -> Rates:
    """The rates in a file of `gpu.py`.

    Raises:
        SystemExit: its record "device" is not whole.
    """
    rates = measured_rates(json.loads(path.read_text())["records"])
    if rates is None:
        raise SystemExit(
            f"{path} must hold the measured rates, got none; run gpu.py --only device."
        )
    return rates


def row(found: dict) -> str:
    """One line of the table; the floor is that of the fastest type that keeps the precision."""
    floor = min(value for name, value in found.items() if name.startswith("floor"))
    measured = f"{found['measured_us']:9.1f} us" if "measured_us" in found else ""
    sizes = f"{found['flops'] / 1e9:9.3f} {found['bytes_least'] / 1e6:9.2f}"
    return f"{found['name']:<32} {sizes} {floor:10.2f} us {measured}"


if __name__ == "__main__":
    main()
