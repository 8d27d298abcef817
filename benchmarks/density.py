"""Seconds until a fit reaches a held-out density, start and compilation included, on real patch features.

    python benchmarks/density.py --features STORE --json density.json
    python benchmarks/density.py --features STORE --kind diag --num-points 200000 --without gmmx --json large.json

Each method starts as its users start it (k-means; the published algorithm with random patches) and the clock stops
while the density of the held-out patches is taken after each sweep: the predictive density here, the density of the
point estimates for the others. The target is what scikit-learn has after its last sweep, minus 0.1 nats per patch.
gmmx (EM in JAX) is measured if it is installed; it holds N x K x D numbers, too many for large N. With `--compiled` a
second run finds what the first has compiled, as on any machine where JAX's cache is on.
"""

import argparse
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import write_report
from moves import patches
from options import parser_of
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

import jaxdpmm
from jaxdpmm.inference import ArraySource, clustered_prior, dense
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.online_em import point_readout
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.local_steps.sparse import candidates
from jaxdpmm.inference.paper import PAPER_RIDGE, PAPER_RIDGE_FULL, paper_preset, paper_start
from jaxdpmm.model import log_joint

FAMILIES = {"diag": jaxdpmm.GaussianDiagonal, "full": jaxdpmm.GaussianFull}
SIZES = {"diag": (100, 15), "full": (32, 6)}  # components and sweeps
NUM_BATCHES = 8
PAPER_BATCH = 4_096
PAPER_RIDGES = {"diag": PAPER_RIDGE, "full": PAPER_RIDGE_FULL}
MOST_HELD_OUT = 4_000

Trajectory = list[tuple[float, float]]
Fit = Iterator[Callable[[np.ndarray], float]]


def follow(fit: Fit, held_out: np.ndarray) -> Trajectory:
    """(Seconds, density) after each sweep; each item that `fit` yields gives the density of points."""
    trajectory, spent = [], 0.0
    clock = time.perf_counter()
    for density in fit:
        spent += time.perf_counter() - clock
        trajectory.append((spent, density(held_out)))
        clock = time.perf_counter()
    return trajectory


