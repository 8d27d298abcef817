"""Checks for stick-breaking priors of one's own.

What `posterior` returns must be what `kl_divergence` says is best: the sticks' part of the ELBO,
sum_k counts_k E[log w_k] minus the divergence, rises with every update and is stationary where updates no longer
move. One wrong sign, constant or count in either function breaks that. Gibbs reads `fractions` and
`sample_concentration`, which must mean the same prior. Next file to read: `../sticks/base.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.programs import jitted
from jaxdpmm.sticks import (
    GammaConcentration,
    StickBreaking,
    Sticks,
    expected_log_weights,
    log_mean_weights,
    sample_log_weights,
)
from jaxdpmm.sticks.base import remaining_counts, sticks_bound
from jaxdpmm.testing.compare import called

NUM_UPDATES = 500  # of q(v) and q(alpha) in turn; enough to stand still in float64
MOST_CONCENTRATIONS = 2000  # draws of alpha, for which `PitmanYor` keeps a grid each


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
    """Hold the functions of a prior of the weights against each other.

    Args:
        sticks: the prior's functions.
        prior: its hyper-parameters, for example `sticks.default_prior(counts.dtype)`.
        counts: expected number of points of at least two components, (K,).
        tolerance: largest slope of the objective allowed where updates stand still, and largest fall allowed in one
            update, both relative to the number of points.
        num_draws: with draws, E[log w], E[w] and `sample_concentration` are held against that many, within six
            standard errors.

    Raises:
        SticksError: one sentence that names the function at fault.
    """
    name = type(sticks).__name__
    alpha = _check_fractions(sticks, prior, counts)
    if isinstance(sticks, GammaConcentration):
        _check_normaliser(sticks, alpha, len(counts))
    first = _call(sticks, "posterior", counts, prior, None)
    _check_posterior(name, first, counts)
    _check_divergence(name, _call(sticks, "kl_divergence", first, prior), counts.dtype)
    size = float(jnp.sum(counts)) + len(counts)
    last = _check_ascent(sticks, prior, counts, first, tolerance * size)
    _check_stationary(sticks, prior, counts, last, tolerance * size)
    _check_settled(sticks, prior, counts, last, tolerance * size)
    _check_same_fractions(name, first, _call(sticks, "fractions", counts, alpha), tolerance)
    for found in (first, last):
        _check_weights(name, found)
    if num_draws:
        _check_draws(name, last, num_draws)
        _check_concentration_draws(sticks, prior, len(counts), min(num_draws, MOST_CONCENTRATIONS))


def _check_fractions(sticks: StickBreaking, prior: Any, counts: Array) -> Array:
    """That counts add to the prior's fractions; E[alpha] under the prior."""
    name, dtype, shape = type(sticks).__name__, counts.dtype, (len(counts) - 1,)
    alpha = _call(sticks, "mean_concentration", prior)
    if alpha.shape != () or alpha.dtype != dtype:
        raise SticksError(
            f"{name}.mean_concentration must return a scalar of type {dtype}, got shape {alpha.shape} and type "
            f"{alpha.dtype}; write it for a prior of the concentration that is no Gamma."
        )
    nothing = _call(sticks, "fractions", jnp.zeros_like(counts), alpha)
    found = _call(sticks, "fractions", counts, alpha)
    for field, before, after, more in zip(
        "ab", nothing, found, (counts[:-1], remaining_counts(counts)), strict=True
    ):
        if before.shape != shape or before.dtype != dtype:
            raise SticksError(
                f"{name}.prior_fractions must return {field} of shape {shape} and type {dtype} or one number, got "
                f"{before.shape} and {before.dtype} with no points; the last stick is what remains and has no Beta."
            )
        if not (np.isfinite(before).all() and (np.asarray(before) > 0).all()):
            raise SticksError(
                f"{name}.prior_fractions must return positive Beta parameters, got {field} from {before.min()} to "
                f"{before.max()} at alpha {alpha}; look for a wrong sign."
            )
        if not np.allclose(after, before + more, rtol=1e-5):
            raise SticksError(
                f"{name}.fractions must add the counts to prior_fractions, N_k to a and sum_(j>k) N_j to b, got "
                f"{field} off by {np.max(np.abs(after - before - more)):.3g}; leave it as it is derived."
            )
    return alpha


def _check_normaliser(sticks: GammaConcentration, alpha: Array, num_components: int) -> None:
    found = sticks.log_normaliser(jnp.log(alpha), num_components)
    expected = -betaln(*sticks.prior_fractions(alpha, num_components))
    error = float(jnp.max(jnp.abs(found - expected) / (1 + jnp.abs(expected))))
    if not error <= 1e-5:  # betaln of JAX is good to 3e-7
        raise SticksError(
            f"{type(sticks).__name__}.log_normaliser must be -log B(a, b) of prior_fractions, got values that differ "
            f"by {error:.3g} of their size at alpha {alpha}; constants count."
        )


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


