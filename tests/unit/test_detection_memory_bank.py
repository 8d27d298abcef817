"""The bank against scikit-learn's brute-force neighbours, whatever the chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from jaxdpmm.detection.banks import exact, memory_bank
from jaxdpmm.families import kernels
from jaxdpmm.scoring.scorer import score


def features(num, key, dim=12, dtype=np.float64):
    return (np.random.default_rng(key).normal(size=(num, dim)) + 1).astype(dtype)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("num_neighbours", [1, 3])
@pytest.mark.parametrize("chunk_size", [2, 16, 57, 1000])
def test_equals_scikit_learn(metric, num_neighbours, chunk_size, monkeypatch):
    monkeypatch.setattr(exact, "QUERY_TILE", 8)
    bank, x = features(57, 0), features(21, 1)
    neighbours = NearestNeighbors(n_neighbors=num_neighbours, metric=metric, algorithm="brute")
    expected = neighbours.fit(bank).kneighbors(x)[0].mean(axis=1)
    scorer = memory_bank(metric, num_neighbours, chunk_size)
    np.testing.assert_allclose(
        score(scorer, jnp.asarray(bank), x, tile_size=10), expected, atol=1e-12
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_float32_with_a_tight_bank_far_from_zero(metric):
    """Unit-norm features that differ little, as patches of one texture do."""
    bank = 5 + 0.05 * features(400, 0, 64)
    x = 5 + 0.05 * features(50, 1, 64)
    bank, x = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (bank, x))
    expected = NearestNeighbors(n_neighbors=1, metric=metric).fit(bank).kneighbors(x)[0][:, 0]
    bank, x = jnp.asarray(bank, jnp.float32), jnp.asarray(x, jnp.float32)
    found = score(memory_bank(metric), bank, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_known_point_and_zero_vector():
    scorer = memory_bank("cosine")
    bank = jnp.asarray([[1.0, 0.0], [0.0, 2.0]])
    x = jnp.asarray([[0.0, 3.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    found = scorer.score(scorer.prepare(bank), x)
    np.testing.assert_allclose(found, [0, 1 - 1 / np.sqrt(2), 1, 1], atol=1e-15)


def test_memory_is_bounded_by_tile_and_chunk():
    """The compiled scorer's scratch memory does not grow with the bank or with the points."""

    def scratch(num_rows, num_points):
        scorer = memory_bank("cosine", 2, chunk_size=256)
        bank = scorer.prepare(jnp.ones((num_rows, 8), jnp.float32))
        x = jax.ShapeDtypeStruct((num_points, 8), jnp.float32)
        compiled = jax.jit(scorer.score).lower(bank, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small = scratch(1024, 2048)
    assert scratch(16 * 1024, 2048) < 1.5 * small
    assert scratch(1024, 8 * 2048) < 1.5 * small + 8 * 2048 * 8 * 4


def test_bad_arguments():
    with pytest.raises(
        ValueError, match=r"metric must be one of \['cosine', 'euclidean'\], got 'l1"
    ):
        memory_bank("l1")
    with pytest.raises(ValueError, match="num_neighbours and chunk_size must be at least 1, got 0"):
        memory_bank(num_neighbours=0)
    with pytest.raises(
        ValueError, match=r"at least num_neighbours=5 rows, got 4; add normal images"
    ):
        memory_bank(num_neighbours=5).prepare(jnp.ones((4, 3)))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("num_neighbours", [1, 3])
@pytest.mark.parametrize("together", [1, 3, 100])
def test_many_chunks_at_once_give_the_same(metric, num_neighbours, together, monkeypatch):
    """What other platforms than CPUs do: several chunks in one product, the last ones not twice."""
    generator = np.random.default_rng(4)
    rows, x = (
        jnp.asarray(generator.normal(size=(70, 5))),
        jnp.asarray(generator.normal(size=(9, 5))),
    )
    bank = memory_bank(metric, num_neighbours, chunk_size=10)
    expected = bank.score(bank.prepare(rows), x)
    monkeypatch.setattr(kernels, "LARGEST", 8 * 9 * 10 * together)
    with kernels.one_version("default"):
        found = bank.score(bank.prepare(rows), x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
