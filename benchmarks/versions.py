"""This checkout against another one, operation by operation: is anything slower than before?

    git worktree add ../before COMMIT
    python benchmarks/versions.py --other ../before --json benchmarks/results/versions.json

Each side is a process of its own that has compiled; both take turns, so that whatever else the machine does falls on
both, and the ratio is the median of `--runs` pairs: the other's seconds over ours, above 1 where this checkout is
faster. Only what both sides have under one public name is timed.
"""

import argparse
import importlib
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import wall_and_processor_seconds, write_report

import jaxdpmm
from jaxdpmm.detection.banks import memory_bank
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.base import Layout
from jaxdpmm.scoring import SCORERS

HERE = pathlib.Path(__file__).resolve()
DIM = 384


def points(num_points: int, num_clusters: int) -> Any:
    """Unit-norm patches about centres on the sphere, float32."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((num_clusters, DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    x = centres[generator.integers(num_clusters, size=num_points)]
    x = x + 0.02 * generator.standard_normal(x.shape)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def sweep(
    family: str, num_points: int, num_components: int, backend: Callable = jaxdpmm.cavi
) -> Callable:
    """One sweep of a backend that goes on from the last."""
    x = points(num_points, num_components)
    mixture = jaxdpmm.Mixture(getattr(jaxdpmm.families, family)(DIM), num_components)
    prior = jaxdpmm.default_prior(mixture, x)
    start = jaxdpmm.initialize(
        mixture, prior, x, key=jax.random.key(0), sample_size=4096, num_iterations=2
    )
    return stepping(backend(mixture, prior), start, x, mixture.family)


def stepping(algorithm: Any, start: Any, x: Any, family: Any) -> Callable:
    """The compiled step of an algorithm, each call a sweep."""
    (batch,) = ArraySource(x, family).sweep()
    step = jax.jit(algorithm.step, donate_argnums=1)
    state = jax.tree.map(jnp.copy, algorithm.init(start, Layout(1, len(x), float(len(x)))))
    held = [state]

    def once() -> Any:
        held[0], info = step(jax.random.key(0), held[0], batch)
        return info.objective

    return once


def scoring(family: str, score: str, num_components: int) -> Callable:
    """Scores of one image of 1,024 patches."""
    x = points(4 * num_components + 4096, num_components)
    mixture = jaxdpmm.Mixture(getattr(jaxdpmm.families, family)(DIM), num_components)
    prior = jaxdpmm.default_prior(mixture, x[:4096])
    start = jaxdpmm.initialize(
        mixture, prior, x, key=jax.random.key(0), sample_size=len(x), num_iterations=1
    )
    scorer = SCORERS[score](mixture)
    params, compiled = jax.jit(scorer.prepare)(start), jax.jit(scorer.score)
    image = jnp.asarray(x[:1024])
    return lambda: compiled(params, image)


def bank() -> Callable:
    """One image against an exact memory bank of 100,000 patches."""
    scorer = memory_bank()
    params = jax.jit(scorer.prepare)(jnp.asarray(points(100_000, 100)))
    compiled, image = jax.jit(scorer.score), jnp.asarray(points(1024, 100))
    return lambda: compiled(params, image)


def starting() -> Callable:
    """k-means++ and ten Lloyd steps on 10,000 points."""
    x = points(10_000, 100)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianSpherical(DIM), 100)
    prior = jaxdpmm.default_prior(mixture, x)
    return lambda: jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0)).counts


def candidates(mixture: Any, prior: Any) -> Any:
    """CAVI with the candidate E-step."""
    name = "jaxdpmm.inference.{}sparse"
    make = found("candidates", name.format("local_steps."), name.format(""))
    return jaxdpmm.cavi(mixture, prior, make())


def gibbs(mixture: Any, prior: Any) -> Any:
    """Blocked Gibbs."""
    name = "jaxdpmm.inference.{}gibbs"
    return found("gibbs", name.format("backends."), name.format(""))(mixture, prior)


def found(name: str, *modules: str) -> Any:
    """A function from the first of some modules that is there: checkouts differ in where things lie."""
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            continue
    raise ImportError(f"none of {', '.join(modules)} is here")


CASES: dict[str, Callable[[], Callable]] = {
    "sweep, diagonal, 65,536 points, K = 128": lambda: sweep("GaussianDiagonal", 65_536, 128),
    "sweep, spherical, 65,536 points, K = 128": lambda: sweep("GaussianSpherical", 65_536, 128),
    "sweep, full, 8,192 points, K = 32": lambda: sweep("GaussianFull", 8_192, 32),
    "sweep, full, candidates, 16,384 points, K = 64": lambda: sweep(
        "GaussianFull", 16_384, 64, candidates
    ),
    "sweep, low rank, 8,192 points, K = 32": lambda: sweep("GaussianLowRank", 8_192, 32),
    "Gibbs sweep, full, 1,000 points, K = 50": lambda: sweep("GaussianFull", 1_000, 50, gibbs),
    "Gibbs sweep, diagonal, 100,000 points, K = 100": lambda: sweep(
        "GaussianDiagonal", 100_000, 100, gibbs
    ),
    "score, cosine, K = 500": lambda: scoring("GaussianDiagonal", "cosine", 500),
    "score, predictive, diagonal, K = 500": lambda: scoring("GaussianDiagonal", "predictive", 500),
    "score, nearest predictive, full, K = 100": lambda: scoring(
        "GaussianFull", "nearest_predictive", 100
    ),
    "score, exact bank of 100,000 patches": bank,
    "k-means start, 10,000 points, K = 100": starting,
}


def work() -> None:
    """One side: reads the number of a case or "run", answers with "ready" or wall and processor seconds."""
    cases, once = list(CASES.values()), None
    for line in sys.stdin:
        if line.strip() == "run" and once is not None:
            print(*wall_and_processor_seconds(once), flush=True)
        else:
            once = cases[int(line)]()
            for _ in range(3):
                jax.block_until_ready(once())
            print("ready", flush=True)


class Side:
    """A process that works in one checkout."""

    def __init__(self, checkout: pathlib.Path):
        path = f"import sys; sys.path[:0] = [{str(checkout)!r}, {str(HERE.parent)!r}]"
        command = [sys.executable, "-c", f"{path}; import versions; versions.work()"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )

    def ask(self, question: str) -> str:
        """The answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a side ended while it was asked for {question}; see above")
        return answer

    def run(self) -> tuple[float, float]:
        """Wall and processor seconds of one run."""
        wall, cpu = map(float, self.ask("run").split())
        return wall, cpu


