"""Checks for families of one's own: each says in one sentence which function is at fault.

`check_family` compares what a family overrides with what its two required functions imply by autodiff, on data that
the caller gives. It raises `FamilyError`, so that it can stand in any test. Not for models: fit those and look.
Next file to read: `families/base.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from jaxdpmm import trees
from jaxdpmm.families import Family


class FamilyError(AssertionError):
    """A family contradicts itself; the message names the function."""


def check_family(
    family: Family,
    prior: Any,
    x: Num[Array, "N ..."],
    *,
    tolerance: float = 1e-6,
    num_draws: int = 0,
) -> None:
    """Hold every function of a family against what its two required functions imply.

    Args:
        family: the family.
        prior: natural parameter of one component.
        x: at least four points that the family can describe, (N, ...).
        tolerance: largest difference allowed, relative to the size of what is compared.
        num_draws: with draws, `sample_params` is checked too: the log likelihood averaged over that many draws
            against `expected_params`, within six standard errors.

    Raises:
        FamilyError: one sentence that names the function at fault.
    """
    plain = _OnlyRequired(family)
    _check_structure(family, prior, x)
    _check_additive(family, x)
    natural = trees.add(prior, jax.tree.map(lambda leaf: leaf.sum(0), _statistics(family, x)))
    _check_partition(family, natural, prior)
    _check_derived(family, plain, natural, prior, x, tolerance)
    _check_matrices(family, plain, natural, prior, x, tolerance)
    if num_draws:
        _check_draws(family, natural, x, num_draws)


class _OnlyRequired(Family):
    """The same family without its overrides: everything derived by autodiff and vmap."""

    def __init__(self, family: Family):
        self._family = family

    def sufficient_statistics(self, x):
        return self._family.sufficient_statistics(x)

    def log_partition(self, natural):
        return self._family.log_partition(natural)

    def log_base_measure(self, x):
        return self._family.log_base_measure(x)


def _statistics(family: Family, x: Array) -> Any:
    return jax.vmap(family.sufficient_statistics)(x)


def _check_structure(family: Family, prior: Any, x: Array) -> None:
    point = _call(family, "sufficient_statistics", x[0])
    found, expected = _shapes(point), _shapes(prior)
    if found != expected:
        raise FamilyError(
            f"{type(family).__name__}.sufficient_statistics must return a tree of the shapes of the prior, "
            f"{expected}, got {found}; add or reshape its leaves."
        )
    for name, args in (("log_partition", (prior,)), ("log_base_measure", (x[0],))):
        value = _call(family, name, *args)
        if jnp.shape(value) != ():
            raise FamilyError(
                f"{type(family).__name__}.{name} must return a scalar, got shape {jnp.shape(value)}; "
                "sum over the features."
            )


def _check_additive(family: Family, x: Array) -> None:
    """T(x) may depend on its own point only."""
    together = _statistics(family, x)
    alone = family.sufficient_statistics(x[1])
    _compare(family, "sufficient_statistics", trees.take(together, 1), alone, 1e-6)


def _check_partition(family: Family, natural: Any, prior: Any) -> None:
    """A must be finite with finite gradient, and convex between two parameters."""
    for where in (natural, prior):
        gradient = jax.grad(family.log_partition)(where)
        if not all(
            np.isfinite(leaf).all()
            for leaf in jax.tree.leaves((family.log_partition(where), gradient))
        ):
            raise FamilyError(
                f"{type(family).__name__}.log_partition must be finite and have a finite gradient at {where}; "
                "look for a logarithm of zero or an overflow."
            )
    middle = jax.tree.map(lambda a, b: 0.5 * (a + b), natural, prior)
    ends = 0.5 * (family.log_partition(natural) + family.log_partition(prior))
    if family.log_partition(middle) > ends + 1e-6 * jnp.abs(ends):
        raise FamilyError(
            f"{type(family).__name__}.log_partition must be convex, as every log normaliser is, but lies above "
            "its chord between the prior and a posterior; look for a wrong sign."
        )


def _check_derived(family, plain, natural, prior, x, tolerance) -> None:
    point = x[0]
    for name, args in (
        ("expected_natural", (natural,)),
        ("kl_divergence", (natural, prior)),
    ):
        _compare(family, name, _call(family, name, *args), getattr(plain, name)(*args), tolerance)
    if _call(family, "kl_divergence", natural, prior) < 0:
        raise FamilyError(
            f"{type(family).__name__}.kl_divergence must not be negative; look for a wrong sign."
        )
    for params, density in (
        ("expected_params", "log_likelihood"),
        ("predictive_params", "log_predictive"),
    ):
        ours = _call(family, density, _call(family, params, natural), point)
        default = getattr(plain, density)(getattr(plain, params)(natural), point)
        _compare(family, density, ours, default, tolerance, f" (or {params})")


def _check_matrices(family, plain, natural, prior, x, tolerance) -> None:
    components = jax.tree.map(lambda a, b: jnp.stack([a, 0.5 * (a + b)]), natural, prior)
    weights = jnp.linspace(0.1, 1.0, 2 * x.shape[0], dtype=_dtype(natural)).reshape(-1, 2)
    ours = _call(family, "weighted_statistics", x, weights)
    _compare(family, "weighted_statistics", ours, plain.weighted_statistics(x, weights), tolerance)
    for params, matrix in (
        ("expected_params", "log_likelihood_matrix"),
        ("predictive_params", "log_predictive_matrix"),
    ):
        of = jax.vmap(getattr(family, params))(components)
        ours = _call(family, matrix, of, x)
        default = getattr(plain, matrix)(jax.vmap(getattr(plain, params))(components), x)
        _compare(family, matrix, ours, default, tolerance)


def _check_draws(family, natural, x, num_draws) -> None:
    keys = jax.random.split(jax.random.key(0), num_draws)
    draws = jax.vmap(family.sample_params, (0, None))(keys, natural)
    values = np.asarray(family.log_likelihood_matrix(draws, x), np.float64)
    expected = family.log_likelihood_matrix(
        jax.tree.map(lambda leaf: leaf[None], family.expected_params(natural)), x
    )
    error = np.abs(values.mean(1) - np.asarray(expected)[:, 0])
    allowed = 6 * values.std(1) / np.sqrt(num_draws)
    if (error > allowed + 1e-9).any():
        raise FamilyError(
            f"{type(family).__name__}.sample_params must agree with expected_params: the log likelihood averaged over "
            f"{num_draws} draws is off by {error.max():.3g}, six standard errors are {allowed[error.argmax()]:.3g}."
        )


def _call(family: Family, name: str, *args: Any) -> Any:
    """The jitted value of one of the family's functions, or a sentence why it has none."""
    try:
        return jax.jit(getattr(family, name))(*args)
    except Exception as error:
        raise FamilyError(
            f"{type(family).__name__}.{name} must run under jax.jit, got {type(error).__name__}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _compare(family, name, ours, default, tolerance, also="") -> None:
    for found, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(default), strict=True):
        found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
        scale = max(1.0, float(np.max(np.abs(wanted), initial=0)))
        worst = (
            float(np.max(np.abs(found - wanted), initial=0))
            if found.shape == wanted.shape
            else np.inf
        )
        if not worst <= tolerance * scale:
            raise FamilyError(
                f"{type(family).__name__}.{name}{also} must equal what sufficient_statistics and log_partition imply, "
                f"but differs by {worst:.3g} where {tolerance * scale:.3g} is allowed."
            )


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _dtype(tree: Any) -> Any:
    return jax.tree.leaves(tree)[0].dtype
