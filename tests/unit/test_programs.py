"""Few programs for many sizes, and the same results: what keeps the memory of a long-running process bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm.programs import bounded, jitted, padded_size
from jaxdpmm.scoring import in_tiles
from jaxdpmm.scoring.scorer import IN_FLIGHT

PARAMS = jnp.asarray(3.0)


@jax.jit
def product(params, x):
    """Something of each row."""
    return params * jnp.sum(x, axis=1)


def test_padded_sizes_are_few_and_near():
    sizes = np.arange(1, 5000)
    padded = np.array([padded_size(int(size)) for size in sizes])
    assert (padded >= sizes).all()
    assert (padded[16:] <= 1.25 * sizes[16:]).all()
    assert (padded <= np.maximum(1.25 * sizes, 16)).all()
    assert (
        len(set(padded.tolist())) == 1 + 4 * 8 + 1
    )  # up to 16, four per doubling up to 4,096, and 5,120
    assert all(padded_size(2**power) == 2**power for power in range(4, 13))


@pytest.mark.parametrize("number", [1, 5, 16, 17, 32, 33, 100])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
def test_tiles_give_what_a_single_call_gives(number, array):
    x = np.random.default_rng(0).normal(size=(number, 3))
    found = in_tiles(product, PARAMS, array(x), tile_size=32)
    assert isinstance(found, jax.Array if array is jnp.asarray else np.ndarray)
    np.testing.assert_allclose(found, 3 * x.sum(axis=1), rtol=1e-14)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
def test_no_points(array):
    found = in_tiles(product, PARAMS, array(np.zeros((0, 3))))
    assert found.shape == (0,)
    assert isinstance(found, jax.Array if array is jnp.asarray else np.ndarray)


def test_many_sizes_share_programs():
    fresh = jax.jit(lambda params, x: params * jnp.sum(x, axis=1))
    for number in range(17, 41):
        in_tiles(fresh, PARAMS, np.ones((number, 3)), tile_size=64)
    assert fresh._cache_size() == 5  # 20, 24, 28, 32 and 40


class Later:
    """A result that notes when it is fetched."""

    def __init__(self, number, log):
        self.number, self.log = number, log
        log.append(("sent", number))

    def __array__(self, dtype=None, copy=None):
        self.log.append(("fetched", self.number))
        return np.full(4, self.number, dtype)


def test_a_tile_is_not_waited_for_and_few_are_under_way():
    log: list = []
    found = in_tiles(
        lambda _, tile: Later(int(tile[0, 0]), log), None, np.repeat(np.arange(6), 4)[:, None], 4
    )
    np.testing.assert_array_equal(found, np.repeat(np.arange(6), 4))
    first = log.index(("fetched", 0))
    assert log[:first] == [("sent", number) for number in range(IN_FLIGHT + 1)]
    under_way = np.cumsum([1 if what == "sent" else -1 for what, _ in log])
    assert under_way.max() == IN_FLIGHT + 1


def test_bounded_forgets_what_was_not_used_for_longest():
    traced = []

    def function(scale, x):
        traced.append(x.shape)
        return scale * x

    compiled = bounded(function, num_static=1, most=2)
    for number in (1, 2, 1, 3, 1, 2):
        np.testing.assert_array_equal(compiled(2.0, np.ones(number)), np.full(number, 2.0))
    assert traced == [(1,), (2,), (3,), (2,)]
    assert compiled.program.cache_info().currsize == 2
    compiled(3.0, np.ones(2))
    assert traced[-1] == (2,)
    assert len(traced) == 5


def scaled(factor, x):
    """Of module level, as `jitted` asks for."""
    return factor * x


def test_jitted_is_one_function_for_equal_settings():
    assert jitted(scaled, 2) is jitted(scaled, 2)
    assert jitted(scaled, 2) is not jitted(scaled, 3)
    np.testing.assert_array_equal(jitted(scaled, 2)(np.ones(3)), np.full(3, 2.0))
