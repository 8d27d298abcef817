"""The nearest of thousands of vectors by a screen in few coordinates, against comparing all."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.chosen import chosen_entries
from jaxdpmm.export import ONNX_SCORERS
from jaxdpmm.families.kernels import one_version
from jaxdpmm.model import centre, global_update, summarize
from jaxdpmm.scoring import SCORERS, cosine, nearest_predictive, predictive, residual, score
from jaxdpmm.scoring.distance import Means, ScreenedMeans
from jaxdpmm.scoring.screen import Screen, screen_of
from jaxdpmm.scoring.shortlist import LEAST_SCREENED, nearest_rows, shortlist_recall
from jaxdpmm.scoring.uncertainty import score_over_draws, stack_draws
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


def test_the_screen_leaves_out_products_across_its_axes_alone():
    rows = vectors(300)
    screen = screened(jnp.asarray(rows), None, 5)
    columns = np.asarray(screen.columns).transpose(0, 2, 1).reshape(-1, 5)[:300]
    axes, order = np.asarray(screen.axes), np.asarray(screen.numbers)[:300]
    centred = (rows - rows.mean(axis=0))[order]
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-4)
    np.testing.assert_allclose(columns, -2 * centred @ axes, atol=1e-4)
    squares = np.asarray(screen.squares).ravel()[:300]
    np.testing.assert_allclose(squares, np.sum(centred**2, axis=1), rtol=1e-5)
    estimates = squares[:, None] + centred @ axes @ columns.T + squares[None]
    true = all_distances(centred, centred) ** 2
    is_other = ~np.eye(300, dtype=bool)
    assert np.median(np.abs(estimates - true)[is_other] / true[is_other]) < 0.05


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
        (cosine(mixture), *(cosine(mixture, screened=False),) * 2, 1e-6),
    ):
        found, expected = (score(one, posterior, x) for one in (scorer, all_means))
        assert np.all(found >= score(bound, posterior, x) - 1e-6)
        assert np.mean(np.abs(found - expected) < tolerance) > 0.98


def test_residuals_are_those_of_the_nearest_of_all_means(fitted):
    mixture, posterior, x = fitted
    if not isinstance(mixture.family, jaxdpmm.GaussianLowRank):
        with pytest.raises(TypeError, match="score 'residual' needs the family GaussianLowRank"):
            residual(mixture)
        return
    found, expected = (
        score(residual(mixture, screened=screened), posterior, x) for screened in (True, False)
    )
    assert np.mean(np.abs(found - expected) < 1e-6) > 0.98
    np.testing.assert_allclose(found, expected, rtol=0.5)


def test_thousands_of_components_are_screened_and_fewer_are_not(fitted):
    mixture, posterior, _ = fitted

    def prepared(scorer, posterior):
        return jax.eval_shape(scorer.prepare, posterior)

    assert isinstance(prepared(nearest_predictive(mixture), posterior).means, Screen)
    assert isinstance(prepared(cosine(mixture), posterior), ScreenedMeans)
    assert isinstance(prepared(ONNX_SCORERS["cosine"](mixture), posterior), Means)
    ungrouped = prepared(nearest_predictive(mixture, grouped=False), posterior)
    assert isinstance(ungrouped.means, Means)
    number = LEAST_SCREENED - 1
    components = jax.tree.map(lambda leaf: leaf[:number], posterior.components)
    fewer = posterior._replace(components=components, counts=posterior.counts[:number])
    assert isinstance(prepared(cosine(jaxdpmm.Mixture(mixture.family, number)), fewer), Means)


@pytest.mark.parametrize("name", ["nearest_predictive", "cosine"])
def test_screened_scores_keep_the_contract(fitted, name):
    mixture, posterior, x = fitted
    check_scorer(SCORERS[name], mixture, posterior, x[:40], -x[:8] - 30)


def test_bfloat16(fitted):
    mixture, posterior, x = fitted
    scorer = cosine(mixture)
    half = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype.kind == "f" else leaf,
        (scorer.prepare(posterior), jnp.asarray(x)),
    )
    np.testing.assert_allclose(
        scorer.score(*half).astype(float), score(scorer, posterior, x), atol=0.02
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
        cosine(fitted[0], 0)


def test_screened_cosines_have_gradients_and_are_exported_for_every_platform(fitted):
    mixture, posterior, x = fitted
    scorer, over_all = cosine(mixture), cosine(mixture, screened=False)
    params, points = scorer.prepare(posterior), jnp.asarray(x[:40])
    found, expected = (
        jax.jit(jax.vmap(jax.value_and_grad(lambda p, one=one, of=of: one(of, p[None])[0])))(points)
        for one, of in ((scorer.score, params), (over_all.score, params.means))
    )
    is_same = np.abs(found[0] - expected[0]) < 1e-6
    assert is_same.mean() > 0.95
    np.testing.assert_allclose(found[1][is_same], expected[1][is_same], atol=1e-6)
    number = jax.export.symbolic_shape("N")[0]
    shape = jax.ShapeDtypeStruct((number, DIM), jnp.float64)
    exported = jax.export.export(
        jax.jit(lambda x: scorer.score(params, x)), platforms=("cpu", "cuda", "tpu")
    )(shape)
    np.testing.assert_allclose(exported.call(points), found[0], atol=1e-9)
    with one_version("default"):  # of accelerators, which compare all
        compared = jax.jit(lambda x: scorer.score(params, x))(points)
    np.testing.assert_allclose(compared, expected[0], atol=1e-9)


def test_screened_cosines_over_draws_are_those_of_each(fitted):
    mixture, posterior, x = fitted
    draws = stack_draws([posterior, posterior])
    found = score_over_draws(cosine(mixture), draws, x[:20])
    np.testing.assert_allclose(found.mean, score(cosine(mixture), posterior, x[:20]), atol=1e-9)
