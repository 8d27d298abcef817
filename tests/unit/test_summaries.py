import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score, rand_score
from sklearn.metrics.cluster import contingency_matrix

from jaxdpmm import DirichletProcess, GaussianDiagonal, Mixture, default_prior
from jaxdpmm.model import Posterior
from jaxdpmm.sticks import Sticks
from jaxdpmm.summaries import (
    binder_loss,
    co_clustering,
    num_occupied,
    point_partition,
    variation_of_information,
)

DRAWS = np.array([[0, 0, 1, 2], [1, 1, 0, 0], [2, 2, 0, 0], [0, 1, 1, 1]])


@pytest.fixture
def two_partitions():
    generator = np.random.default_rng(0)
    first = generator.integers(0, 4, 50)
    return first, np.where(generator.random(50) < 0.7, first, generator.integers(0, 5, 50))


def test_co_clustering_counts_draws():
    expected = (DRAWS[:, :, None] == DRAWS[:, None, :]).mean(0)
    np.testing.assert_allclose(co_clustering(DRAWS), expected, rtol=1e-12)


def test_co_clustering_ignores_names():
    renamed = np.array([2, 0, 1])[DRAWS]
    np.testing.assert_array_equal(co_clustering(DRAWS), co_clustering(renamed))


def test_binder_loss_is_one_minus_the_rand_index(two_partitions):
    table = jnp.asarray(contingency_matrix(*two_partitions), float)
    ordered_pairs = 50 * 49 / 50**2
    expected = (1 - rand_score(*two_partitions)) * ordered_pairs
    np.testing.assert_allclose(binder_loss(table), expected, rtol=1e-12)


def test_variation_of_information_from_entropies(two_partitions):
    table = jnp.asarray(contingency_matrix(*two_partitions), float)
    shared = mutual_info_score(*two_partitions)
    alone = [entropy(np.bincount(partition)) for partition in two_partitions]
    expected = sum(alone) - 2 * shared
    np.testing.assert_allclose(variation_of_information(table), expected, rtol=1e-10)


@pytest.mark.parametrize("loss", [binder_loss, variation_of_information])
def test_point_partition_is_the_best_draw(loss):
    def distance(a, b):
        return float(loss(jnp.asarray(contingency_matrix(a, b), float)))

    mean_losses = [np.mean([distance(a, b) for b in DRAWS]) for a in DRAWS]
    partition, found = point_partition(DRAWS, loss)
    np.testing.assert_allclose(found, min(mean_losses), rtol=1e-10)
    np.testing.assert_array_equal(partition, [0, 0, 1, 1])


def test_point_partition_ranks_by_size():
    partition, loss = point_partition(np.array([[3, 3, 0, 3, 1, 1]]))
    np.testing.assert_array_equal(partition, [0, 0, 2, 0, 1, 1])
    assert abs(loss) < 1e-12


def test_num_occupied():
    mixture = Mixture(GaussianDiagonal(1), 3, DirichletProcess())
    prior = default_prior(mixture, jnp.zeros((2, 1)))
    counts = jnp.asarray([[2.0, 0, 1], [3, 0, 0]])
    none = Sticks(counts[:, :2], counts[:, :2], prior.concentration)
    np.testing.assert_array_equal(num_occupied(Posterior(none, None, counts)), [2, 1])


@pytest.mark.parametrize("labels", [[0, 1], [[0.0, 1.0]], [[-1, 0]], np.zeros((0, 3), int)])
def test_wrong_labels_are_one_sentence(labels):
    for function in (co_clustering, point_partition):
        with pytest.raises(ValueError, match=r"whole numbers from 0 on of shape \(S, N\)"):
            function(labels)


def test_wrong_number_of_candidates():
    with pytest.raises(ValueError, match="num_candidates must be at least 1, got 0"):
        point_partition(DRAWS, num_candidates=0)


def test_variation_of_information_is_a_metric():
    partitions = np.array(list(itertools.product(range(2), repeat=3)))
    one_hot = (partitions[:, :, None] == np.arange(2)).astype(float)
    tables = jnp.asarray(np.einsum("anj,bnk->abjk", one_hot, one_hot))
    distance = np.asarray(jax.vmap(jax.vmap(variation_of_information))(tables))
    assert (distance[:, None] <= distance[:, :, None] + distance[None] + 1e-12).all()
