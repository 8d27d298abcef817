"""Every scoring kernel lowers for CUDA and TPU, on a machine with neither, and never calls back to the host."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import GaussianDiagonal, GaussianFull, GaussianSpherical, Mixture, default_prior
from jaxdpmm.detection.banks import memory_bank
from jaxdpmm.model import global_update, summarize
from jaxdpmm.scoring import SCORERS

FAMILIES = {"full": GaussianFull, "diagonal": GaussianDiagonal, "spherical": GaussianSpherical}
PLATFORMS = ("cpu", "cuda", "tpu")
X = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def mixture(request):
    """A mixture of three components with data in each."""
    mixture = Mixture(FAMILIES[request.param](5), 3)
    x = jnp.asarray(X)
    prior = default_prior(mixture, x)
    one_hot = jax.nn.one_hot(jnp.arange(40) % 3, 3, dtype=jnp.float32)
    stats = summarize(mixture, one_hot, x, jnp.ones(40, jnp.float32), prior.offset)
    return mixture, global_update(mixture, prior, stats)


def check_lowers(scorer, fitted):
    """One artefact for all platforms, without host callbacks, that scores as the scorer itself does."""
    leaves, tree = jax.tree.flatten(jax.jit(scorer.prepare)(fitted))
    compiled = jax.jit(lambda leaves, x: scorer.score(jax.tree.unflatten(tree, leaves), x))
    exported = jax.export.export(compiled, platforms=PLATFORMS)(leaves, X)
    assert set(exported.platforms) == set(PLATFORMS)
    assert "callback" not in exported.mlir_module()
    again = jax.export.deserialize(exported.serialize())
    np.testing.assert_allclose(again.call(leaves, X), compiled(leaves, X), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_scores_of_mixtures(mixture, name):
    check_lowers(SCORERS[name](mixture[0]), mixture[1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("num_neighbours", [1, 3])
def test_memory_banks(metric, num_neighbours):
    check_lowers(memory_bank(metric, num_neighbours, chunk_size=16), jnp.asarray(X))
