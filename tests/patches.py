"""Points like patch features: unit vectors far from zero, in clusters much narrower than the distances between them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdpmm import GaussianDiagonal, GaussianFull, GaussianSpherical, Mixture, default_prior
from jaxdpmm.families import (
    Block,
    Gaussian,
    GaussianLowRank,
    GaussianTied,
    ProductFamily,
    VonMisesFisher,
)
from jaxdpmm.model import Batch, Posterior, Prior, Stats, expected_readout, global_update, summarize
from jaxdpmm.scoring import SCORERS

NUM_CLUSTERS = 6
FAMILIES = {
    "full": GaussianFull,
    "tied": GaussianTied,
    "diagonal": GaussianDiagonal,
    "spherical": GaussianSpherical,
    "low rank": lambda dim: GaussianLowRank(dim, min(8, dim - 1)),
    "von Mises-Fisher": VonMisesFisher,
    "product": lambda dim: ProductFamily(
        (Block("what", GaussianDiagonal(dim - 2)), Block("where", GaussianFull(2)))
    ),
}
"""Every family that the library has, by dimension."""


class Patches(NamedTuple):
    """Unit vectors (N, D) in float32, and the cluster of each."""

    x: np.ndarray
    labels: np.ndarray


def with_backends(backends: Iterable[str]) -> list[tuple[str, str]]:
    """Every family with every backend that can fit it: Gibbs needs draws of components."""
    return [
        (family, backend)
        for family in FAMILIES
        for backend in backends
        if backend != "gibbs" or FAMILIES[family](5).offers("sample_params")
    ]


def with_scores() -> list[tuple[str, str]]:
    """Every family with every score that it offers: some are those of Gaussians, or of low-rank ones alone."""
    of_kind = {"mahalanobis": Gaussian, "residual": GaussianLowRank, "spherical": Gaussian}
    return [
        (family, score)
        for family in FAMILIES
        for score in SCORERS
        if isinstance(FAMILIES[family](5), of_kind.get(score, object))
    ]


def patches(dim: int, spread: float, num_points: int = 600, seed: int = 0) -> Patches:
    """Clusters whose features have the standard deviation `spread`; the clusters do not depend on the seed."""
    fixed, drawn = np.random.default_rng(dim), np.random.default_rng(seed)
    centres = 2 * unit(fixed.normal(size=dim)) + unit(fixed.normal(size=(NUM_CLUSTERS, dim)))
    labels = drawn.integers(NUM_CLUSTERS, size=num_points)
    noise = spread * drawn.normal(size=(num_points, dim))
    return Patches(unit(unit(centres)[labels] + noise).astype(np.float32), labels)


def mixture_of(family: str, dim: int) -> Mixture:
    """One component per cluster."""
    return Mixture(FAMILIES[family](dim), NUM_CLUSTERS)


def prior_of(mixture: Mixture, x: np.ndarray):
    """The prior of the data, computed in float64, in the type of the data."""
    with jax.enable_x64(True):
        prior = default_prior(mixture, jnp.asarray(x, jnp.float64))
    return jax.tree.map(lambda leaf: leaf.astype(x.dtype), prior)


def posterior_of(mixture: Mixture, prior, x, labels) -> Posterior:
    """The posterior in which every point belongs to its cluster, twice over for families with local variables."""
    ones, posterior = jnp.ones(len(x), x.dtype), None
    one_hot = jax.nn.one_hot(labels, NUM_CLUSTERS, dtype=x.dtype)
    for _ in range(2 if mixture.family.has_local_variables else 1):
        params = None if posterior is None else expected_readout(mixture, posterior).params
        stats = summarize(mixture, one_hot, x, ones, prior.offset, params)
        posterior = global_update(mixture, prior, stats)
    return posterior


class Shapes(NamedTuple):
    """What programs are traced from: arrays of the right shapes, which cost no computation."""

    mixture: Mixture
    prior: Prior
    posterior: Posterior
    batch: Batch


def shapes_of(mixture: Mixture, point: tuple[int, ...], num_points: int = 40) -> Shapes:
    """Prior, posterior and one batch of points of some shape, all float32 and one."""
    family = mixture.family
    x = jax.ShapeDtypeStruct((num_points, *point), np.float32)
    component = ones_of(lambda x: family.sufficient_statistics(x[0]), x)
    concentration = mixture.sticks.default_prior(np.float32)
    prior = Prior(component, concentration, ones_of(family.reference_point, x))

    def update(component: Any) -> Posterior:
        def repeat(leaf: Array) -> Array:
            return jnp.stack([leaf] * mixture.num_components)

        counts, scalar = jnp.ones(mixture.num_components, np.float32), jnp.ones((), np.float32)
        stats = Stats(counts, jax.tree.map(repeat, component), scalar, scalar)
        return global_update(mixture, prior, stats)

    def batch(x: Array) -> Batch:
        ones = jnp.ones(len(x), x.dtype)
        return Batch(x, ones, jnp.int32(0), jnp.asarray(True), ones[0])

    return Shapes(mixture, prior, ones_of(update, component), ones_of(batch, x))


def ones_of(function: Callable, *args: Any) -> Any:
    """Ones in the shape of what a function returns, without a call of it."""
    found = jax.eval_shape(function, *args)
    return jax.tree.map(lambda leaf: jnp.asarray(np.ones(leaf.shape, leaf.dtype)), found)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows divided by their norms."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