def _check_ascent(
    sticks: StickBreaking, prior: Any, counts: Array, found: Sticks, allowed: float
) -> Sticks:
    """Update until nothing moves; the objective may not fall."""
    update, value = jitted(_named, sticks, "posterior"), jitted(sticks_bound, sticks)
    before = value(found, prior, counts)
    for number in range(NUM_UPDATES):
        new = update(counts, prior, found)
        after = value(new, prior, counts)
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


def _check_stationary(
    sticks: StickBreaking, prior: Any, counts: Array, found: Sticks, allowed: float
) -> None:
    slopes = jitted(_slopes, sticks)(found, prior, counts)
    relative = jax.tree.map(lambda slope, leaf: jnp.max(jnp.abs(slope * leaf)), slopes, found)
    worst = max(map(float, jax.tree.leaves(relative)))
    if not worst <= allowed:
        raise SticksError(
            f"{type(sticks).__name__}.posterior must be the best q under kl_divergence, but the objective still rises "
            f"by {worst:.3g} a relative change of its parameters where {allowed:.3g} is allowed; look for a missing "
            "term in either."
        )


def _check_settled(
    sticks: StickBreaking, prior: Any, counts: Array, last: Sticks, allowed: float
) -> None:
    value = jitted(sticks_bound, sticks)
    settled = value(_call(sticks, "settled", counts, prior), prior, counts)
    best = value(last, prior, counts)
    if not settled >= best - allowed:
        raise SticksError(
            f"{type(sticks).__name__}.settled must lead where repeated updates lead, got an objective of {settled} in "
            f"place of {best}; look for a `concentration` that jumps."
        )


def _check_same_fractions(name: str, found: Sticks, expected: Any, tolerance: float) -> None:
    for field, wanted in zip("ab", expected, strict=True):
        error = float(jnp.max(jnp.abs(getattr(found, field) - wanted) / wanted))
        if not error <= tolerance:
            raise SticksError(
                f"{name}.posterior must have the fractions at E[alpha], which Gibbs reads, got {field} that differ by "
                f"{error:.3g} of their size; leave posterior as it is derived, or mend prior_fractions."
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
    draws = np.asarray(jitted(_weights_drawn)(keys, found), np.float64)
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


def _check_concentration_draws(
    sticks: StickBreaking, prior: Any, num_components: int, num_draws: int
) -> None:
    """Alpha from its prior, weights given alpha, alpha given the weights: the last is distributed as the first.

    References:
        Geweke (2004), Getting it right: joint distribution tests of posterior simulators.
    """
    name = type(sticks).__name__
    if type(sticks).sample_concentration is StickBreaking.sample_concentration:
        return  # not written, and only Gibbs asks for it

    def draw(key: PRNGKeyArray) -> tuple[Array, Array, Array]:
        key_alpha, key_weights, key_again = jax.random.split(key, 3)
        no_fraction = jnp.zeros(1, jax.tree.leaves(prior)[0].dtype)  # log w of a single component
        alpha, _ = sticks.sample_concentration(key_alpha, no_fraction, prior)
        nobody = jnp.zeros(num_components, alpha.dtype)
        fractions = Sticks(*sticks.fractions(nobody, alpha), prior)
        log_weights = sample_log_weights(key_weights, fractions)
        again, given = sticks.sample_concentration(key_again, log_weights, prior)
        return alpha, again, sticks.mean_concentration(given)

    keys = jax.random.split(jax.random.key(1), num_draws)
    alpha, again, mean = (np.asarray(leaf, np.float64) for leaf in jax.jit(jax.vmap(draw))(keys))
    for what, difference in (
        ("log alpha", np.log(again) - np.log(alpha)),
        ("(log alpha)^2", np.log(again) ** 2 - np.log(alpha) ** 2),
        ("alpha and the mean of what it was drawn from", again - mean),
    ):
        error, allowed = abs(difference.mean()), 6 * difference.std() / np.sqrt(num_draws)
        if not error <= allowed + 1e-5 * (1 + np.abs(again).mean()):
            raise SticksError(
                f"{name}.sample_concentration must draw from p(alpha | weights) under prior_fractions, "
                f"but {num_draws} draws of {what} differ by {error:.3g} where {allowed:.3g} is allowed."
            )


def _call(sticks: StickBreaking, name: str, *args: Any) -> Any:
    """The jitted value of one of the functions, or a sentence why it has none."""
    what = f"{type(sticks).__name__}.{name}"
    return called(SticksError, what, jitted(_named, sticks, name), *args)


def _named(sticks: StickBreaking, name: str, *args: Any) -> Any:
    return getattr(sticks, name)(*args)


def _weights_drawn(keys: Array, found: Sticks) -> Array:
    return jax.vmap(sample_log_weights, (0, None))(keys, found)


def _slopes(sticks: StickBreaking, found: Sticks, prior: Any, counts: Array) -> Sticks:
    return jax.grad(sticks_bound, 1)(sticks, found, prior, counts)
