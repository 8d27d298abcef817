"""One sweep of variational inference, and the k-means start: N points of D numbers, K components.

Published figures stand beside ours under the name of their source; they were taken by others on other machines. Read
`torch_fits.py` next.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jaxdpmm
from jaxdpmm.families import GaussianLowRank
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference import dense
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.initialize import k_means
from jaxdpmm.inference.local_steps.sparse import candidates
from jaxdpmm.model import Batch, Mixture, Posterior, Prior, global_update
from on_gpu.cases import Case, Fact, Work
from on_gpu.data import clusters
from on_gpu.plan import Sizes
from on_gpu.precision import as_compiled, asked_for, kind_of

RANK = 32
NUM_CANDIDATES, NUM_KEPT = 8, 2
PRIOR_SAMPLE = 20_000
LLOYD_STEPS = 10

FAMILIES = {
    "diagonal": jaxdpmm.GaussianDiagonal,
    "spherical": jaxdpmm.GaussianSpherical,
    "full, candidates": jaxdpmm.GaussianFull,
    "low rank": functools.partial(GaussianLowRank, rank=RANK),
}
PUBLISHED = (
    {
        "what": "one E-step with statistics, spherical",
        "by": "published: Flash-GMM (arXiv 2606.10896) on an A100",
        "size": "1,000,000 x 128, K = 1,024",
        "precision": "float32",
        "published_seconds": 0.152,
    },
)


def cases(sizes: Sizes) -> Iterator[Case | Fact]:
    """Sweeps in the order of the plan, then the k-means start."""
    for sweep in sizes.sweeps:
        yield sweep_case(*sweep)
    for precision in sizes.precisions[1:]:
        yield sweep_case(*sizes.sweeps[0], precision)
    yield k_means_case(*sizes.k_means)
    for labels in PUBLISHED:
        yield Fact(labels, dict)


def sweep_case(
    covariance: str, num_points: int, dim: int, num_components: int, precision: str = "library"
) -> Case:
    """One sweep after another, each from the last; E-step, statistics, update and ELBO."""

    def build() -> Callable[[], Any]:
        x, labels = clusters(num_points, dim, num_components)
        mixture = Mixture(FAMILIES[covariance](dim), num_components)
        prior = jaxdpmm.default_prior(mixture, x[:PRIOR_SAMPLE])
        start = jax.jit(posterior_of_labels, static_argnums=0)(mixture, prior, x, labels)
        local_step = dense
        if covariance.endswith("candidates"):
            local_step = candidates(NUM_CANDIDATES, NUM_KEPT)
        algorithm = jaxdpmm.cavi(mixture, prior, local_step)
        state = algorithm.init(start, Layout(1, num_points, float(num_points)))
        with asked_for(precision):
            return repeated(algorithm.step, state, whole_batch(x))

    labels = {
        "what": f"one sweep, {covariance}",
        "by": "jaxdpmm",
        "size": f"{num_points:,} x {dim}, K = {num_components:,}",
        "precision": precision,
    }
    work = sweep_work(covariance, num_points, dim, num_components)
    return Case(labels, build, work._replace(kind=kind_of(precision)))


def posterior_of_labels(
    mixture: Mixture, prior: Prior, x: jax.Array, labels: jax.Array
) -> Posterior:
    """One global update from points that belong to one component each."""
    stats = label_statistics(mixture, labels, x, jnp.ones(len(x)), prior.offset)
    return global_update(mixture, prior, stats)


def whole_batch(x: jax.Array) -> Batch:
    """All data as one batch, the last of its sweep."""
    number = jnp.asarray(float(len(x)))
    return Batch(x, jnp.ones(len(x)), jnp.zeros((), jnp.int32), jnp.asarray(True), number)


def repeated(step: Callable, state: Any, batch: Batch) -> Callable[[], Any]:
    """A function that runs a compiled step from the last state, whose memory it takes over, as `fit` does."""
    key, state = jax.random.key(0), jax.tree.map(jnp.copy, state)
    program = jax.jit(step, donate_argnums=1).lower(key, state, batch).compile()

    def sweep():
        nonlocal state
        state, info = program(key, state, batch)
        return info

    return sweep


def k_means_case(num_points: int, dim: int, num_clusters: int) -> Case:
    """Greedy k-means++ and Lloyd steps on a sample, as `initialize` runs them."""

    def build() -> Callable[[], Any]:
        x, _ = clusters(num_points, dim, num_clusters)
        key = jax.random.key(0)
        return as_compiled(lambda key, x: k_means(key, x, num_clusters, LLOYD_STEPS), key, x)

    labels = {
        "what": f"k-means start, {LLOYD_STEPS} steps of Lloyd",
        "by": "jaxdpmm",
        "size": f"{num_points:,} x {dim}, K = {num_clusters:,}",
        "precision": "library",
    }
    return Case(labels, build, k_means_work(num_points, dim, num_clusters))


def sweep_work(covariance: str, num_points: int, dim: int, num_components: int) -> Work:
    """Operations in the products of a sweep (E-step and statistics); the points are read twice."""
    pairs = float(num_points * num_components)
    operations = {
        "diagonal": 8 * pairs * dim,
        "spherical": 4 * pairs * dim,
        "low rank": 4 * pairs * dim * (RANK + 2),
        "full, candidates": 2 * pairs * dim
        + num_points * (NUM_CANDIDATES + 2.0 * NUM_KEPT) * dim**2
        + num_components * 2.0 * dim**3,  # the factorisations
    }
    return Work(operations[covariance], 8.0 * num_points * dim)


def k_means_work(num_points: int, dim: int, num_clusters: int) -> Work:
    """Two products per step of Lloyd, and of the seeding one with every seed."""
    pairs = float(num_points * num_clusters)
    return Work(2 * pairs * dim * (2 * LLOYD_STEPS + 1), 4.0 * num_points * dim * LLOYD_STEPS)


def gmmx(sizes: Sizes) -> Iterator[Case]:
    """An iteration of EM of the package gmmx, and a sweep of ours of that size; gmmx holds N x K x D numbers."""
    yield sweep_case("diagonal", *sizes.gmmx)
    num_points, dim, num_components = sizes.gmmx

    def build() -> Callable[[], Any]:
        from gmmx import EMFitter, GaussianMixtureModelJax

        x, labels = clusters(num_points, dim, num_components)
        shares = jax.nn.one_hot(labels, num_components)[:, :, None, None]
        fitter = EMFitter(max_iter=1, tol=0.0)
        model = GaussianMixtureModelJax.from_responsibilities(
            x[:, None, :, None], shares, reg_covar=fitter.reg_covar, covariance_type="diag"
        )
        return lambda: fitter.fit(x, model).gmm

    labels = {
        "what": "one iteration of EM, diagonal",
        "by": "gmmx",
        "size": f"{num_points:,} x {dim}, K = {num_components:,}",
        "precision": "default",
    }
    yield Case(labels, build, sweep_work("diagonal", num_points, dim, num_components))
