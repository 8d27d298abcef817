"""Coreset and k-means rows against brute force, faiss against the exact bank, and the choice of references."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machine import needs_faiss
from sklearn.cluster import KMeans

from jaxdpmm.detection.banks import faiss_bank, greedy_coreset, k_means_rows, memory_bank
from jaxdpmm.detection.few_shot import choose_references
from jaxdpmm.scoring import score


def features(num=300, dim=12, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(size=(num, dim)) + 5 * random.integers(0, 3, (num, 1))).astype(np.float32)


def farthest_first(x, first, size):
    """The greedy choice written out."""
    chosen = [first]
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    while len(chosen) < size:
        chosen.append(int(np.argmax(distances[chosen].min(axis=0))))
    return chosen


def test_coreset_is_the_greedy_choice(key):
    x = features()
    chosen = greedy_coreset(x, 40, key=key, num_projected=None)
    assert chosen.tolist() == farthest_first(x.astype(float), int(chosen[0]), 40)
    np.testing.assert_array_equal(greedy_coreset(x, 15, key=key, num_projected=None), chosen[:15])


def test_projected_coreset_covers_nearly_as_well(key):
    strange = np.random.default_rng(1).exponential(size=(400, 1)).astype(np.float32)
    x = features(400, 300) * strange

    def radius(chosen):
        return np.linalg.norm(x[:, None] - x[chosen][None], axis=2).min(axis=1).max()

    exact, projected = (
        radius(greedy_coreset(x, 30, key=key, num_projected=number)) for number in (None, 64)
    )
    at_random = radius(np.random.default_rng(1).permutation(400)[:30])
    assert projected <= 1.1 * exact
    assert exact <= at_random
    assert len(set(greedy_coreset(x, 30, key=key).tolist())) == 30


def test_k_means_is_about_as_good_as_scikit_learn(key):
    x = features(600)

    def inertia(centres):
        return (((x[:, None] - centres[None]) ** 2).sum(axis=2).min(axis=1)).sum()

    ours = inertia(k_means_rows(x, 8, key=key))
    theirs = KMeans(8, n_init=1, random_state=0).fit(x).inertia_
    assert ours <= 1.05 * theirs


def test_k_means_takes_all_features_in_tiles(key, monkeypatch):
    x = features(500)
    whole = k_means_rows(x, 5, key=key)
    monkeypatch.setattr("jaxdpmm.detection.banks.coreset.TILE_SIZE", 64)
    np.testing.assert_allclose(k_means_rows(x, 5, key=key), whole, atol=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("num_neighbours", [1, 3])
@needs_faiss
def test_faiss_equals_the_exact_bank(metric, num_neighbours):
    bank, x = features(), features(60, seed=1)
    ours = score(memory_bank(metric, num_neighbours), jnp.asarray(bank), x)
    theirs = faiss_bank(bank, metric, num_neighbours)
    np.testing.assert_allclose(
        theirs.score_patches(x.reshape(6, 10, -1)).ravel(),
        ours,
        atol=2e-3 if metric[0] == "e" else 1e-5,
    )
    assert theirs.num_bytes >= bank.nbytes


@needs_faiss
def test_approximate_faiss_is_near():
    bank, x = features(2000, seed=2), features(100, seed=3)
    index = faiss_bank(bank, "euclidean", index="IVF16,Flat")
    index.index.nprobe = 8
    exact = faiss_bank(bank, "euclidean").score_patches(x[None])
    found = index.score_patches(x[None])
    assert np.all(found >= exact - 1e-4)
    assert np.mean(found <= exact + 1e-4) > 0.9


@needs_faiss
def test_faiss_that_cannot_be(monkeypatch):
    with pytest.raises(ValueError, match=r"metric must be one of cosine, euclidean and num_neigh"):
        faiss_bank(features(), "l1")
    with pytest.raises(ValueError, match=r"between 1 and 300, got 'cosine' and 301; choose"):
        faiss_bank(features(), num_neighbours=301)
    with pytest.raises(ValueError, match=r"index must be a description .* got 'Flatt'"):
        faiss_bank(features(), index="Flatt")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "jaxdpmm\[faiss\]", or use memory_bank'):
        faiss_bank(features())


def test_bad_sizes(key):
    with pytest.raises(
        ValueError, match="size must be between 1 and the number of features, 300, got"
    ):
        greedy_coreset(features(), 301, key=key)
    with pytest.raises(
        ValueError, match="num_rows must be between 1 and the number of features, 300"
    ):
        k_means_rows(features(), 0, key=key)


def test_references_are_the_runs_of_anomalydino():
    assert choose_references(range(10), 4, 0) == (0, 1, 2, 3)
    assert choose_references(range(10), 4, 1) == (4, 5, 6, 7)
    with pytest.raises(
        ValueError, match=r"a run of 10 images, got num_shots=4 and seed=2; seeds go up to 1"
    ):
        choose_references(range(10), 4, 2)


def test_same_key_gives_same_rows():
    x, key = features(), jax.random.key(3)
    np.testing.assert_array_equal(greedy_coreset(x, 9, key=key), greedy_coreset(x, 9, key=key))
    np.testing.assert_array_equal(k_means_rows(x, 4, key=key), k_means_rows(x, 4, key=key))
