"""Every kernel lowers for CUDA and TPU, on a machine with neither, and never calls back to the host."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from patches import FAMILIES as ALL_FAMILIES
from patches import mixture_of, ones_of, shapes_of, with_backends, with_scores

from jaxdpmm import GaussianDiagonal, GaussianFull, GaussianSpherical, Mixture, default_prior
from jaxdpmm.detection.banks import memory_bank
from jaxdpmm.inference import cavi
from jaxdpmm.inference.backends import (
    gibbs,
    label_switching,
    memoized,
    online_em,
    split_merge,
    stochastic,
)
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.data.mesh import COMPONENTS, DATA
from jaxdpmm.inference.initialize import k_means
from jaxdpmm.inference.local_steps import (
    candidates,
    dense,
    sharded,
    sharded_components,
    sparse,
)
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


@pytest.mark.parametrize("name", sorted(SCORERS.keys() - {"residual"}))
def test_scores_of_mixtures(mixture, name):
    check_lowers(SCORERS[name](mixture[0]), mixture[1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("num_neighbours", [1, 3])
def test_memory_banks(metric, num_neighbours):
    check_lowers(memory_bank(metric, num_neighbours, chunk_size=16), jnp.asarray(X))


MESH = AbstractMesh((1, 1), (DATA, COMPONENTS))
LOCAL_STEPS = {
    "dense": dense,
    "sparse": sparse(2),
    "candidates": candidates(3, 2),
    "sharded": sharded(dense, MESH),
    "sharded components": sharded_components(MESH),
}
BACKENDS = {
    "memoized": memoized,
    "stochastic": stochastic,
    "online_em": online_em,
    "gibbs": lambda mixture, prior: gibbs(
        mixture, prior, moves=(label_switching(2), split_merge())
    ),
} | {
    name: lambda mixture, prior, step=step: cavi(mixture, prior, step)
    for name, step in LOCAL_STEPS.items()
}
each_family = pytest.mark.parametrize("family", ALL_FAMILIES)


def check_program(function, *args):
    """It lowers for all platforms at once, without host callbacks."""
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*args)
    assert set(exported.platforms) == set(PLATFORMS)
    assert "callback" not in exported.mlir_module()


@each_family
def test_every_score_of_every_family(family):
    mixture, _, posterior, batch = shapes_of(mixture_of(family, 5), (5,))
    names = [name for of, name in with_scores() if of == family]

    def scores(posterior, x):
        scorers = [SCORERS[name](mixture) for name in names]
        return [scorer.score(scorer.prepare(posterior), x) for scorer in scorers]

    check_program(scores, posterior, batch.x)


@pytest.mark.parametrize(("family", "backend"), with_backends(BACKENDS))
def test_every_step_of_every_backend_and_family(family, backend):
    mixture, prior, posterior, batch = shapes_of(mixture_of(family, 5), (5,))
    algorithm = BACKENDS[backend](mixture, prior)
    state = ones_of(partial(algorithm.init, layout=Layout(1, 40, 40.0)), posterior)

    def step(bits, state, batch):
        return algorithm.step(jax.random.wrap_key_data(bits), state, batch)

    check_program(step, jnp.zeros(2, jnp.uint32), state, batch)


def test_k_means():
    check_program(lambda x: k_means(jax.random.key(0), x, 3), X)
