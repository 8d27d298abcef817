"""Whether the device computes what the formulas say: ELBO, densities and scores against float64 on a CPU.

Every family is fitted from the same start on the same points in both, here in float32 as users get it, and in a process
of its own in float64 on the CPU of the same machine. Read `device.py` next.
"""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxdpmm
from jaxdpmm.families import GaussianLowRank, VonMisesFisher
from jaxdpmm.grouping import label_statistics
from jaxdpmm.model import Batch, Mixture, Prior, global_update
from jaxdpmm.scoring import SCORERS
from on_gpu.cases import Fact, sentence
from on_gpu.plan import Sizes
from on_gpu.precision import asked_for

NUM_SWEEPS = 3
SPREAD = 0.003  # of unit-norm patch features within a cluster
DENSITIES = ("predictive", "nearest_predictive", "plug_in", "expected")

FAMILIES = {
    "diagonal": jaxdpmm.GaussianDiagonal,
    "full": jaxdpmm.GaussianFull,
    "spherical": jaxdpmm.GaussianSpherical,
    "low rank": functools.partial(GaussianLowRank, rank=8),
    "von Mises-Fisher": VonMisesFisher,
}


def cases(sizes: Sizes) -> Iterator[Fact]:
    """One entry per family: the largest differences, in nats where the figure is a log density or a bound.

    Families are compiled side by side, which is most of the work.
    """
    size = "{:,} x {}, K = {}".format(*sizes.agreement)
    pool = ThreadPoolExecutor(len(FAMILIES))
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "float64.npz"
        reference = subprocess.Popen(**_command(target, sizes.agreement))
        try:
            found = {
                (family, precision): pool.submit(values, family, *sizes.agreement, precision)
                for precision in sizes.precisions
                for family in FAMILIES
            }
            for (family, precision), coming in found.items():
                labels = {"what": f"agreement, {family}", "by": "jaxdpmm", "precision": precision}
                find = functools.partial(compare, family, coming, target, reference)
                yield Fact(labels | {"size": size}, find)
        finally:  # where the budget was not enough
            reference.kill()
            pool.shutdown(wait=False, cancel_futures=True)


def compare(
    family: str, coming: Future, target: pathlib.Path, reference: subprocess.Popen
) -> dict[str, Any]:
    """Differences of one family between what comes here and the reference.

    Raises:
        RuntimeError: the reference failed.
    """
    found = coming.result()
    if reference.wait() != 0:
        raise RuntimeError(f"the reference process ended with status {reference.returncode}")
    with np.load(target) as stored:
        if f"{family}/error" in stored:
            raise RuntimeError(f"the reference failed with {stored[f'{family}/error']}")
        wanted = {name: stored[f"{family}/{name}"] for name in found}
    steps = np.diff(found["elbo"])
    report = {
        "elbo_nats_per_point": float(np.max(np.abs(found["elbo"] - wanted["elbo"]))),
        "elbo_largest_fall_nats_per_point": float(max(0.0, -steps.min())),
    }
    for name in found.keys() - {"elbo"}:
        difference = np.abs(found[name] - wanted[name])
        unit = "_nats" if name in DENSITIES else ""
        report[f"{name}_max{unit}"] = float(difference.max())
    return dict(sorted(report.items()))


def values(
    family: str, num_points: int, dim: int, num_components: int, precision: str = "library"
) -> dict[str, np.ndarray]:
    """The ELBO per point after each sweep, and every score that the family has, in JAX's default type."""
    mixture = Mixture(FAMILIES[family](dim), num_components)
    x, labels = points(num_points, dim, num_components)
    x = jnp.asarray(x, float)
    prior = jaxdpmm.default_prior(mixture, x)
    with asked_for(precision):
        found = jax.jit(_fit_and_score, static_argnums=0)(mixture, prior, x, labels)
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def points(num_points: int, dim: int, num_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit-norm float32 points, and the labels to start from: a tenth of them wrong."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((num_clusters, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = random.integers(num_clusters, size=num_points)
    x = centres[labels] + SPREAD * random.standard_normal((num_points, dim))
    wrong = random.random(num_points) < 0.1
    labels = np.where(wrong, random.integers(num_clusters, size=num_points), labels)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def _fit_and_score(
    mixture: Mixture, prior: Prior, x: jax.Array, labels: jax.Array
) -> dict[str, jax.Array]:
    ones = jnp.ones(len(x), x.dtype)
    stats = label_statistics(mixture, labels, x, ones, prior.offset)
    total = jnp.asarray(len(x), x.dtype)
    batch = Batch(x, ones, jnp.zeros((), jnp.int32), jnp.asarray(True), total)
    algorithm = jaxdpmm.cavi(mixture, prior)

    def sweep(state, _):
        state, info = algorithm.step(jax.random.key(0), state, batch)
        return state, info.objective / len(x)

    start = algorithm.init(global_update(mixture, prior, stats))
    state, objectives = jax.lax.scan(sweep, start, length=NUM_SWEEPS)
    posterior = algorithm.posterior(state)
    found = {"elbo": objectives}
    for name, make in SCORERS.items():
        try:
            scorer = make(mixture)
            found[name] = scorer.score(scorer.prepare(posterior), x)
        except TypeError:  # a score that this family has not
            continue
    return found


def _command(target: pathlib.Path, sizes: tuple[int, int, int]) -> dict[str, Any]:
    """Arguments of the process that computes the reference."""
    own = {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    path = {"PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    arguments = [str(target), *map(str, sizes)]
    return {
        "args": [sys.executable, "-m", "on_gpu.agreement", *arguments],
        "env": os.environ | own | path,
    }


def main() -> None:
    """Write the reference: families side by side, since most of the time goes to compiling."""
    target, *sizes = sys.argv[1:]
    numbers = [int(size) for size in sizes]

    def of_family(name: str) -> dict[str, Any]:
        try:
            return values(name, *numbers)
        except Exception as error:
            return {"error": np.asarray(sentence(error))}

    with ThreadPoolExecutor(len(FAMILIES)) as pool:
        found = zip(FAMILIES, pool.map(of_family, FAMILIES), strict=True)
        arrays = {f"{name}/{part}": value for name, of in found for part, value in of.items()}
    np.savez(target, **arrays)


if __name__ == "__main__":
    main()
