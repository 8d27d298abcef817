"""Both versions of every kernel give the same, within the memory that is promised, and a CPU's program has one."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from patches import FAMILIES, NUM_CLUSTERS, mixture_of, patches, posterior_of, prior_of, shapes_of
from tf32 import equations

from jaxdpmm import Mixture
from jaxdpmm.chosen import chosen_entries
from jaxdpmm.families import kernels
from jaxdpmm.families.gaussian_full import BLOCK, ROWS
from jaxdpmm.grouping import group_by_component, pair_statistics
from jaxdpmm.model import expected_readout
from jaxdpmm.scoring import predictive

DIM = 6
WITH_KERNELS = [family for family in FAMILIES if family != "von Mises-Fisher"]
each_size = pytest.mark.parametrize("blocks", ["all at once", "two at a time", "one at a time"])


def in_version(version: str, function, *args) -> Any:
    """What one version gives; a function of its own, since programs are found by their function."""
    with kernels.one_version(version):
        return jax.jit(lambda *args: function(*args))(*args)


def hold_at_most(blocks: str, size: int, monkeypatch) -> None:
    """Blocks of `size` numbers in float64, so many at a time."""
    most = {"all at once": kernels.LARGEST, "two at a time": 16 * size, "one at a time": 8}[blocks]
    monkeypatch.setattr(kernels, "LARGEST", most)


def assert_close(left: Any, right: Any) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10), left, right)


@pytest.fixture(scope="module", params=WITH_KERNELS)
def computed(request):
    """A function of a family's kernels and of pairs, its arguments, and what a processor makes of them."""
    mixture = mixture_of(request.param, DIM)
    x, labels = patches(DIM, 0.1, num_points=50)
    x = jnp.asarray(x, jnp.float64)
    posterior = jax.jit(partial(posterior_of, mixture))(prior_of(mixture, np.asarray(x)), x, labels)
    responsibilities = jax.nn.softmax(jnp.cos(jnp.outer(x[:, 0], jnp.arange(6.0)) * 9))
    chosen = jax.lax.top_k(responsibilities, 3)[1]

    def everything(posterior, x, responsibilities, chosen):
        params = expected_readout(mixture, posterior).params
        prepared = predictive(mixture).prepare(posterior).params
        groups = group_by_component(chosen.ravel(), NUM_CLUSTERS, block_size=8)
        point, weight = jnp.arange(chosen.size) // 3, jnp.linspace(0.1, 1, chosen.size)
        return (
            mixture.family.log_likelihood_matrix(params, x),
            mixture.family.log_predictive_matrix(prepared, x),
            mixture.family.weighted_statistics(x, responsibilities),
            mixture.family.local_statistics(params, x, responsibilities),
            chosen_entries(mixture.family.log_likelihood_matrix, params, x, chosen),
            pair_statistics(mixture, x, point, weight, groups, None, params),
        )

    args = posterior, x, responsibilities, chosen
    return everything, args, in_version("cpu", everything, *args)


@pytest.mark.parametrize("blocks", ["all at once", "two at a time"])
def test_both_versions_give_the_same(computed, blocks, monkeypatch):
    function, args, expected = computed
    hold_at_most(blocks, 50 * DIM, monkeypatch)
    assert_close(in_version("default", function, *args), expected)


def test_tables_of_von_mises_fisher():
    posterior = shapes_of(mixture_of("von Mises-Fisher", DIM), (DIM,)).posterior
    natural = jax.tree.map(lambda leaf: leaf[0].astype(np.float64), posterior.components)
    of = mixture_of("von Mises-Fisher", DIM).family.predictive_params
    assert_close(in_version("default", of, natural), in_version("cpu", of, natural))


@each_size
def test_scatter_of_many_points(blocks, monkeypatch):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2 * ROWS + 37, 8))
    weights = np.eye(3)[generator.integers(2, size=len(x))] + 1e-300  # the third has no point
    hold_at_most(blocks, x.size, monkeypatch)
    expected = np.einsum("nk,ni,nj->kij", weights, x, x)
    for version in ("cpu", "default"):
        of = partial(kernels.scatter, rows=ROWS)
        assert_close(in_version(version, of, jnp.asarray(x), jnp.asarray(weights)), expected)


@pytest.mark.parametrize("name", ["full", "diagonal", "spherical", "low rank"])
def test_nothing_larger_than_promised_is_held(name):
    """Traced at the size of real data, not run: the largest array is a block, an argument or a result."""
    num_components, dim, num_points = 200, 3 * BLOCK, 4096
    mixture = Mixture(FAMILIES[name](dim), num_components)

    family = mixture.family
    posterior = shapes_of(mixture, family.point_shape, num_points=2).posterior

    def of(x, weights):
        prepared = predictive(mixture).prepare(posterior).params
        params = expected_readout(mixture, posterior).params
        return (
            family.log_predictive_matrix(prepared, x),
            family.local_statistics(params, x, weights),
        )

    points = jax.ShapeDtypeStruct((num_points, dim), np.float32)
    weights = jax.ShapeDtypeStruct((num_points, num_components), np.float32)
    with kernels.one_version("default"):
        program = jax.make_jaxpr(of)(points, weights)
    sizes = [_num_bytes(v) for e in equations(program.jaxpr) for v in e.outvars]
    whole = max(map(_num_bytes, program.jaxpr.outvars))
    assert max(sizes) <= max(kernels.LARGEST, whole)
    assert max(sizes) > kernels.LARGEST / 4  # else blocks would be smaller than they need be


@pytest.mark.parametrize("family", ["full", "diagonal"])
def test_a_processor_has_its_own_version_only(family):
    mixture, _, posterior, batch = shapes_of(mixture_of(family, DIM), (DIM,))
    scorer = predictive(mixture)
    prepared = jax.eval_shape(scorer.prepare, posterior)
    lowered = jax.jit(scorer.score).lower(prepared, batch.x)
    assert "conditional" not in lowered.compile().as_text()


def _num_bytes(variable: Any) -> int:
    return variable.aval.size * variable.aval.dtype.itemsize
