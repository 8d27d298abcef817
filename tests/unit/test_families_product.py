"""Product families: the contract, agreement with their parts, what and where, and cosine through joined means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from custom_families import BernoulliBeta, PoissonGamma

from jaxdpmm import (
    GaussianDiagonal,
    GaussianFull,
    Mixture,
    cavi,
    default_prior,
    fit,
    initialize,
    scoring,
)
from jaxdpmm.families import Block, ProductFamily
from jaxdpmm.testing import check_family

WHAT_AND_WHERE = ProductFamily(
    (Block("what", GaussianDiagonal(3)), Block("where", GaussianFull(2)))
)
MIXED = ProductFamily(
    (
        Block("number", GaussianFull(2)),
        Block("count", PoissonGamma(), ()),
        Block("flags", BernoulliBeta(), (3,)),
    )
)


def mixed_data(num_points=20):
    generator = np.random.default_rng(0)
    columns = [
        generator.standard_normal((num_points, 2)),
        generator.poisson(4, (num_points, 1)),
        generator.random((num_points, 3)) < 0.3,
    ]
    return jnp.asarray(np.concatenate(columns, axis=1))


def mixed_prior():
    two = jnp.asarray(2.0)
    flags = {"ones": jnp.ones(3), "zeros": jnp.full(3, 2.0)}
    return {
        "number": GaussianFull(2).prior(jnp.zeros(2), jnp.eye(2), 0.5, 4.0),
        "count": (two, two),
        "flags": flags,
    }


def test_contract():
    check_family(MIXED, mixed_prior(), mixed_data(), tolerance=1e-8)


@pytest.mark.slow
def test_sampling_agrees_with_expectations():
    x = jax.random.normal(jax.random.key(0), (10, 5))
    check_family(
        WHAT_AND_WHERE, WHAT_AND_WHERE.default_prior(x, 3), x, tolerance=1e-8, num_draws=500
    )


def test_split_and_join_are_inverse():
    x = mixed_data()
    parts = MIXED.split(x)
    assert {name: part.shape for name, part in parts.items()} == {
        "number": (20, 2),
        "count": (20,),
        "flags": (20, 3),
    }
    np.testing.assert_array_equal(MIXED.join(parts, 1), x)
    np.testing.assert_array_equal(MIXED.join(MIXED.split(x[0])), x[0])


def test_one_block_is_the_family_itself():
    x = jax.random.normal(jax.random.key(1), (10, 3))
    alone, family = ProductFamily((Block("only", GaussianDiagonal(3)),)), GaussianDiagonal(3)
    prior = family.default_prior(x, 2)
    stacked = jax.tree.map(lambda leaf: leaf[None], family.predictive_params(prior))
    np.testing.assert_array_equal(
        alone.log_predictive_matrix({"only": stacked}, x), family.log_predictive_matrix(stacked, x)
    )


def test_only_some_blocks_are_centred():
    point = MIXED.reference_point(mixed_data())
    np.testing.assert_allclose(point[:2], mixed_data()[:, :2].mean(0))
    np.testing.assert_array_equal(point[2:], 0)
    flags = ProductFamily((Block("flags", BernoulliBeta(), (6,)),))
    assert flags.reference_point(mixed_data()) is None


def test_where_tells_apart_what_looks_alike(key):
    """The same features at two places: normal at their own place only."""
    generator = np.random.default_rng(3)
    side = np.arange(200) % 2
    what = np.where(side[:, None], 3.0, -3.0) + 0.5 * generator.standard_normal((200, 3))
    where = np.where(side[:, None], [0.8, 0.8], [0.2, 0.2]) + 0.05 * generator.standard_normal(
        (200, 2)
    )
    x, swapped = np.hstack([what, where]), np.hstack([what, where[::-1]])
    mixture = Mixture(WHAT_AND_WHERE, 4)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=key)
    posterior = fit(cavi(mixture, prior), x, start, num_epochs=20).posterior
    predictive = scoring.predictive(mixture)
    assert (
        scoring.score(predictive, posterior, x).max()
        < scoring.score(predictive, posterior, swapped).min()
    )
    cosine = scoring.score(scoring.cosine(mixture), posterior, x)
    assert cosine.max() < 0.2
    assert scoring.score(scoring.plug_in(mixture), posterior, x).shape == (200,)


def test_errors():
    with pytest.raises(
        ValueError,
        match=r"shape must be given for block 'count', since PoissonGamma.*single number",
    ):
        Block("count", PoissonGamma())
    with pytest.raises(
        ValueError, match=r"blocks must be a tuple of Block with names of their own, got \(\)"
    ):
        ProductFamily(())
    block = Block("a", GaussianFull(2))
    with pytest.raises(ValueError, match="names of their own"):
        ProductFamily((block, block))
