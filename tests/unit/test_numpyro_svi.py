import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, gamma, multivariate_normal, wishart

from jaxdpmm import (
    DirichletProcess,
    Family,
    Gamma,
    GaussianDiagonal,
    GaussianFull,
    GaussianSpherical,
    Mixture,
    Posterior,
    Prior,
    cavi,
    default_prior,
    fit,
    initialize,
    score,
)
from jaxdpmm.bound import elbo
from jaxdpmm.model import expected_readout
from jaxdpmm.scoring import predictive
from jaxdpmm.scoring.uncertainty import log_density_over_draws

numpyro = pytest.importorskip("numpyro")
import optax  # noqa: E402
from numpyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO, init_to_value  # noqa: E402
from numpyro.infer.autoguide import AutoLaplaceApproximation, AutoNormal  # noqa: E402
from numpyro.infer.util import log_density  # noqa: E402

from jaxdpmm.inference.numpyro.svi import (  # noqa: E402
    draw_readouts,
    initial_values,
    numpyro_model,
    posterior_of_readout,
    soft_stats,
    structured_guide,
    to_posterior,
)

FAMILIES = [GaussianDiagonal(2), GaussianFull(2), GaussianSpherical(2)]


@pytest.fixture(autouse=True)
def numpyro_promotes():
    """NumPyro itself relies on promotion of ranks and types."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def problem(family, num_points=120):
    generator = np.random.default_rng(0)
    centres = 5 * generator.normal(size=(3, 2))
    x = centres[np.arange(num_points) % 3] + generator.normal(size=(num_points, 2))
    mixture = Mixture(family, 4)
    prior = default_prior(mixture, jnp.asarray(x))
    # From this start gradients and coordinate ascent come to one optimum; there are several
    return mixture, prior, initialize(mixture, prior, x, key=jax.random.key(2)), x


def bound(mixture, prior, posterior, x):
    stats = soft_stats(mixture, expected_readout(mixture, posterior), x)
    return float(elbo(mixture, prior, posterior, stats))


def textbook_log_prior(family, prior, sites):
    """Of the sites in the coordinates NumPyro gives them, from SciPy."""
    natural = jax.tree.map(np.asarray, prior.component)
    kappa, nu, first = natural.mean_count, natural.dof, natural.first
    total = gamma.logpdf(sites["alpha"], 1.0, scale=1.0)
    total += beta.logpdf(sites["sticks"], 1, sites["alpha"]).sum()
    for k, mean in enumerate(sites["mean"]):
        if isinstance(family, GaussianFull):
            scale = natural.second - np.outer(first, first) / kappa
            lower = sites["precision_cholesky"][k]
            precision = (lower @ lower.T)[::-1, ::-1]
            total += wishart.logpdf(precision, float(nu), np.linalg.inv(scale))
            diagonal = np.log(np.diag(lower))
            total += len(diagonal) * np.log(2) + diagonal @ np.arange(len(diagonal), 0, -1)
        else:
            scale = natural.second - (first**2 if natural.second.ndim else first @ first) / kappa
            shape = nu / 2 * (1 if natural.second.ndim else family.dim)
            total += gamma.logpdf(sites["precision"][k], shape, scale=2 / scale).sum()
            precision = np.diag(np.broadcast_to(sites["precision"][k], first.shape))
        total += multivariate_normal.logpdf(mean, first / kappa, np.linalg.inv(kappa * precision))
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_model_density_is_the_textbook_one(family):
    mixture, prior, start, x = problem(family, 12)
    sites = initial_values(mixture, prior, start, jax.random.key(3))
    found, _ = log_density(numpyro_model(mixture, prior), (x,), {}, sites)
    draws = draw_readouts(mixture, prior, jax.tree.map(lambda leaf: leaf[None], sites))
    likelihood = log_density_over_draws(mixture, draws, x).sum()
    expected = likelihood + textbook_log_prior(family, prior, jax.tree.map(np.asarray, sites))
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_guide_starts_at_the_posterior(family):
    """No step taken: the guide's posterior is the start's, and its draws average to it."""
    mixture, prior, start, x = problem(family)
    svi = SVI(
        numpyro_model(mixture, prior), structured_guide(mixture, prior, start),
        optax.adam(0.1), TraceMeanField_ELBO(),
    )  # fmt: skip
    params = svi.get_params(svi.init(jax.random.key(0), x))
    found = to_posterior(mixture, prior, params, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8),
        (found.sticks, found.components), (start.sticks, start.components),
    )  # fmt: skip
    draws = [
        initial_values(mixture, prior, start, key)
        for key in jax.random.split(jax.random.key(1), 30)
    ]
    readouts = draw_readouts(mixture, prior, jax.tree.map(lambda *a: jnp.stack(a), *draws))
    drawn = log_density_over_draws(mixture, readouts, x).mean()
    assert abs(drawn + score(predictive(mixture), start, x).mean()) < 0.05


@pytest.mark.parametrize(
    "family", [FAMILIES[0], *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES[1:])]
)
def test_structured_guide_reaches_cavi(family):
    mixture, prior, start, x = problem(family)
    best = fit(cavi(mixture, prior), x, start, num_epochs=500, tolerance=1e-7).posterior
    svi = SVI(
        numpyro_model(mixture, prior), structured_guide(mixture, prior, start),
        optax.adam(optax.cosine_decay_schedule(0.03, 3000)), TraceMeanField_ELBO(),
    )  # fmt: skip
    result = svi.run(jax.random.key(0), 3000, x, progress_bar=False)
    found = bound(mixture, prior, to_posterior(mixture, prior, result.params, x), x)
    optimum = bound(mixture, prior, best, x)
    assert found > optimum - 0.005 * abs(optimum)


@pytest.mark.slow
def test_subsamples_are_scaled_to_all_points():
    """The loss of halves, averaged, is the loss of the whole."""
    mixture, prior, start, x = problem(FAMILIES[0])
    model, guide = numpyro_model(mixture, prior), structured_guide(mixture, prior, start)
    svi = SVI(model, guide, optax.adam(0.01), TraceMeanField_ELBO(num_particles=200))
    state = svi.init(jax.random.key(0), x)
    whole = svi.evaluate(state, x)
    half = svi.evaluate(state, x, batch_size=60)
    assert abs(half - whole) < 0.03 * abs(whole)


@pytest.mark.parametrize(
    "guide_type", [pytest.param(AutoNormal, marks=pytest.mark.slow), AutoLaplaceApproximation]
)
def test_other_guides_come_back_as_posteriors(guide_type):
    mixture, prior, start, x = problem(FAMILIES[0])
    model = numpyro_model(mixture, prior)
    values = initial_values(mixture, prior, start, jax.random.key(1))
    guide = guide_type(model, init_loc_fn=init_to_value(values=values))
    svi = SVI(model, guide, optax.adam(0.02), Trace_ELBO())
    result = svi.run(jax.random.key(0), 300, x, progress_bar=False)
    median = jax.tree.map(lambda leaf: leaf[None], guide.median(result.params))
    readout = jax.tree.map(lambda leaf: leaf[0], draw_readouts(mixture, prior, median))
    posterior = posterior_of_readout(mixture, prior, readout, x)
    best = fit(cavi(mixture, prior), x, start).posterior
    difference = score(predictive(mixture), posterior, x) - score(predictive(mixture), best, x)
    assert abs(difference.mean()) < 0.1


def test_fixed_concentration_has_no_site():
    family = GaussianDiagonal(2)
    _, prior, start, x = problem(family)
    mixture = Mixture(family, 4, DirichletProcess(False))
    assert set(initial_values(mixture, prior, start, jax.random.key(0))) == {
        "sticks",
        "precision",
        "mean",
    }
    sites = initial_values(mixture, prior, start, jax.random.key(0))
    found, _ = log_density(numpyro_model(mixture, prior), (x,), {}, sites)
    assert np.isfinite(found)


class Poisson(Family):
    def sufficient_statistics(self, x):
        return (x, jnp.ones_like(x))

    def log_partition(self, natural):
        shape, rate = natural
        return jax.scipy.special.gammaln(shape) - shape * jnp.log(rate)


def test_wrong_arguments_are_one_sentence():
    mixture, prior, start, x = problem(FAMILIES[0])
    model = numpyro.handlers.seed(numpyro_model(mixture, prior), 0)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 2\) .*, got \(120, 1\)"):
        model(x[:, :1])
    with pytest.raises(
        ValueError, match=r"params must be those of structured_guide, .*'q_mean'.* got \['other'\]"
    ):
        to_posterior(mixture, prior, {"other": jnp.zeros(2)}, x)
    with pytest.raises(ValueError, match="a guide with 4 components as the mixture has, got 3;"):
        to_posterior(mixture, prior, {"q_sticks_a": jnp.ones(2)}, x)
    with pytest.raises(
        ValueError, match=r"samples must hold the sites of numpyro_model, got \['mean'\]"
    ):
        draw_readouts(mixture, prior, {"mean": jnp.zeros((3, 4, 2))})
    with pytest.raises(ValueError, match="start must have 3 components as the mixture has, got 4"):
        structured_guide(Mixture(FAMILIES[0], 3), prior, start)


def test_what_numpyro_cannot_take_is_one_sentence():
    from jaxdpmm.sticks import PitmanYor, Sticks

    one = jnp.ones(())
    prior = Prior((one, one), Gamma(one, one))
    with pytest.raises(TypeError, match="sticks must be a DirichletProcess for a NumPyro model"):
        numpyro_model(Mixture(FAMILIES[0], 3, PitmanYor(0.3)), prior)
    model = numpyro.handlers.seed(numpyro_model(Mixture(Poisson(), 2), prior), 0)
    with pytest.raises(
        TypeError, match=r"Poisson has no NumPyro sites: .*component_readout\.register"
    ):
        model(jnp.ones(3))
    sticks = Sticks(jnp.ones(1), jnp.ones(1), Gamma(one, one))
    start = Posterior(sticks, (jnp.ones(2), jnp.ones(2)), jnp.ones(2))
    guide = structured_guide(Mixture(Poisson(), 2), prior, start)
    with pytest.raises(TypeError, match=r"Poisson has no structured guide: .*AutoNormal"):
        numpyro.handlers.seed(guide, 0)(jnp.ones(3))
