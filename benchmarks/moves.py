"""Held-out density of a fit with births, merges and deletions against the best of ten fits without.

    python benchmarks/moves.py --features STORE --json moves.json

Both sides have the same prior and data. The one starts from a single component; the others start from k-means++ with
ten different keys, at the number of components that the first found. `--features` names a feature store or
an .npy file of real patch features; without it that record is left out. Seconds include compilation.
"""

import pathlib
import time
from typing import Any

import jax
import numpy as np
from harness import write_report
from options import parser_of

import jaxdpmm
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.inference import fit_adaptive

NUM_RESTARTS = 10
NUM_EPOCHS = 150


def blobs(num_points: int = 8_000, dim: int = 5, num_clusters: int = 20) -> np.ndarray:
    """Round clusters of unit spread, some of which overlap."""
    random = np.random.default_rng(0)
    centres = 4 * random.standard_normal((num_clusters, dim))
    labels = random.integers(num_clusters, size=num_points)
    return (centres[labels] + random.standard_normal((num_points, dim))).astype(np.float32)


def directions(num_points: int = 8_000, dim: int = 64, num_clusters: int = 30) -> np.ndarray:
    """Unit-norm points about directions, of very different numbers."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((num_clusters, dim))
    share = random.dirichlet(np.full(num_clusters, 0.7))
    x = centres[random.choice(num_clusters, num_points, p=share)]
    x = x + 0.4 * random.standard_normal((num_points, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def patches(path: pathlib.Path, num_points: int = 12_000) -> np.ndarray:
    """A sample of real patch features."""
    rows: Any = np.load(path, mmap_mode="r") if path.suffix == ".npy" else FeatureStore(path)
    chosen = np.random.default_rng(2).choice(rows.shape[0], num_points, replace=False)
    return np.asarray(rows[np.sort(chosen)], np.float32)


def compare(name: str, family: jaxdpmm.Family, x: np.ndarray, guess: int) -> dict[str, Any]:
    """One data set, half of it held out; `guess` components share the volume of the data in the prior."""
    order = np.random.default_rng(3).permutation(len(x))
    x, held_out = x[order[: len(x) // 2]], x[order[len(x) // 2 :]]
    prior = jaxdpmm.default_prior(jaxdpmm.Mixture(family, guess), x)

    def start(num_components: int, seed: int):
        mixture = jaxdpmm.Mixture(family, num_components)
        return mixture, jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(seed))

    def density(mixture, posterior) -> float:
        return float(np.mean(jaxdpmm.log_predictive_density(mixture, posterior, held_out)))

    clock = time.perf_counter()
    one, posterior = start(1, 0)
    mixture, result = fit_adaptive(one, prior, x, posterior, num_epochs=NUM_EPOCHS)
    seconds = time.perf_counter() - clock
    restarts, clock = [], time.perf_counter()
    for seed in range(NUM_RESTARTS):
        again, posterior = start(mixture.num_components, seed)
        fitted = jaxdpmm.fit(
            jaxdpmm.cavi(again, prior), x, posterior, num_epochs=NUM_EPOCHS
        ).posterior
        restarts.append(density(again, fitted))
    return {
        "name": name,
        "family": repr(family),
        "num_points": len(x),
        "num_components": mixture.num_components,
        "num_sweeps": len(result.history),
        "moves_density": density(mixture, result.posterior),
        "restart_densities": restarts,
        "best_restart_density": max(restarts),
        "moves_seconds": seconds,
        "restarts_seconds": time.perf_counter() - clock,
    }


def main() -> None:
    """Compare on all data sets and print a table."""
    parser = parser_of(__doc__)
    parser.add_argument("--features", type=pathlib.Path, help="feature store or .npy of patches")
    options = parser.parse_args()
    cases = [
        ("blobs-full", jaxdpmm.GaussianFull(5), blobs(), 20),
        ("directions-diagonal", jaxdpmm.GaussianDiagonal(64), directions(), 30),
    ]
    if options.features:
        x = patches(options.features)
        cases.append(("patches-diagonal", jaxdpmm.GaussianDiagonal(x.shape[1]), x, 100))
    records = []
    for case in cases:
        records.append(compare(*case))
        last = records[-1]
        print(
            f"{last['name']:<22} {last['num_components']:4d} components, {last['num_sweeps']} sweeps: "
            f"moves {last['moves_density']:.4f} nats per point in {last['moves_seconds']:.0f} s, best of "
            f"{NUM_RESTARTS} {last['best_restart_density']:.4f} in {last['restarts_seconds']:.0f} s",
            flush=True,
        )
    if options.json:
        write_report(options.json, records)


if __name__ == "__main__":
    main()
