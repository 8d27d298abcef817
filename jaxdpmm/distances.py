"""Squared distances of many points to many centres by one matrix product, |x|^2 - 2 x'm + |m|^2.

The product is an order of magnitude faster than differences, and less exact: what cancels is of the size of |x|^2 and
|m|^2, so that points should lie about zero (`Prior.offset`), and a distance far below their size holds nothing but
rounding. Where a density needs the digits, families sum differences in place of it (`GaussianFull` whitens them,
`GaussianSpherical.log_predictive_matrix` says what is lost). How exactly an accelerator multiplies is the caller's
choice (`precision.py`): in full where distances are wanted, by default where they only rank.
Next file to read: `families/gaussian_spherical.py`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def squared_distances(
    x: Float[Array, "N D"],
    centres: Float[Array, "K D"],
    norms: Float[Array, " N"] | None = None,
    centre_norms: Float[Array, " K"] | None = None,
) -> Float[Array, "N K"]:
    """|x_n - m_k|^2, never negative.

    Args:
        x: points.
        centres: m_k.
        norms: `squared_norms` of the points, where they are at hand.
        centre_norms: `squared_norms` of the centres, where they are at hand.
    """
    norms = squared_norms(x) if norms is None else norms
    centre_norms = squared_norms(centres) if centre_norms is None else centre_norms
    return jnp.maximum(norms[:, None] + centre_norms[None] - 2 * (x @ centres.T), 0)


def relative_squares(
    x: Float[Array, "N D"],
    centres: Float[Array, "K D"],
    centre_norms: Float[Array, " K"] | None = None,
) -> Float[Array, "N K"]:
    """|x_n - m_k|^2 - |x_n|^2, which orders the centres of each point as distances do and costs one pass less.

    Args:
        x: points.
        centres: m_k.
        centre_norms: `squared_norms` of the centres, where they are at hand; infinity leaves a centre out.
    """
    centre_norms = squared_norms(centres) if centre_norms is None else centre_norms
    return centre_norms[None] - 2 * (x @ centres.T)


def nearest_centres(x: Float[Array, "N D"], centres: Float[Array, "K D"]) -> Int[Array, " N"]:
    """The number of each point's nearest centre; of equals the first."""
    return jnp.argmin(relative_squares(x, centres), axis=1)


def squared_norms(x: Float[Array, "N D"]) -> Float[Array, " N"]:
    """|x_n|^2."""
    return jnp.sum(x * x, axis=1)
