"""The nearest of many means of real patches: groups, of which each patch visits some, against a screen of all means.

Means are those of the patches nearest to as many patches drawn at random, looked for by the library's own search. Time
is that of 1,024 patches of one image; recall is the share of all held-out patches with a mean among NUM_FOUND that is
as near as the nearest of all.

    python benchmarks/groups.py --cache FOLDER --json benchmarks/results/groups.json

FOLDER holds the stores of features that `quality.py --cache FOLDER` leaves, `NAME-train` and `NAME-other`. What it
shows: `benchmarks/README.md`.
"""

import argparse
import pathlib
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import interleave, write_report

from jaxdpmm.distances import squared_distances
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.scoring.scorer import in_tiles
from jaxdpmm.scoring.screen import screen_of
from jaxdpmm.scoring.shortlist import nearest_rows

COMPONENTS = (3000, 16384, 30000, 10**5)
NUM_PATCHES, NUM_IMAGES, NUM_FOUND, NUM_RUNS = 1024, 8, 6, 15
ROUNDING = 1e-5  # of a squared distance between unit vectors
SEARCHES = {"groups": 1, "screen": 10**9}  # vectors from which on there are groups
ROWS_AT_ONCE = 512

prepared = jax.jit(lambda vectors, least: screen_of(vectors, least_grouped=least), static_argnums=1)


@jax.jit
def found_of(screen: Any, x: jax.Array) -> jax.Array:
    """The numbers of NUM_FOUND vectors per patch."""
    return nearest_rows(screen, x, NUM_FOUND)


@jax.jit
def least_of_all(vectors: jax.Array, x: jax.Array) -> jax.Array:
    """Squared distance to the nearest of all vectors."""
    return jnp.min(squared_distances(x, vectors), axis=1)


def unit_rows(store: FeatureStore, start: int, stop: int) -> np.ndarray:
    """Rows of a store divided by their norms."""
    rows = np.asarray(store[start:stop], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def means_of(rows: np.ndarray, number: int) -> np.ndarray:
    """As many means of patches that are alike, of unit norm."""
    seeds = rows[np.random.default_rng(0).permutation(len(rows))[:number]]
    screen = prepared(jnp.asarray(seeds), SEARCHES["groups"])
    labels = np.asarray(in_tiles(jax.jit(lambda s, x: nearest_rows(s, x, 1)[:, 0]), screen, rows))
    order = np.argsort(labels, kind="stable")
    named, first = np.unique(labels[order], return_index=True)
    means = seeds.copy()
    means[named] = np.add.reduceat(rows[order], first, axis=0)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def distances_of(means: np.ndarray, found: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Squared distance of each patch to the nearest of the means found for it."""
    parts = []
    for start in range(0, len(x), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        differences = means[found[rows]] - x[rows, None]
        parts.append(np.min(np.sum(differences**2, axis=2), axis=1))
    return np.concatenate(parts)


def compared(rows: np.ndarray, x: np.ndarray, number: int) -> dict[str, Any]:
    """Time and recall of both searches among as many means."""
    means = means_of(rows, number)
    least = np.asarray(in_tiles(least_of_all, jnp.asarray(means), x, ROWS_AT_ONCE))
    entry: dict[str, Any] = {"num_components": number, "num_patches": NUM_PATCHES}
    screens = {name: prepared(jnp.asarray(means), at) for name, at in SEARCHES.items()}
    image = jnp.asarray(x[:NUM_PATCHES])
    timed = interleave(
        *(lambda screen=screen: found_of(screen, image) for screen in screens.values()), NUM_RUNS
    )
    for (name, screen), runs in zip(screens.items(), timed, strict=True):
        found = np.asarray(in_tiles(found_of, screen, x, NUM_PATCHES))
        more = distances_of(means, found, x) - least
        entry[f"{name}_ms"] = 1e3 * statistics.median(cpu for _, cpu in runs)
        entry[f"{name}_recall"] = float(np.mean(more < ROUNDING))
        entry[f"{name}_largest_error"] = float(more.max())  # of a squared distance, twice a cosine
    return entry


def main() -> None:
    """Both searches for each number of means, a line for each and a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder of stores")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the report there")
    options = parser.parse_args()
    train = max(options.cache.glob("*-train"), key=lambda path: FeatureStore(path).shape[0])
    store, other = (
        FeatureStore(path) for path in (train, train.with_name(train.name[:-6] + "-other"))
    )
    rows = unit_rows(store, 0, store.shape[0])
    starts = np.linspace(0, other.shape[0] - NUM_PATCHES, NUM_IMAGES).astype(int)
    x = np.concatenate([unit_rows(other, start, start + NUM_PATCHES) for start in starts])
    entries = []
    for number in COMPONENTS:
        entries.append(compared(rows, x, number))
        print({name: round(value, 4) for name, value in entries[-1].items()}, flush=True)
    if options.json:
        write_report(options.json, entries, num_train=len(rows), num_queries=len(x))


if __name__ == "__main__":
    main()
