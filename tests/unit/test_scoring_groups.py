"""The nearest of many thousands of vectors by groups of neighbours, against comparing all."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.families.kernels import one_version
from jaxdpmm.grouping import group_by_component, label_statistics
from jaxdpmm.model import global_update
from jaxdpmm.scoring import SCORERS, cosine, nearest_predictive, predictive, score
from jaxdpmm.scoring.distance import ScreenedMeans
from jaxdpmm.scoring.groups import LEAST_GROUPED, blocks_of
from jaxdpmm.scoring.screen import screen_of
from jaxdpmm.scoring.shortlist import nearest_rows
from jaxdpmm.scoring.uncertainty import score_over_draws, stack_draws
from jaxdpmm.testing import check_scorer

DIM = 12
grouped = jax.jit(lambda rows, barrier=None: screen_of(rows, barrier, 8, least_grouped=1))
found_rows = jax.jit(nearest_rows, static_argnums=2)


def vectors(number, seed=0):
    """About 100 centres that lie about a subspace of five dimensions."""
    random = np.random.default_rng(seed)
    shared = np.random.default_rng(9)
    axes, centres = shared.normal(size=(5, DIM)), shared.normal(size=(100, 5))
    places = centres[random.integers(100, size=number)] + 0.4 * random.normal(size=(number, 5))
    return places @ axes + 0.1 * random.normal(size=(number, DIM)) + 1


def test_every_vector_is_in_one_block_of_its_neighbours():
    rows = jnp.asarray(vectors(1000), jnp.float32)
    is_held = jnp.arange(1000) % 5 != 0
    numbers, centres = jax.jit(blocks_of, static_argnums=2)(rows, is_held, 32)
    held = np.asarray(numbers)
    np.testing.assert_array_equal(np.sort(held[held < 1000]), np.flatnonzero(is_held))
    rows, spread = np.asarray(rows), 0.0
    for block, centre in zip(held, np.asarray(centres), strict=True):
        own = rows[block[block < 1000]]
        if len(own):
            np.testing.assert_allclose(centre, own.mean(axis=0), rtol=1e-4, atol=1e-4)
            spread += np.sum((own - centre) ** 2)
        else:
            assert np.all(centre > 1e14)
    assert spread < 0.2 * np.sum((rows[is_held] - rows.mean(axis=0)) ** 2)


def test_finds_a_vector_as_near_as_the_nearest_for_all_but_one_in_a_thousand():
    rows, x = vectors(4096), vectors(2000, 1)
    found = np.asarray(found_rows(grouped(jnp.asarray(rows)), jnp.asarray(x), 6))
    assert all(len(set(one)) == 6 for one in found.tolist())
    distances = np.linalg.norm(x[:, None] - rows[found], axis=2).min(axis=1)
    nearest = np.sqrt(((x[:, None] - rows[None, :]) ** 2).sum(axis=2).min(axis=1))
    assert np.mean(distances <= nearest + 1e-6) >= 0.999


def test_processors_look_at_groups_and_others_at_all_of_the_same_columns():
    rows, x = jnp.asarray(vectors(2000)), jnp.asarray(vectors(300, 1))
    screen = grouped(rows)
    with one_version("default"):
        of_all = np.asarray(jax.jit(nearest_rows, static_argnums=2)(screen, x, 6))
    of_groups = np.asarray(found_rows(screen, x, 6))
    assert np.mean(of_all[:, 0] == of_groups[:, 0]) > 0.99
    nothing = jax.tree.map(jnp.zeros_like, screen.columns)
    without_groups = screen._replace(columns=nothing)
    assert np.mean(np.asarray(found_rows(without_groups, x, 6))[:, 0] == of_groups[:, 0]) < 0.5


def test_what_may_not_be_found_is_in_no_group_and_k_stands_for_what_is_missing():
    rows = vectors(1024)
    barrier = jnp.where(jnp.arange(1024) < 1021, jnp.inf, 0)
    found = np.asarray(found_rows(grouped(jnp.asarray(rows), barrier), jnp.asarray(rows[:50]), 6))
    np.testing.assert_array_equal(np.sort(found, axis=1)[:, :3], [[1021, 1022, 1023]] * 50)
    assert np.all(np.sort(found, axis=1)[:, 3:] == 1024)


@pytest.mark.parametrize("size", [8, None])
def test_pairs_of_no_component_are_in_no_block(size):
    component = jnp.asarray(np.random.default_rng(0).integers(8, size=300))
    groups = group_by_component(component, 7, size)
    pairs = np.asarray(groups.pairs)
    for block, k in zip(pairs, np.asarray(groups.component), strict=True):
        own = block[block < 300]
        assert np.all(np.asarray(component)[own] == k)
        assert np.all(np.diff(own) > 0)
    np.testing.assert_array_equal(np.sort(pairs[pairs < 300]), np.flatnonzero(component < 7))
    assert np.all(pairs[int(groups.num_used) :] == 300)


@pytest.fixture(scope="module")
def fitted():
    """A mixture of as many components as have groups, with data in every other one, and points to score."""
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianSpherical(DIM), LEAST_GROUPED)
    number = LEAST_GROUPED // 2
    means, noise = vectors(number), np.random.default_rng(2).normal(size=(2 * number, DIM))
    x = jnp.asarray(np.repeat(means, 2, axis=0) + 0.02 * noise)
    prior = jaxdpmm.default_prior(mixture, x)
    stats = jax.jit(label_statistics, static_argnums=0)(
        mixture, jnp.repeat(2 * jnp.arange(number), 2), x, jnp.ones(len(x)), prior.offset
    )
    return mixture, global_update(mixture, prior, stats), vectors(120, 1)


def test_scores_are_those_of_comparing_all_means(fitted):
    mixture, posterior, x = fitted
    compared = nearest_predictive(mixture, grouped=False)
    for scorer, all_means, bound, tolerance in (
        (
            nearest_predictive(mixture),
            compared,
            predictive(mixture),
            0.3,
        ),  # nats, of which one in eight equal terms is 0.13
        (cosine(mixture), *(cosine(mixture, screened=False),) * 2, 1e-6),
    ):
        found, expected = (score(one, posterior, x) for one in (scorer, all_means))
        assert np.all(found >= score(bound, posterior, x) - 1e-6)
        assert np.mean(np.abs(found - expected) < tolerance) > 0.98


def test_cosines_by_groups_keep_the_contract(fitted):
    mixture, posterior, x = fitted
    check_scorer(cosine, mixture, posterior, x[:40], -x[:8] - 30)


def test_cosines_by_groups_in_half_the_bits_over_draws_and_with_gradients(fitted):
    mixture, posterior, x = fitted
    scorer = cosine(mixture)
    params, points = jax.jit(scorer.prepare)(posterior), jnp.asarray(x[:40])
    assert isinstance(params, ScreenedMeans)
    assert params.screen.centres is not None
    expected = jax.jit(scorer.score)(params, points)
    half = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype.kind == "f" else leaf,
        (params, points),
    )
    np.testing.assert_allclose(jax.jit(scorer.score)(*half).astype(float), expected, atol=0.02)
    draws = score_over_draws(scorer, stack_draws([posterior, posterior]), points)
    np.testing.assert_allclose(draws.mean, expected, atol=1e-9)
    alone = jax.jit(jax.vmap(jax.value_and_grad(lambda p: scorer.score(params, p[None])[0])))
    found, gradient = alone(points)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.all(np.linalg.norm(gradient, axis=1) > 0)


@pytest.mark.parametrize("name", ["nearest_predictive", "cosine"])
def test_scores_by_groups_are_exported_for_every_platform(fitted, name):
    mixture, posterior, x = fitted
    scorer = SCORERS[name](mixture)
    params = jax.jit(scorer.prepare)(posterior)
    number = jax.export.symbolic_shape("N")[0]
    exported = jax.export.export(jax.jit(scorer.score), platforms=("cpu", "cuda", "tpu"))(
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params),
        jax.ShapeDtypeStruct((number, DIM), jnp.float64),
    )
    found = jax.jit(scorer.score)(params, jnp.asarray(x))
    np.testing.assert_allclose(exported.call(params, jnp.asarray(x)), found, atol=1e-9)
