"""The nearest of thousands of vectors by a screen in few coordinates, against comparing all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.grouping import chosen_entries
from jaxdpmm.model import centre, global_update, summarize
from jaxdpmm.scoring import SCORERS, cosine, nearest_cosine, nearest_predictive, predictive, score
from jaxdpmm.scoring.nearest import Directions
from jaxdpmm.scoring.shortlist import (
    LEAST_SCREENED,
    Screen,
    nearest_rows,
    screen_of,
    shortlist_recall,
)
from jaxdpmm.testing import check_scorer

DIM = 24
screened = jax.jit(screen_of, static_argnums=2)
found_rows = jax.jit(nearest_rows, static_argnums=2)


def vectors(number, seed=0):
    """About a subspace of five dimensions, as patch features are about one of some tens."""
    random = np.random.default_rng(seed)
    axes = np.random.default_rng(9).normal(size=(5, DIM))
    return random.normal(size=(number, 5)) @ axes + 0.2 * random.normal(size=(number, DIM)) + 1


def all_distances(x, rows):
    return np.linalg.norm(x[:, None] - rows[None], axis=2)


@pytest.mark.parametrize("number", [1100, 5000])  # one block, and two
def test_finds_nearly_all_nearest_vectors(number):
    rows, x = vectors(number), vectors(200, 1)
    screen = screened(jnp.asarray(rows), None, 8)
    found = np.asarray(found_rows(screen, jnp.asarray(x), 8))
    nearest = all_distances(x, rows).argmin(axis=1)
    assert (found == nearest[:, None]).any(axis=1).mean() > 0.98
    assert all(len(set(one)) == 8 for one in found.tolist())
    assert shortlist_recall(jnp.asarray(rows), x, 8, 8) == pytest.approx(
        (found == nearest[:, None]).any(axis=1).mean()
    )


def test_vectors_in_bins_of_their_own_come_in_the_order_of_their_distance():
    rows, x = vectors(64), vectors(50, 1)
    found = found_rows(screened(jnp.asarray(rows)), jnp.asarray(x), 6)
    np.testing.assert_array_equal(found, np.argsort(all_distances(x, rows))[:, :6])


def test_distances_in_the_screen_are_never_larger_than_the_true_ones():
    rows = vectors(300)
    screen = screened(jnp.asarray(rows), None, 4)
    columns = np.asarray(screen.columns).transpose(0, 2, 1).reshape(-1, 5)[:300] / -2
    found = all_distances(columns, columns)
    true = all_distances(*(rows[np.asarray(screen.numbers)[:300]],) * 2)
    assert np.all(found <= true + 1e-5)
    assert np.median(found[true > 0] / true[true > 0]) > 0.9
    np.testing.assert_allclose(screen.axes.T @ screen.axes, np.eye(4), atol=1e-4)


def test_equal_vectors_have_no_axes_and_are_still_found():
    found = found_rows(screened(jnp.ones((70, 3))), jnp.ones((2, 3)), 4)
    assert all(len(set(one)) == 4 for one in found.tolist())


def test_what_may_not_be_found_is_not_found():
    rows = vectors(200)
    barrier = jnp.where(jnp.arange(200) % 2 == 1, jnp.inf, 0)
    found = found_rows(screened(jnp.asarray(rows), barrier), jnp.asarray(rows), 4)
    assert np.all(np.asarray(found) % 2 == 0)


def test_too_few_vectors_for_a_screen():
    with pytest.raises(ValueError, match="vectors must be at least 64 and num_nearest from 1 to"):
        shortlist_recall(jnp.ones((3, 2)), np.ones((3, 2)), 4)


FAMILIES = {
    "spherical": jaxdpmm.GaussianSpherical(DIM),
    "low rank": jaxdpmm.GaussianLowRank(DIM, 2),
}


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(request):
    """A mixture of as many components as are screened, with data in all but ten, and points to score."""
    mixture = jaxdpmm.Mixture(FAMILIES[request.param], LEAST_SCREENED)
    x = jnp.asarray(np.repeat(vectors(LEAST_SCREENED - 10), 3, axis=0))
    x = x + 0.05 * np.random.default_rng(2).normal(size=x.shape)
    prior = jaxdpmm.default_prior(mixture, x)
    labels = jax.nn.one_hot(jnp.arange(len(x)) // 3, LEAST_SCREENED, dtype=x.dtype)
    stats = jax.jit(summarize, static_argnums=0)(mixture, labels, x, jnp.ones(len(x)), prior.offset)
    return mixture, global_update(mixture, prior, stats), np.asarray(x[::7]) + 0.01


def test_scores_are_those_of_comparing_all_means_and_never_below(fitted):
    mixture, posterior, x = fitted
    compared = nearest_predictive(mixture, grouped=False)
    for scorer, all_means, bound, tolerance in (
        (nearest_predictive(mixture), compared, predictive(mixture), 0.05),  # nats
        (nearest_cosine(mixture), cosine(mixture), cosine(mixture), 1e-6),
    ):
        found, expected = (score(one, posterior, x) for one in (scorer, all_means))
        assert np.all(found >= score(bound, posterior, x) - 1e-6)
        assert np.mean(np.abs(found - expected) < tolerance) > 0.98


def test_thousands_of_components_are_screened_and_fewer_are_not(fitted):
    mixture, posterior, _ = fitted
    assert isinstance(nearest_predictive(mixture).prepare(posterior).means, Screen)
    assert isinstance(nearest_cosine(mixture).prepare(posterior), Directions)
    assert not isinstance(
        nearest_predictive(mixture, grouped=False).prepare(posterior).means, Screen
    )
    few = jaxdpmm.Mixture(mixture.family, LEAST_SCREENED - 1)
    assert nearest_cosine(few) is cosine(few)


@pytest.mark.parametrize("name", ["nearest_predictive", "nearest_cosine"])
def test_screened_scores_keep_the_contract(fitted, name):
    mixture, posterior, x = fitted
    check_scorer(SCORERS[name], mixture, posterior, x[:40], -x[:8] - 30)


def test_bfloat16(fitted):
    mixture, posterior, x = fitted
    scorer = nearest_cosine(mixture)
    half = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype.kind == "f" else leaf,
        (scorer.prepare(posterior), jnp.asarray(x)),
    )
    np.testing.assert_allclose(
        scorer.score(*half).astype(float), score(cosine(mixture), posterior, x), atol=0.02
    )


@pytest.mark.parametrize("number", [4, 400])  # pair by pair where small components have few pairs
def test_chosen_entries_are_those_of_the_whole_matrix(fitted, number):
    mixture, posterior, x = fitted
    params = jax.vmap(mixture.family.predictive_params)(posterior.components)
    points = centre(jnp.asarray(x), posterior.offset)
    chosen = jnp.asarray(np.random.default_rng(3).integers(LEAST_SCREENED, size=(len(x), 3)))
    matrix = mixture.family.log_predictive_matrix
    points, chosen = (jnp.tile(part, (number // 4, 1)) for part in (points[:40], chosen[:40]))
    expected = jnp.take_along_axis(matrix(params, points), chosen, axis=1)
    np.testing.assert_allclose(chosen_entries(matrix, params, points, chosen), expected, rtol=1e-9)


def test_no_candidates(fitted):
    with pytest.raises(ValueError, match="num_candidates must be at least 1, got 0; the default"):
        nearest_cosine(fitted[0], 0)
