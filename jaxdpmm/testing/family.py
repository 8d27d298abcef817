"""Checks for families of one's own: each says in one sentence which function is at fault.

`check_family` compares what a family overrides with what its two required functions imply by autodiff, on data that
the caller gives. It raises `FamilyError`, so that it can stand in any test. Not for models: fit those and look.
What no check can see is a slip that both required functions share, such as a wrong `log_base_measure`: integrate
`log_predictive` over a grid once. Next file to read: `derived.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from jaxdpmm import trees
from jaxdpmm.families import Family
from jaxdpmm.testing.compare import called
from jaxdpmm.testing.derived import DERIVED, OnlyRequired, evaluate


class FamilyError(AssertionError):
    """A family contradicts itself; the message names the function."""


def check_family(
    family: Family,
    prior: Any,
    x: Num[Array, "N ..."],
    *,
    tolerance: float = 1e-6,
    single_tolerance: float = 1e-3,
    num_draws: int = 0,
) -> None:
    """Hold every function of a family against what its two required functions imply.

    Besides, every function must run under `jax.jit`, keep the floating type that it is given and be finite; in float64
    (under `jax_enable_x64`) the same functions are run in float32 and held against themselves.

    Args:
        family: the family.
        prior: natural parameter of one component.
        x: at least four points that the family can describe, (N, ...).
        tolerance: largest difference allowed, relative to the size of what is compared.
        single_tolerance: the same between float32 and float64; only with float64 input.
        num_draws: with draws, `sample_params` is checked too: the log likelihood averaged over that many draws
            against `expected_params`, within six standard errors.

    Raises:
        FamilyError: one sentence that names the function at fault.
        TypeError: the family has local variables, whose likelihood T(x) and A alone do not imply.
    """
    if family.has_local_variables:
        raise TypeError(
            f"check_family needs a family whose T(x) and A say all, got {type(family).__name__} with local_statistics; "
            "fit it and test that the bound never falls."
        )
    _check_structure(family, prior, x)
    statistics = jax.jit(jax.vmap(family.sufficient_statistics))(x)
    natural = trees.add(prior, jax.tree.map(lambda leaf: leaf.sum(0), statistics))
    _check_partition(family, natural, prior)
    _check_derived(family, natural, prior, x, tolerance, single_tolerance)
    _check_point_params(family, natural, x)
    if num_draws:
        _check_draws(family, natural, x, num_draws)


# ------------------------------------------------------------------ the required functions


def _check_structure(family: Family, prior: Any, x: Array) -> None:
    found = _trace(family, "sufficient_statistics", family.sufficient_statistics, x[0])
    _require_same_form(family, "sufficient_statistics", found, prior, "of the prior, ")
    for name, argument in (("log_partition", prior), ("log_base_measure", x[0])):
        value = _trace(family, name, getattr(family, name), argument)
        if jnp.shape(value) != ():
            raise FamilyError(
                f"{type(family).__name__}.{name} must return a scalar, got shape {jnp.shape(value)}; "
                "sum over the features."
            )
        if value.dtype != _dtype(prior):
            raise FamilyError(
                f"{type(family).__name__}.{name} must keep the type {_dtype(prior)}, got {value.dtype}; "
                "cast its constants with jnp.asarray(constant, x.dtype)."
            )


def _check_partition(family: Family, natural: Any, prior: Any) -> None:
    """A must be finite with finite gradient, and convex between two parameters."""
    middle = jax.tree.map(lambda a, b: 0.5 * (a + b), natural, prior)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), prior, middle, natural)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(family.log_partition)))(stacked)
    _require_finite(family, "log_partition", values)
    _require_finite(family, "log_partition's gradient", gradients)
    chord = 0.5 * (values[0] + values[2])
    if values[1] > chord + 1e-6 * jnp.abs(chord):
        raise FamilyError(
            f"{type(family).__name__}.log_partition must be convex, as every log normaliser is, but lies above "
            "its chord between the prior and a posterior; look for a wrong sign."
        )


# ------------------------------------------------------------------ the derived functions


def _check_derived(
    family: Family, natural: Any, prior: Any, x: Any, tolerance: Any, single_tolerance: Any
) -> None:
    """Overrides against defaults, then float32 against float64."""
    arguments = (natural, prior, x)
    plain = OnlyRequired(family)
    for name, of in DERIVED.items():
        ours = _trace(family, name, lambda *args, of=of: of(family, *args), *arguments)
        default = jax.eval_shape(lambda *args, of=of: of(plain, *args), *arguments)
        _require_same_form(family, name, ours, default)
    ours, default = evaluate(family, *arguments), evaluate(plain, *arguments)
    for name in DERIVED:
        _require_finite(family, name, ours[name])
        _require_equal(
            family,
            name,
            "equal what sufficient_statistics and log_partition imply",
            ours,
            default,
            tolerance,
        )
    if not ours["kl_divergence"] >= -tolerance:
        raise FamilyError(
            f"{type(family).__name__}.kl_divergence must not be negative, got {ours['kl_divergence']}; "
            "look for a wrong sign in log_partition."
        )
    if _dtype(natural) == jnp.float64:
        single = evaluate(family, *map(_to_single, arguments))
        for name in DERIVED:
            _require_finite(family, f"{name} in float32", single[name])
            _require_equal(
                family, name, "be the same in float32 as in float64", single, ours, single_tolerance
            )


def _check_point_params(family: Family, natural: Any, x: Any) -> None:
    """Where there is a point estimate, `log_likelihood` must take it."""
    if not family.offers("point_params"):
        return
    _trace(family, "point_params", family.point_params, natural)

    def density(natural: Any, point: Any) -> Any:
        return family.log_likelihood(family.point_params(natural), point)

    _trace(family, "log_likelihood at point_params", density, natural, x[0])
    _require_finite(family, "log_likelihood at point_params", jax.jit(density)(natural, x[0]))


def _check_draws(family: Family, natural: Any, x: Any, num_draws: Any) -> None:
    _trace(family, "sample_params", family.sample_params, jax.random.key(0), natural)

    def both(key: Any, natural: Any, x: Any) -> Any:
        keys = jax.random.split(key, num_draws)
        draws = jax.vmap(family.sample_params, (0, None))(keys, natural)
        one = jax.tree.map(lambda leaf: leaf[None], family.expected_params(natural))
        return family.log_likelihood_matrix(draws, x), family.log_likelihood_matrix(one, x)[:, 0]

    values, expected = (
        np.asarray(v, np.float64) for v in jax.jit(both)(jax.random.key(0), natural, x)
    )
    error = np.abs(values.mean(1) - expected)
    allowed = 6 * values.std(1) / np.sqrt(num_draws)
    if not (error <= allowed + 1e-9).all():
        raise FamilyError(
            f"{type(family).__name__}.sample_params must agree with expected_params: the log likelihood averaged over "
            f"{num_draws} draws is off by {error.max():.3g}, six standard errors are {allowed[error.argmax()]:.3g}."
        )


# ------------------------------------------------------------------ sentences


def _trace(family: Family, name: str, function: Callable, *args: Any) -> Any:
    """Shapes and types of the function's result, or a sentence why it cannot be compiled."""
    what = f"{type(family).__name__}.{name}"
    return called(FamilyError, what, partial(jax.eval_shape, function), *args)


