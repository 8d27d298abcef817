"""The scaled Bessel function against mpmath, in both precisions."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxdpmm.families.bessel import log_scaled_bessel

ARGUMENTS = [0.0, 1e-6, 1e-3, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4, 1e5, 1e7]
ORDERS = [
    0.0,
    0.5,
    1.0,
    3.5,
    23.5,
    24.0,
    31.0,
    191.0,
    767.0,
]  # dim / 2 - 1 of 2 to 1,536 dimensions


def exact(order: float, z: float) -> float:
    with mpmath.workdps(60):
        if z == 0:
            return 0.0
        z = mpmath.mpf(z)
        log_bessel = z + mpmath.log(mpmath.besseli(order, z) / mpmath.exp(z))
        return float(mpmath.loggamma(order + 1) + order * mpmath.log(2 / z) + log_bessel - z)


@pytest.mark.parametrize("order", ORDERS)
def test_values(order):
    expected = np.array([exact(order, z) for z in ARGUMENTS])
    scale = np.maximum(1, np.abs(expected))
    for dtype, tolerance in ((jnp.float64, 1e-10), (jnp.float32, 5e-5)):
        found = log_scaled_bessel(order, jnp.asarray(ARGUMENTS, dtype))
        assert found.dtype == dtype
        assert np.max(np.abs(np.asarray(found, np.float64) - expected) / scale) < tolerance


@pytest.mark.parametrize("order", [0.0, 0.5, 31.0, 767.0])
def test_slope_is_the_ratio_of_neighbouring_orders(order):
    """d log F / dz = I_(nu+1)(z) / I_nu(z), DLMF 10.29.4."""
    arguments = jnp.asarray(ARGUMENTS[1:])
    slopes = 1 + jax.vmap(jax.grad(lambda z: log_scaled_bessel(order, z)))(arguments)
    with mpmath.workdps(60):
        expected = [
            float(mpmath.besseli(order + 1, z) / mpmath.besseli(order, z)) for z in ARGUMENTS[1:]
        ]
    np.testing.assert_allclose(slopes, expected, rtol=1e-9, atol=1e-10)


def test_huge_arguments_do_not_overflow():
    assert np.isfinite(log_scaled_bessel(191.0, jnp.asarray([1e9, 1e12], jnp.float32))).all()
