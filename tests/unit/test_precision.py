"""The policy of `jaxdpmm.precision`, with TF32 emulated: nothing on an accelerator may differ from a CPU by much."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from custom_families import BernoulliBeta
from numpyro.infer.util import log_density
from patches import (
    FAMILIES,
    Shapes,
    mixture_of,
    ones_of,
    patches,
    posterior_of,
    prior_of,
    shapes_of,
    unit,
    with_backends,
    with_scores,
)
from sklearn.metrics import roc_auc_score
from tf32 import default_products, emulated

from jaxdpmm import Mixture, cavi, fit, precision
from jaxdpmm.bound import elbo, log_evidence
from jaxdpmm.detection.banks import memory_bank
from jaxdpmm.features.interpolation import resize_position_embeddings
from jaxdpmm.inference.backends import gibbs, memoized, online_em, split_merge, stochastic
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.growth.proposals import birth, delete, merge
from jaxdpmm.inference.initialize import k_means
from jaxdpmm.inference.local_steps import candidates, dense, sparse
from jaxdpmm.inference.numpyro import numpyro_model
from jaxdpmm.model import empty_stats
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring import SCORERS

pytestmark = pytest.mark.optimised

# Mean error in nats per point of the predictive density and of the E-step's; others have (1e-3, 1e-3). What is over is
# float32's own, on CPUs too: kappa (1 - cos) with kappa near 1e5, and a full covariance's expectation in 384 dimensions
BOUND = {
    ("von Mises-Fisher", 64): (4e-3, 4e-3),
    ("von Mises-Fisher", 384): (8e-3, 8e-3),
    ("full", 384): (1e-3, 2e-3),
    ("tied", 384): (1e-3, 2e-3),
}
SMALL = 5  # dimensions, where programs are looked at and not run

each_family = pytest.mark.parametrize("family", FAMILIES)


# ------------------------------------------------------------------------------------- the emulation


def test_emulation_rounds_the_factors_of_products_that_ask_for_nothing():
    x = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    rounded = np.asarray(jax.lax.reduce_precision(x, 8, 10), np.float64)

    def inside(x):
        once = jax.lax.fori_loop(0, 1, lambda _, y: y @ x, x)
        return jax.lax.cond(
            once[0, 0] < jnp.inf, lambda: jnp.matmul(once, x, precision="highest"), lambda: x
        )

    found = np.asarray(jax.jit(emulated(inside))(x))
    np.testing.assert_allclose(found, (rounded @ rounded) @ x.astype(np.float64), rtol=1e-5)
    assert np.max(np.abs(found - x.astype(np.float64) @ x @ x)) > 1e-4


def test_three_passes_are_nearly_float32():
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    exact = x.astype(np.float64) @ x
    with jax.default_matmul_precision("TF32_TF32_F32_X3"):
        three = np.asarray(emulated(lambda x: x @ x)(x))
    one = np.asarray(emulated(lambda x: x @ x)(x))
    assert np.max(np.abs(three - exact)) < 2e-5 < 1e-3 < np.max(np.abs(one - exact))


# ------------------------------------------------------------------- no product is left to the platform


def small(family: str) -> Shapes:
    """A mixture in few dimensions and what it is traced from."""
    return shapes_of(mixture_of(family, SMALL), (SMALL,))


def default_products_of_step(make, shapes: Shapes) -> list[str]:
    """The products of one step of a backend that are left to the platform."""
    algorithm = make(shapes.mixture, shapes.prior)
    state = ones_of(partial(algorithm.init, layout=Layout(1, 40, 40.0)), shapes.posterior)
    return default_products(algorithm.step, jax.random.key(0), state, shapes.batch)


BACKENDS = {
    "cavi": lambda mixture, prior: cavi(mixture, prior, dense),
    "sparse": lambda mixture, prior: cavi(mixture, prior, sparse(2)),
    "memoized": memoized,
    "stochastic": stochastic,
    "online_em": online_em,
    "gibbs": lambda mixture, prior: gibbs(mixture, prior, moves=(split_merge(),)),
}


@pytest.mark.parametrize(("family", "backend"), with_backends(BACKENDS))
def test_every_product_of_a_step_is_full(family, backend):
    assert default_products_of_step(BACKENDS[backend], small(family)) == []


@each_family
def test_of_candidates_the_proposal_alone_may_be_rounded(family):
    shapes = small(family)
    found = default_products_of_step(lambda m, prior: cavi(m, prior, candidates(3, 2)), shapes)
    assert len(found) == (1 if family in ("full", "tied", "low rank", "product") else 0)


@each_family
def test_every_product_of_bound_and_moves_is_full(family):
    mixture, prior, posterior, batch = small(family)
    stats = ones_of(empty_stats, posterior)
    assert default_products(partial(elbo, mixture), prior, posterior, stats) == []
    for move in (birth, merge, delete):
        of = partial(move, jax.random.key(0), mixture)
        assert default_products(of, prior, posterior, batch) == []


@each_family
def test_every_product_of_gradients_of_the_evidence_is_full(family):
    """Those that are traced after the functions themselves, outside of them."""
    mixture, prior, posterior, _ = small(family)

    @jax.jit
    def evidence(component):
        given = prior._replace(component=component)
        return jnp.sum(log_evidence(mixture, given, posterior.components))

    assert default_products(jax.grad(evidence), prior.component) == []


@pytest.mark.parametrize("family", ["full", "diagonal", "spherical"])
def test_every_product_of_a_numpyro_model_is_full(family):
    mixture, prior, _, batch = small(family)
    model = numpyro_model(mixture, prior)

    def log_joint_density(key, x):
        trace = numpyro.handlers.trace(numpyro.handlers.seed(model, key)).get_trace(x)
        values = {name: site["value"] for name, site in trace.items() if site["type"] == "sample"}
        return jax.grad(lambda values: log_density(model, (x,), {}, values)[0])(
            {name: value for name, value in values.items() if name != "likelihood"}
        )

    # NumPyro's own distributions mix types and ranks
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        assert default_products(log_joint_density, jax.random.key(0), batch.x) == []


@pytest.mark.parametrize(("family", "score"), with_scores())
def test_every_product_of_a_score_is_full_but_cosines_and_shortlists(family, score):
    mixture, _, posterior, batch = small(family)
    scorer = SCORERS[score](mixture)
    assert default_products(scorer.prepare, posterior) == []
    found = default_products(scorer.score, ones_of(scorer.prepare, posterior), batch.x)
    assert len(found) == (score in ("cosine", "nearest_predictive", "spherical"))


def test_every_product_of_a_family_of_the_user_is_full():
    shapes = shapes_of(Mixture(BernoulliBeta(), 3), (4,))
    assert default_products_of_step(cavi, shapes) == []
    with jax.default_matmul_precision("default"):
        assert default_products_of_step(cavi, shapes) != []


def test_distances_that_subtract_are_full_and_cosines_are_not():
    x = np.zeros((40, SMALL), np.float32)
    assert default_products(lambda x: k_means(jax.random.key(0), x, 3), x) == []
    for metric, number in (
        ("euclidean", 0),
        ("cosine", 2),
    ):  # of either version, for CPUs and others
        bank = memory_bank(metric)
        assert default_products(bank.prepare, x) == []
        assert len(default_products(bank.score, ones_of(bank.prepare, x), x)) == number


def test_position_embeddings_are_resized_in_full():
    resize = partial(resize_position_embeddings, height=3, width=3, antialias=False)
    assert default_products(resize, np.zeros((1, 5, 3), np.float32)) == []


# -------------------------------------------------------------------------------- what the user sets wins


def test_a_precision_of_the_user_wins():
    shapes = small("full")
    assert default_products_of_step(cavi, shapes) == []
    with jax.default_matmul_precision("tensorfloat32"):
        assert default_products_of_step(cavi, shapes) != []
        state = ones_of(cavi(*shapes[:2]).init, shapes.posterior)
        text = str(jax.make_jaxpr(cavi(*shapes[:2]).step)(jax.random.key(0), state, shapes.batch))
    assert "Precision.HIGH," in text
    assert "Precision.HIGHEST" not in text


def test_the_precision_outside_is_as_before():
    with full_precision():
        assert jax.config.jax_default_matmul_precision == precision.FULL
    assert jax.config.jax_default_matmul_precision is None


# --------------------------------------------------------------------------------- densities under TF32


@functools.cache
def compiled(family: str, dim: int, dtype):
    """Predictive and expected log densities of y under the posterior of x, all in one type; float32 as on a GPU."""
    mixture = mixture_of(family, dim)

    def of(prior, x, labels, y):
        posterior = posterior_of(mixture, prior, x, labels)
        scorers = [SCORERS[name](mixture) for name in ("predictive", "expected")]
        return jnp.stack([scorer.score(scorer.prepare(posterior), y) for scorer in scorers])

    function = jax.jit(of if dtype == np.float64 else emulated(of))

    def run(prior, *arrays):
        prior = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), prior)
        x, labels, y = arrays
        return np.asarray(function(prior, x.astype(dtype), labels, y.astype(dtype)))

    return run


def densities(family: str, dim: int, spread: float):
    """Scores (2, Y) in float64 and in float32, of normal points and of as many that are a little off."""
    x, labels = patches(dim, spread)
    normal = patches(dim, spread, num_points=200, seed=1).x
    noise = np.random.default_rng(2).normal(size=normal.shape)
    y = np.concatenate([normal, unit(normal + 0.5 * spread * noise)])
    prior = prior_of(mixture_of(family, dim), x.astype(np.float64))
    return [compiled(family, dim, dtype)(prior, x, labels, y) for dtype in (np.float64, np.float32)]


def check_densities(family: str, dim: int, spread: float):
    exact, rounded = densities(family, dim, spread)
    errors = np.mean(np.abs(exact - rounded), axis=1)
    assert np.all(errors < BOUND.get((family, dim), (1e-3, 1e-3)))
    is_off = np.arange(exact.shape[1]) >= exact.shape[1] // 2
    for one, other in zip(exact, rounded, strict=True):
        areas = roc_auc_score(is_off, one), roc_auc_score(is_off, other)
        assert 0.55 < areas[0] < 1  # else no error could change it
        assert abs(areas[0] - areas[1]) <= 1e-4


@each_family
@pytest.mark.parametrize("spread", [0.05, 0.003])
def test_densities_and_areas_on_a_gpu_are_those_of_float64(family, spread):
    check_densities(family, 64, spread)


@pytest.mark.slow
@each_family
@pytest.mark.parametrize("spread", [0.05, 0.003])
def test_so_they_are_in_384_dimensions(family, spread):
    check_densities(family, 384, spread)


def test_without_the_policy_densities_are_off(monkeypatch):
    monkeypatch.setattr(precision, "FULL", None)
    jax.clear_caches()  # programs are found by the precision outside, which is the same
    compiled.cache_clear()
    exact, rounded = densities("diagonal", 64, 0.003)
    jax.clear_caches()
    compiled.cache_clear()
    assert np.max(np.mean(np.abs(exact - rounded), axis=1)) > 0.1


@pytest.mark.parametrize("family", ["diagonal", "low rank"])
def test_the_bound_never_falls_on_a_gpu(family):
    x, labels = patches(32, 0.003)
    mixture = mixture_of(family, 32)
    prior = prior_of(mixture, x)
    labels = np.random.default_rng(3).permutation(labels)
    start = posterior_of(mixture, prior, jnp.asarray(x), labels)
    algorithm = cavi(mixture, prior)
    result = fit(
        algorithm._replace(step=emulated(algorithm.step)), x, start, num_epochs=15, tolerance=0.0
    )
    objective = np.array([epoch.objective for epoch in result.history])
    assert objective[-1] - objective[0] > len(x)
    assert np.all(np.diff(objective) > -1e-6 * np.abs(objective[:-1]))