def compare(number: int, sides: tuple[Side, Side], num_runs: int) -> dict[str, Any]:
    """Medians of both sides, and of their ratios pair by pair."""
    for side in sides:
        side.ask(str(number))
    pairs = [(sides[0].run(), sides[1].run()) for _ in range(num_runs)]
    ratios = [[other[k] / ours[k] for ours, other in pairs if ours[k]] for k in range(2)]
    return {
        "name": list(CASES)[number],
        "ours_seconds": statistics.median(ours[0] for ours, _ in pairs),
        "other_seconds": statistics.median(other[0] for _, other in pairs),
        "ratio": statistics.median(ratios[0]),
        "cpu_ratio": statistics.median(ratios[1]) if ratios[1] else None,
        "num_runs": num_runs,
    }


def main() -> None:
    """Parse the options, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", type=pathlib.Path, required=True, help="the other checkout")
    parser.add_argument("--runs", type=int, default=11, help="pairs of runs of each case")
    parser.add_argument("--only", action="append", default=[], help="cases whose names hold this")
    parser.add_argument("--json", type=pathlib.Path, help="write the report there")
    options = parser.parse_args()
    sides = Side(HERE.parents[1]), Side(options.other.resolve())
    results = []
    for number, name in enumerate(CASES):
        if options.only and not any(part in name for part in options.only):
            continue
        results.append(compare(number, sides, options.runs))
        last = results[-1]
        print(
            f"{name:<50} {last['ours_seconds']:8.4f} s {last['other_seconds']:8.4f} s "
            f"{last['ratio']:6.2f} {last['cpu_ratio'] or 0:6.2f}",
            flush=True,
        )
        if options.json:
            write_report(options.json, results)


if __name__ == "__main__":
    main()
