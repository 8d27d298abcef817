"""Points on the unit sphere: lengths and directions, and draws about a mean direction.

Not here: densities, which are in `von_mises_fisher.py`. Next file to read: `bessel.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

NORM_TOLERANCE = 1e-3


def unit(direction: Float[Array, " D"]) -> tuple[Float[Array, " D"], Float[Array, ""]]:
    """Unit vector and length, with finite gradients also at zero, where the first axis stands in."""
    square = jnp.sum(direction * direction)
    length = jnp.sqrt(square + jnp.finfo(direction.dtype).tiny)
    axis = jnp.zeros_like(direction).at[0].set(1)
    return jnp.where(square > 0, direction / length, axis), length


def check_unit_norm(x: Float[Array, "N D"]) -> None:
    """Raise `ValueError` unless the norms of all rows are within NORM_TOLERANCE of one."""
    worst = float(jnp.max(jnp.abs(jnp.linalg.norm(x, axis=1) - 1)))
    if not worst < NORM_TOLERANCE:
        raise ValueError(
            f"x must have rows of norm one for VonMisesFisher, got norms up to {worst:.3g} away from it; divide each "
            "row by its norm."
        )


def sample_von_mises_fisher(
    key: PRNGKeyArray, mean: Float[Array, " D"], kappa: Float[Array, ""]
) -> Float[Array, " D"]:
    """One unit vector from von Mises-Fisher, by rejection from a Beta; uniform at kappa = 0.

    All in terms of 1 - cos, so that draws stay right where cos rounds to one.

    References:
        Wood (1994), Simulation of the von Mises Fisher distribution, algorithm VM*.
    """
    key_gap, key_tangent = jax.random.split(key)
    gap = _sample_gap(key_gap, kappa, mean.shape[0] - 1)
    noise = jax.random.normal(key_tangent, mean.shape, mean.dtype)
    tangent = noise - (noise @ mean) * mean
    tangent = tangent / jnp.linalg.norm(tangent)
    return (1 - gap) * mean + jnp.sqrt(gap * (2 - gap)) * tangent


def _sample_gap(key: PRNGKeyArray, kappa: Float[Array, ""], degree: int) -> Float[Array, ""]:
    """1 - cos of the angle to the mean direction; about two proposals in three are accepted or more."""
    b = degree / (2 * kappa + jnp.sqrt(4 * kappa * kappa + degree**2))
    best = 2 * b / (1 + b)  # 1 - x_0, where the envelope touches

    def propose(carry: Any) -> Any:
        key, _, _ = carry
        key, key_beta, key_accept = jax.random.split(key, 3)
        z = jax.random.beta(key_beta, 0.5 * degree, 0.5 * degree, dtype=kappa.dtype)
        gap = 2 * b * z / (1 - (1 - b) * z)
        log_ratio = jnp.log((best + (1 - best) * gap) / (best * (2 - best)))
        log_accept = kappa * (best - gap) + degree * log_ratio
        uniform = jax.random.uniform(key_accept, (), kappa.dtype)
        return key, gap, jnp.log(uniform) <= log_accept

    start = (key, jnp.zeros_like(kappa), jnp.asarray(False))
    return jax.lax.while_loop(lambda carry: ~carry[2], propose, start)[1]