def _require_same_form(
    family: Family, name: str, found: Any, expected: Any, whose: str = ""
) -> None:
    for what, of in (
        ("structure", jax.tree.structure),
        ("shapes", _shapes),
        ("types", _dtypes),
    ):
        if of(found) != of(expected):
            raise FamilyError(
                f"{type(family).__name__}.{name} must return a tree of the {what} {whose}{of(expected)}, got "
                f"{of(found)}; add, reshape or cast its leaves."
            )


def _require_finite(family: Family, what: str, tree: Any) -> None:
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
        raise FamilyError(
            f"{type(family).__name__}.{what} must be finite, got nan or infinity; look for a logarithm of zero or an "
            "overflow (float32 ends at 3e38, so use gammaln, not the gamma function)."
        )


def _require_equal(
    family: Family, name: Any, what: Any, ours: Any, default: Any, tolerance: Any
) -> None:
    pairs = zip(*map(jax.tree.leaves, (ours[name], default[name])), strict=True)
    error = max(_relative_difference(found, wanted) for found, wanted in pairs)
    if not error <= tolerance:
        raise FamilyError(
            f"{type(family).__name__}.{name} must {what}, but differs by {error:.3g} of its largest value "
            f"where {tolerance:.3g} is allowed."
        )


def _relative_difference(found: Array, wanted: Array) -> float:
    """Largest absolute difference, relative to the largest entry if that is above one."""
    ours, theirs = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    scale = max(1.0, float(np.max(np.abs(theirs), initial=0)))
    return float(np.max(np.abs(ours - theirs), initial=0)) / scale


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _dtypes(tree: Any) -> list[str]:
    return [str(leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _dtype(tree: Any) -> Any:
    return jax.tree.leaves(tree)[0].dtype


def _to_single(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf, tree
    )
