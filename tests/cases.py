"""Rows of the contract tables: families with a prior and data that they can describe."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from custom_families import BernoulliBeta, PoissonGamma

from jaxdpmm import Family, GaussianDiagonal, GaussianFull, GaussianSpherical

SPREAD = {
    GaussianFull: jnp.eye,
    GaussianDiagonal: jnp.ones,
    GaussianSpherical: lambda dim: jnp.ones(()),
}


class FamilyCase(NamedTuple):
    """A family, the natural parameter of its prior, and points (N, ...)."""

    family: Family
    prior: Any
    x: np.ndarray


def gaussian_case(kind: type, dim: int, dtype=np.float64, num_points: int = 30) -> FamilyCase:
    """Three blobs around zero under a prior that is no special case."""
    generator = np.random.default_rng(dim)
    centres = 4 * generator.standard_normal((3, dim))
    x = centres[np.arange(num_points) % 3] + generator.standard_normal((num_points, dim))
    spread = jnp.asarray(0.7 * SPREAD[kind](dim), dtype)
    mean = jnp.linspace(-0.5, 0.5, dim, dtype=dtype)
    return FamilyCase(kind(dim), kind(dim).prior(mean, spread, 0.3, dim + 1.5), x.astype(dtype))


def poisson_case(dtype=np.float64) -> FamilyCase:
    """Counts about 2 and about 30."""
    generator = np.random.default_rng(1)
    x = np.concatenate([generator.poisson(2, 15), generator.poisson(30, 15)]).astype(dtype)
    return FamilyCase(PoissonGamma(), (jnp.asarray(2.0, dtype), jnp.asarray(0.5, dtype)), x)


def bernoulli_case(dtype=np.float64) -> FamilyCase:
    """Zeros and ones in two kinds of rows."""
    generator = np.random.default_rng(2)
    p = np.where(np.arange(30)[:, None] % 2, [0.9, 0.9, 0.1, 0.5], [0.1, 0.2, 0.8, 0.5])
    x = (generator.random((30, 4)) < p).astype(dtype)
    half = jnp.full(4, 0.5, dtype)
    return FamilyCase(BernoulliBeta(), {"ones": half, "zeros": 2 * half}, x)


FAMILIES = {
    "full-1": lambda dtype: gaussian_case(GaussianFull, 1, dtype),
    "full-5": lambda dtype: gaussian_case(GaussianFull, 5, dtype),
    "diagonal-1": lambda dtype: gaussian_case(GaussianDiagonal, 1, dtype),
    "diagonal-5": lambda dtype: gaussian_case(GaussianDiagonal, 5, dtype),
    "spherical-5": lambda dtype: gaussian_case(GaussianSpherical, 5, dtype),
    "poisson": poisson_case,
    "bernoulli": bernoulli_case,
}
