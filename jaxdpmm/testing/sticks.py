"""Checks for stick-breaking priors of one's own.

What `posterior` returns must be what `kl_divergence` says is best: the sticks' part of the ELBO,
sum_k counts_k E[log w_k] minus the divergence, rises with every update and is stationary where updates no longer
move. One wrong sign, constant or count in either function breaks that. Next file to read: `../sticks/base.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.sticks import (
    StickBreaking,
    Sticks,
    expected_log_weights,
    log_mean_weights,
    sample_log_weights,
)

NUM_UPDATES = 500  # of q(v) and q(alpha) in turn; enough to stand still in float64


class SticksError(AssertionError):
    """A stick-breaking prior contradicts itself; the message names the function."""


def check_sticks(
    sticks: StickBreaking,
    prior: Any,
    counts: Float[Array, " K"],
    *,
    tolerance: float = 1e-6,
    num_draws: int = 0,
) -> None:
    """Hold `posterior` and `kl_divergence` of a prior of the weights against each other.

    Args:
        sticks: the prior's functions.
        prior: its hyper-parameters, for example `sticks.default_prior(counts.dtype)`.
        counts: expected number of points of at least two components, (K,).
        tolerance: largest slope of the objective allowed where updates stand still, and largest fall allowed in one
            update, both relative to the number of points.
        num_draws: with draws, E[log w] and E[w] are held against that many, within six standard errors.

    Raises:
        SticksError: one sentence that names the function at fault.
    """
    name = type(sticks).__name__
    first = _call(sticks, "posterior", counts, prior, None)
    _check_posterior(name, first, counts)
    _check_divergence(name, _call(sticks, "kl_divergence", first, prior), counts.dtype)
    size = float(jnp.sum(counts)) + len(counts)
    last = _check_ascent(sticks, prior, counts, first, tolerance * size)
    _check_stationary(sticks, prior, counts, last, tolerance * size)
    for found in (first, last):
        _check_weights(name, found)
    if num_draws:
        _check_draws(name, last, num_draws)


def _objective(sticks: StickBreaking, found: Sticks, prior: Any, counts: Array) -> Array:
    """The part of the ELBO that depends on q(v) and q(alpha)."""
    return jnp.sum(counts * expected_log_weights(found)) - sticks.kl_divergence(found, prior)


def _check_posterior(name: str, found: Sticks, counts: Array) -> None:
    expected = (len(counts) - 1,)
    for field in ("a", "b"):
        leaf = getattr(found, field)
        if leaf.shape != expected or leaf.dtype != counts.dtype:
            raise SticksError(
                f"{name}.posterior must return {field} of shape {expected} and type {counts.dtype}, "
                f"got {leaf.shape} and {leaf.dtype}; the last stick is what remains and has no Beta."
            )
        if not (np.isfinite(leaf).all() and (np.asarray(leaf) > 0).all()):
            raise SticksError(
                f"{name}.posterior must return positive Beta parameters, got {field} from {leaf.min()} to "
                f"{leaf.max()}; look for a wrong sign or a missing prior."
            )


def _check_divergence(name: str, value: Array, dtype: Any) -> None:
    if value.shape != () or value.dtype != dtype:
        raise SticksError(
            f"{name}.kl_divergence must return a scalar of type {dtype}, got shape {value.shape} and type "
            f"{value.dtype}; sum over the sticks."
        )
    if not value >= -100 * jnp.finfo(dtype).eps:
        raise SticksError(
            f"{name}.kl_divergence must not be negative, got {value}; look for a wrong sign or a missing constant."
        )


def _check_ascent(sticks, prior, counts, found: Sticks, allowed: float) -> Sticks:
    """Update until nothing moves; the objective may not fall."""
    update = jax.jit(lambda previous: sticks.posterior(counts, prior, previous))
    value = jax.jit(lambda found: _objective(sticks, found, prior, counts))
    before = value(found)
    for number in range(NUM_UPDATES):
        new = update(found)
        after = value(new)
        if not after >= before - allowed:
            raise SticksError(
                f"{type(sticks).__name__}.posterior must not lower counts E[log w] - kl_divergence, but update "
                f"{number + 1} lowers it from {before} to {after}; posterior and kl_divergence mean different priors."
            )
        moved = jax.tree.leaves(jax.tree.map(lambda a, b: jnp.any(a != b), new, found))
        found, before = new, after
        if not any(moved):
            break
    return found


def _check_stationary(sticks, prior, counts, found: Sticks, allowed: float) -> None:
    slopes = jax.jit(jax.grad(lambda found: _objective(sticks, found, prior, counts)))(found)
    relative = jax.tree.map(lambda slope, leaf: jnp.max(jnp.abs(slope * leaf)), slopes, found)
    worst = max(map(float, jax.tree.leaves(relative)))
    if not worst <= allowed:
        raise SticksError(
            f"{type(sticks).__name__}.posterior must be the best q under kl_divergence, but the objective still rises "
            f"by {worst:.3g} a relative change of its parameters where {allowed:.3g} is allowed; look for a missing "
            "term in either."
        )


def _check_weights(name: str, found: Sticks) -> None:
    total = float(jnp.sum(jnp.exp(log_mean_weights(found))))
    if not abs(total - 1) < 1e-5:
        raise SticksError(
            f"{name}.posterior must give weights whose means sum to one, got {total}."
        )
    if not (expected_log_weights(found) <= log_mean_weights(found) + 1e-5).all():
        raise SticksError(f"{name}.posterior must give E[log w] <= log E[w] (Jensen), got more.")


def _check_draws(name: str, found: Sticks, num_draws: int) -> None:
    keys = jax.random.split(jax.random.key(0), num_draws)
    draws = np.asarray(jax.jit(jax.vmap(sample_log_weights, (0, None)))(keys, found), np.float64)
    for what, values, expected in (
        ("E[log w]", draws, expected_log_weights(found)),
        ("E[w]", np.exp(draws), jnp.exp(log_mean_weights(found))),
    ):
        error = np.abs(values.mean(0) - np.asarray(expected))
        allowed = 6 * values.std(0) / np.sqrt(num_draws) + 1e-6
        if (error > allowed).any():
            raise SticksError(
                f"{name}.posterior must give sticks whose {what} agrees with {num_draws} draws, but it is off by "
                f"{error.max():.3g} where {allowed[error.argmax()]:.3g} is allowed."
            )


def _call(sticks: StickBreaking, name: str, *args: Any) -> Any:
    """The jitted value of one of the functions, or a sentence why it has none."""
    try:
        return jax.jit(getattr(sticks, name))(*args)
    except Exception as error:
        raise SticksError(
            f"{type(sticks).__name__}.{name} must run under jax.jit, got {type(error).__name__}: "
            f"{str(error).splitlines()[0]}"
        ) from error
