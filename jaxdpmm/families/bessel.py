"""Modified Bessel functions of the first kind in the form that a von Mises-Fisher distribution needs.

    F(nu, z) = Gamma(nu + 1) (2 / z)^nu I_nu(z) = 0F1(; nu + 1; z^2 / 4)

is 1 at z = 0 and smooth, and grows like exp(z): so log F(nu, z) - z neither overflows nor cancels, from z = 0
to 1e12. For orders of at least MINIMUM_ORDER the uniform asymptotic expansion gives it at once; smaller orders are
reached from there by the recurrence in its stable direction, downwards. Next file to read: `../sticks/base.py`.

References:
    NIST Digital Library of Mathematical Functions, https://dlmf.nist.gov, 10.41.3 (expansion), 10.41.9
    (polynomials), 10.29.1 (recurrence), 5.11.1 (Stirling's series).
"""

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MINIMUM_ORDER = 24.0  # from here on NUM_TERMS terms leave an error below 1e-11
NUM_TERMS = 6


def log_scaled_bessel(order: float, z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Log F(nu, z) - z, elementwise.

    Args:
        order: nu, at least 0; a number, not an array.
        z: at least 0.
    """
    num_steps = max(0, math.ceil(MINIMUM_ORDER - order))
    top = order + num_steps
    if not num_steps:
        return _expansion(top, z)

    def lower(carry: Any, mu: Any) -> Any:
        # F(mu - 1) = F(mu) + z^2 F(mu + 1) / (4 mu (mu + 1)): positive terms, so nothing cancels.
        value, ratio = carry
        growth = (z / (2 * mu)) * (z / (2 * (mu + 1))) * ratio
        return (value + jnp.log1p(growth), 1 / (1 + growth)), None

    value = _expansion(top, z)
    ratio = jnp.exp(_expansion(top + 1, z) - value)
    orders = jnp.asarray([top - step for step in range(num_steps)], z.dtype)
    return jax.lax.scan(lower, (value, ratio), orders)[0][0]


def _expansion(order: float, z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Log F(nu, z) - z for large nu, uniformly in z.

    With x = z / nu and s = sqrt(1 + x^2), nu eta of DLMF 10.41.7 and the power (2 / z)^nu give
    nu (1 / (s + x) - 1 - log((1 + s) / 2)), and Gamma(nu + 1) Stirling's series, which cancels sum U_k / nu^k at z = 0.
    """
    x = z / order
    s = jnp.sqrt(1 + x * x)
    exponent = order * (1 / (s + x) - 1 - jnp.log(0.5 * (1 + s)))
    return exponent - 0.5 * jnp.log(s) + _log_correction(order, 1 / s)


def _log_correction(order: float, p: Float[Array, "..."]) -> Float[Array, "..."]:
    """Log sum_k U_k(p) / nu^k, less its value at p = 1, so that F(nu, 0) is 1 exactly."""
    coefficients = [Fraction(0)] * (3 * NUM_TERMS + 1)
    for k, polynomial in enumerate(_POLYNOMIALS, 1):
        for j, c in enumerate(polynomial):
            coefficients[k + 2 * j] += c / Fraction(order) ** k
    total = jnp.zeros_like(p)
    for c in reversed(coefficients):  # Horner's scheme
        total = total * p + float(c)
    return jnp.log1p(total) - math.log1p(sum(coefficients))


def _polynomials(num_terms: int) -> list[list[Fraction]]:
    """U_k(p) = p^k (c_0 + c_1 p^2 + ... + c_k p^(2 k)) for k = 1, ..., by DLMF 10.41.9, exactly.

    U_(k+1) = p^2 (1 - p^2) U_k' / 2 + the integral of (1 - 5 t^2) U_k(t) / 8 from 0 to p.
    """
    polynomials, last = [], [Fraction(1)]
    for k in range(num_terms):
        new = [Fraction(0)] * (k + 2)
        for j, c in enumerate(last):
            power = k + 2 * j
            new[j] += c * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            new[j + 1] -= c * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
        polynomials.append(new)
        last = new
    return polynomials


_POLYNOMIALS = _polynomials(NUM_TERMS)
