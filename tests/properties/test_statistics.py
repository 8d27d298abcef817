"""Statistics are a sum over points: of parts, in any order, however many, in either precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdpmm import GaussianDiagonal, Mixture, trees
from jaxdpmm.inference import dense
from jaxdpmm.inference.local_steps.dense import TILE_SIZE, sum_over_tiles
from jaxdpmm.model import Batch, Readout, summarize

NAMES = ["full-5", "diagonal-5", "spherical-5", "poisson", "bernoulli"]
few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


def statistics(name, order, seed):
    """Statistics of some of the points, in an order, under random responsibilities and weights."""
    family, _, x = FAMILIES[name](np.float64)
    generator = np.random.default_rng(seed)
    responsibilities = generator.dirichlet(np.ones(3), len(x))
    weight = generator.uniform(0, 3, len(x))
    rows = np.asarray(order, int)
    of = map(jnp.asarray, (responsibilities[rows], x[rows], weight[rows]))
    return summarize(Mixture(family, 3), *of, None)


def assert_equal(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-9), ours, theirs)


@few
@given(name=st.sampled_from(NAMES), cut=st.integers(1, 29), seed=st.integers(0, 99))
def test_parts_add_up(name, cut, seed):
    parts = statistics(name, range(cut), seed), statistics(name, range(cut, 30), seed)
    assert_equal(trees.add(*parts), statistics(name, range(30), seed))


@few
@given(name=st.sampled_from(NAMES), order=st.permutations(range(30)), seed=st.integers(0, 99))
def test_order_is_of_no_matter(name, order, seed):
    assert_equal(statistics(name, order, seed), statistics(name, range(30), seed))


@few
@given(name=st.sampled_from(NAMES), removed=st.integers(1, 28), seed=st.integers(0, 99))
def test_points_can_be_taken_out_again(name, removed, seed):
    rest = trees.subtract(statistics(name, range(30), seed), statistics(name, range(removed), seed))
    assert_equal(rest, statistics(name, range(removed, 30), seed))


@pytest.mark.parametrize("num_points", [1, TILE_SIZE, TILE_SIZE + 1, 3 * TILE_SIZE - 5])
def test_tiles_add_up(num_points):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((num_points, 2)))
    weight = jnp.linspace(0.5, 1.5, num_points)

    def of_tile(x, weight):
        return {"first": weight @ x, "number": jnp.sum(weight)}

    assert_equal(sum_over_tiles(of_tile, x, weight), of_tile(x, weight))


@pytest.mark.parametrize("num_points", [1_200_000, pytest.param(10**7, marks=pytest.mark.slow)])
def test_millions_of_points_lose_nothing_in_float32(num_points):
    """Of plain float32 sums, one in about 1e5 is lost here already; tiles are added with compensation."""
    generator = np.random.default_rng(0)
    x = (3 + generator.standard_normal((num_points, 2))).astype(np.float32)
    batch = Batch(
        jnp.asarray(x),
        jnp.ones(len(x), jnp.float32),
        jnp.asarray(0),
        jnp.asarray(True),
        jnp.float32(len(x)),
    )
    family = GaussianDiagonal(2)
    mean = jnp.asarray([[3.0, 3.0], [0.0, 0.0]], jnp.float32)
    params = jax.vmap(
        lambda m: family.point_params(family.prior(m, jnp.ones(2, m.dtype), 1.0, 1.0))
    )(mean)
    readout = Readout(jnp.log(jnp.asarray([0.7, 0.3], jnp.float32)), params, None)
    mixture = Mixture(family, 2)
    single = jax.jit(lambda *args: dense.step(mixture, *args, ()))(readout, batch)
    to_double = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf,
        (readout, batch),
    )
    double = jax.jit(lambda *args: dense.step(mixture, *args, ()))(*to_double)
    for ours, exact in zip(*map(jax.tree.leaves, (single.stats, double.stats)), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(np.asarray(ours, np.float64), exact, rtol=1e-5)