def ours(x: np.ndarray, kind: str, num_components: int, num_sweeps: int) -> Fit:
    """Memoized VI in NUM_BATCHES batches; one of four candidates where a component costs D^2 a point."""
    mixture = jaxdpmm.Mixture(FAMILIES[kind](x.shape[1]), num_components)
    key_prior, key_start = jax.random.split(jax.random.key(0))
    prior = clustered_prior(mixture, x, key=key_prior)
    posterior = jaxdpmm.initialize(mixture, prior, x, key=key_start)
    algorithm = memoized(mixture, prior, candidates(4, 1) if kind == "full" else dense)
    for reached in _sweeps(algorithm, x, posterior, -(-len(x) // NUM_BATCHES), num_sweeps):
        yield lambda points, q=reached: float(
            np.mean(jaxdpmm.log_predictive_density(mixture, q, points))
        )


def published(x: np.ndarray, kind: str, num_components: int, num_sweeps: int) -> Fit:
    """The algorithm of arXiv 2509.19997, in our implementation of it."""
    mixture = jaxdpmm.Mixture(FAMILIES[kind](x.shape[1]), num_components)
    algorithm, prior = paper_preset(mixture)
    start = paper_start(mixture, prior, x, key=jax.random.key(0), batch_size=PAPER_BATCH)
    read = jax.jit(point_readout(mixture, PAPER_RIDGES[kind]))
    for reached in _sweeps(algorithm, x, start, PAPER_BATCH, num_sweeps):
        yield lambda points, q=reached: _density_under(mixture, read(q), points)


def _sweeps(algorithm, x, posterior, batch_size, num_sweeps) -> Iterator[jaxdpmm.Posterior]:
    source = ArraySource(x, algorithm.mixture.family, batch_size=batch_size)
    state = algorithm.init(
        posterior, Layout(source.num_batches, source.batch_size, source.total_weight)
    )
    step = jax.jit(algorithm.step)
    for number in range(num_sweeps):
        for batch in source.sweep():
            state, _ = step(jax.random.key(number), state, batch)
        yield jax.block_until_ready(algorithm.posterior(state))


def _density_under(mixture, readout, points) -> float:
    joint = log_joint(mixture, readout, jnp.asarray(points))
    return float(jnp.mean(jax.nn.logsumexp(joint, axis=1)))


def scikit_learn(x: np.ndarray, kind: str, num_components: int, num_sweeps: int) -> Fit:
    """`BayesianGaussianMixture` with its defaults."""
    model = BayesianGaussianMixture(
        n_components=num_components,
        covariance_type=kind,
        max_iter=1,
        warm_start=True,
        random_state=0,
    )
    for _ in range(num_sweeps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x)
        yield lambda points: _gaussian_density(model, points)


def _gaussian_density(model, points) -> float:
    """Of the mixture of Gaussians at the model's point estimates; `score_samples` is none (sklearn#10148)."""
    from sklearn.mixture._gaussian_mixture import _estimate_log_gaussian_prob

    likelihood = _estimate_log_gaussian_prob(
        points, model.means_, model.precisions_cholesky_, model.covariance_type
    )
    return float(np.mean(np.logaddexp.reduce(likelihood + np.log(model.weights_), axis=1)))


def gmmx(x: np.ndarray, kind: str, num_components: int, num_sweeps: int) -> Fit:
    """EM of the package gmmx from its own k-means start."""
    from gmmx import EMFitter, GaussianMixtureModelJax

    points = jnp.asarray(x)
    fitter = EMFitter(max_iter=1, tol=0.0)
    model = GaussianMixtureModelJax.from_k_means(
        points, n_components=num_components, covariance_type=kind
    )
    for _ in range(num_sweeps):
        model = jax.block_until_ready(fitter.fit(points, model).gmm)
        yield lambda points, m=model: float(m.score(jnp.asarray(points)))


METHODS = {
    "jaxdpmm": ours,
    "scikit-learn": scikit_learn,
    "gmmx": gmmx,
    "published": published,
}


def seconds_to(trajectory: Trajectory, target: float) -> float | None:
    """When the target was first reached; None for never."""
    return next((seconds for seconds, density in trajectory if density >= target), None)


def compare(
    kind: str, x: np.ndarray, held_out: np.ndarray, names: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """The methods on the same patches; a record."""
    num_components, usual = SIZES[kind]
    own = options.num_sweeps or usual
    peers = options.peer_sweeps or own
    trajectories: dict[str, Any] = {}
    for name in names:
        method = METHODS[name]
        try:
            sweeps = own if name == "jaxdpmm" else peers
            trajectories[name] = follow(method(x, kind, num_components, sweeps), held_out)
        except ModuleNotFoundError:
            print(f"{name} is not installed, left out")
    target = trajectories["scikit-learn"][-1][1] - 0.1
    seconds = {name: seconds_to(path, target) for name, path in trajectories.items()}
    for name, path in trajectories.items():
        print(
            f"{kind} {name:<14} target {target:.2f} reached after {seconds[name]} s; "
            f"{path[-1][1]:.2f} nats per patch after {path[-1][0]:.1f} s",
            flush=True,
        )
    return {
        "name": f"density-{kind}-k{num_components}",
        "num_points": len(x),
        "target": target,
        "seconds": seconds,
        "trajectories": trajectories,
    }


def main() -> None:
    """One record a kind of covariance."""
    parser = parser_of(__doc__)
    parser.add_argument("--features", type=pathlib.Path, required=True, help="store or .npy")
    parser.add_argument("--kind", choices=SIZES, action="append", help="of covariance; repeatable")
    parser.add_argument("--num-points", type=int, default=20_000, help="a fifth is held out")
    parser.add_argument("--num-sweeps", type=int, help="by default 15, and 6 of full covariance")
    parser.add_argument("--peer-sweeps", type=int, help="of the others, if not as many")
    others = [name for name in METHODS if name != "scikit-learn"]
    parser.add_argument("--without", choices=others, action="append", default=[], help="repeatable")
    parser.add_argument(
        "--compiled", type=pathlib.Path, metavar="FOLDER", help="JAX's cache of compiled programs"
    )
    options = parser.parse_args()
    if options.compiled:
        jax.config.update("jax_compilation_cache_dir", str(options.compiled))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    x = patches(options.features, options.num_points)
    held_out, x = x[::5][:MOST_HELD_OUT], np.delete(x, np.s_[::5], axis=0)
    names = [name for name in METHODS if name not in options.without]
    records = [compare(kind, x, held_out, names, options) for kind in options.kind or SIZES]
    if options.json:
        write_report(options.json, records)


if __name__ == "__main__":
    main()
