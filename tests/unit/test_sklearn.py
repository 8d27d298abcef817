"""The estimators: scikit-learn's own checks, its mixture and SciPy as oracles, weights, updates, outliers, messages."""

import pickle
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from jaxdpmm.sklearn import DirichletProcessMixture, DirichletProcessOutlierDetector
from jaxdpmm.sklearn.outliers import lower_end
from jaxdpmm.sklearn.settings import tell_of_contradiction

SMALL = DirichletProcessMixture(4, random_state=0)
TYPES = (
    "full",
    "tied",
    pytest.param("diag", marks=pytest.mark.slow),
    pytest.param("spherical", marks=pytest.mark.slow),
)
CENTRES = np.array([[0.0, 0, 0], [30, 0, 10], [0, 40, -20]])
FAST_CHECKS = (
    "check_estimator_cloneable",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_mixin_order",
    "check_get_params_invariance",
    "check_estimators_unfitted",
)


def blobs(num_points: int = 60, seed: int = 0) -> np.ndarray:
    """Three clusters so far apart that responsibilities are zero or one."""
    random = np.random.default_rng(seed)
    return CENTRES[np.arange(num_points) % 3] + random.normal(size=(num_points, 3))


@pytest.fixture(scope="module")
def fitted():
    return clone(SMALL).fit(blobs())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([DirichletProcessMixture(), DirichletProcessOutlierDetector()])
def test_every_check_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [DirichletProcessMixture, DirichletProcessOutlierDetector])
def test_fast_checks_of_scikit_learn(kind):
    done = []
    for estimator, check in estimator_checks_generator(kind(3)):
        if check.func.__name__ in FAST_CHECKS:
            check(estimator)
            done.append(check.func.__name__)
    assert set(done) == set(FAST_CHECKS)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_components_are_those_of_scikit_learn_under_its_priors(covariance_type):
    x = blobs()
    scale = {"full": np.cov(x.T), "tied": np.cov(x.T), "diag": x.var(0), "spherical": 2.0}[
        covariance_type
    ]
    priors = {
        "weight_concentration_prior": 0.7,
        "mean_precision_prior": 0.3,
        "mean_prior": [1.0, -2.0, 3.0],
        "degrees_of_freedom_prior": 5.5,
        "covariance_prior": scale,
    }
    same = {"covariance_type": covariance_type, "random_state": 0, "max_iter": 300, **priors}
    theirs = BayesianGaussianMixture(n_components=3, reg_covar=0.0, tol=1e-9, **same).fit(x)
    ours = DirichletProcessMixture(3, tol=1e-12, **same).fit(x)
    order, their_order = np.argsort(ours.means_[:, 1]), np.argsort(theirs.means_[:, 1])
    names = (
        "means_",
        "covariances_",
        "precisions_",
        "precisions_cholesky_",
        "mean_precision_",
        "degrees_of_freedom_",
    )
    for name in names:
        values, expected = getattr(ours, name), getattr(theirs, name)
        if covariance_type != "tied" or name in ("means_", "mean_precision_"):
            values, expected = values[order], expected[their_order]
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(ours.weights_[order], theirs.weights_[their_order], atol=0.02)
    assert ours.weights_.sum() == pytest.approx(1)


def test_density_is_the_mixture_of_scipys_student_t(fitted):
    """Murphy (2007), equation 232: t with nu - D + 1 degrees of freedom, scale Psi (kappa + 1) / (kappa that)."""
    x = blobs(seed=1)
    dim, kappa, nu = 3, fitted.mean_precision_, fitted.degrees_of_freedom_
    dof = nu - dim + 1
    scales = fitted.covariances_ * (nu * (kappa + 1) / (kappa * dof))[:, None, None]
    parts = zip(fitted.weights_, fitted.means_, scales, dof, strict=True)
    expected = sum(w * stats.multivariate_t(m, s, df=d).pdf(x) for w, m, s, d in parts)
    np.testing.assert_allclose(fitted.score_samples(x), np.log(expected), rtol=1e-8)
    weight = np.arange(len(x))
    assert fitted.score(x) == pytest.approx(np.log(expected).mean())
    assert fitted.score(x, sample_weight=weight) == pytest.approx(
        np.average(np.log(expected), weights=weight)
    )


@pytest.mark.slow
def test_density_integrates_to_one_where_scikit_learns_does_not():
    x = np.array([[0.0], [0.3], [1.0], [5.0], [5.1], [6.2], [6.3], [9.0]])
    total = {}
    for kind in (DirichletProcessMixture, BayesianGaussianMixture):
        model = kind(n_components=2, random_state=0, max_iter=1000).fit(x)
        total[kind], _ = integrate.quad(
            lambda point, model=model: np.exp(model.score_samples([[point]])[0]),
            *(-2000, 2000),
            points=[0, 5, 9],
            limit=400,
        )
    assert total[DirichletProcessMixture] == pytest.approx(1, abs=2e-3)  # heavy tails lie outside
    assert total[BayesianGaussianMixture] < 0.95


def test_probabilities_and_labels(fitted):
    x = blobs(seed=2)
    probabilities = fitted.predict_proba(x)
    assert probabilities.shape == (60, 4)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    labels = fitted.predict(x)
    np.testing.assert_array_equal(labels, probabilities.argmax(1))
    truth = np.arange(60) % 3
    assert len(set(zip(truth, labels, strict=True))) == 3
    np.testing.assert_array_equal(clone(SMALL).fit_predict(blobs()), fitted.predict(blobs()))


def test_what_a_fit_tells(fitted):
    assert fitted.converged_
    assert fitted.n_active_components_ == 3
    assert fitted.n_iter_ == len(fitted.lower_bounds_)
    assert fitted.lower_bound_ == fitted.lower_bounds_[-1]
    assert np.all(np.diff(fitted.lower_bounds_) > -1e-9)
    assert fitted.concentration_ > 0
    assert fitted.weights_.dtype == np.float64


@pytest.mark.slow
def test_float32_stays_float32():
    x = blobs().astype(np.float32)
    model = clone(SMALL).fit(x)
    assert model.means_.dtype == np.float32
    assert model.score_samples(x).dtype == np.float32
    np.testing.assert_allclose(
        model.score_samples(x), clone(SMALL).fit(blobs()).score_samples(x), atol=1e-3
    )


@pytest.mark.parametrize("covariance_type", TYPES)
def test_samples_have_the_density(covariance_type):
    """Weights, and within the largest component the laws of the first feature and of the sum of all."""
    model = clone(SMALL).set_params(covariance_type=covariance_type)
    if (
        covariance_type == "tied"
    ):  # two components may share a cluster, since neither can become the wider one
        model.set_params(n_components=3)
    points, labels = model.fit(blobs()).sample(4000)
    assert points.shape == (4000, 3)
    shares = np.bincount(labels, minlength=len(model.weights_)) / 4000
    np.testing.assert_allclose(shares, model.weights_, atol=0.03)
    assert np.mean(model.predict(points) == labels) > 0.98
    largest = np.argmax(shares)
    student = model._predictive.params
    dof = student.dof[largest]
    deviations = (points[labels == largest] - model.means_[largest]) @ np.ones(3)
    scale = _scale_of_sum(student.precision_factor[largest])
    if covariance_type != "diag":  # whose predictive is a product: a sum of its features is no t
        assert stats.kstest(deviations / scale, stats.t(dof).cdf).pvalue > 1e-3
    first = (points[labels == largest] - model.means_[largest])[:, 0]
    scale = _scale_of_first(student.precision_factor[largest])
    assert stats.kstest(first / scale, stats.t(dof).cdf).pvalue > 1e-3


def _scale_of_sum(factor: np.ndarray) -> float:
    factor = factor if factor.ndim == 2 else factor * np.eye(3)
    return np.sqrt(np.linalg.inv(factor @ factor.T).sum())


def _scale_of_first(factor: np.ndarray) -> float:
    factor = factor if factor.ndim == 2 else factor * np.eye(3)
    return np.sqrt(np.linalg.inv(factor @ factor.T)[0, 0])


def test_weight_two_is_the_point_twice_and_the_order_does_not_matter(fitted):
    x = blobs()
    random = np.random.default_rng(3)
    weight = random.integers(0, 4, len(x))
    repeated = random.permutation(np.repeat(x, weight, axis=0))
    model, other = (clone(SMALL) for _ in range(2))
    model.fit(x, sample_weight=weight)
    other.fit(repeated)
    np.testing.assert_allclose(model.score_samples(x), other.score_samples(x), rtol=1e-9)
    assert model.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-9)
    assert not np.allclose(model.weights_, fitted.weights_)


def test_partial_fit_adds_to_what_was_learned(fitted):
    x = blobs()
    model = clone(SMALL).partial_fit(x)
    np.testing.assert_array_equal(model.means_, fitted.means_)
    new = np.random.default_rng(4).normal([-45, -40, 5], size=(30, 3))  # in the plane of the others
    model.partial_fit(blobs(30, seed=5)).partial_fit(new)
    (label,) = set(model.predict(new))
    assert label not in model.predict(x)
    np.testing.assert_allclose(model.mean_precision_, np.full(4, 30) + 0.01, rtol=1e-6)
    np.testing.assert_allclose(model.means_[label], new.mean(0), atol=0.02)
    assert model.weights_[label] == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ValueError, match="2 features"):
        model.partial_fit(x[:, :2])


def test_warm_start_goes_on():
    x = blobs(seed=6) / 10  # overlapping
    model = DirichletProcessMixture(4, random_state=0, warm_start=True, max_iter=3)
    with pytest.warns(ConvergenceWarning, match="after 3; raise max_iter"):
        model.fit(x)
    bound = model.lower_bound_
    model.set_params(max_iter=200).fit(x)
    assert model.lower_bound_ > bound
    assert model.lower_bounds_[0] > bound - 1e-9


def test_best_of_several_starts():
    x = np.random.default_rng(7).normal(size=(60, 3))
    one, best = (clone(SMALL).set_params(n_init=n).fit(x).lower_bound_ for n in (1, 5))
    assert best > one


@pytest.mark.slow
def test_finite_dirichlet_has_its_mass_by_component():
    model = DirichletProcessMixture(
        4,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=5.0,
        random_state=0,
    ).fit(blobs())
    occupied = np.sort(model.weights_)[1:]
    np.testing.assert_allclose(np.sort(model.weights_)[0], 5 / 80, rtol=1e-3)
    np.testing.assert_allclose(occupied, 25 / 80, rtol=1e-3)


def test_pickle(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(blobs()), fitted.score_samples(blobs()))


@pytest.mark.slow
def test_search_by_likelihood():
    search = GridSearchCV(SMALL, {"covariance_type": ["full", "spherical"]}, cv=3)
    random = np.random.default_rng(8)
    search.fit(random.normal(size=(150, 3)) * [1, 10, 0.1])
    assert search.best_params_ == {"covariance_type": "full"}


def test_later_fits_of_a_shape_compile_nothing(fitted, caplog):
    x = blobs(seed=10) + 1
    fitted.predict(x)
    with jax.log_compiles():
        jax.jit(lambda y: y + 1)(1.0)  # that this is how compiling is seen
        assert "Finished XLA compilation" in caplog.text
        caplog.clear()
        clone(SMALL).fit(x).predict(x)
    assert "Finished XLA compilation" not in caplog.text


def test_outliers_are_the_share_asked_for():
    random = np.random.default_rng(9)
    x = np.concatenate([blobs(54), random.uniform(-100, 100, (6, 3))])
    detector = DirichletProcessOutlierDetector(4, contamination=0.1, random_state=0).fit(x)
    labels = detector.predict(x)
    assert (labels == -1).sum() == 6
    assert set(labels) == {-1, 1}
    assert (labels[54:] == -1).sum() >= 5
    np.testing.assert_array_equal(labels, np.where(detector.decision_function(x) < 0, -1, 1))
    np.testing.assert_allclose(
        detector.decision_function(x), detector.score_samples(x) - detector.offset_
    )
    np.testing.assert_array_equal(detector.fit_predict(x), labels)
    assert detector.predict([[500.0, 0, 0]]) == -1


@pytest.mark.parametrize(("share", "expected"), [(0.25, 2.0), (0.3, 2.0), (0.2, 1.0), (0.5, 3.0)])
def test_lower_end(share, expected):
    values, weight = np.array([3.0, 1.0, 2.0, 0.0]), np.array([2.0, 1.0, 1.0, 0.0])
    end = lower_end(values, weight, share)
    assert end == pytest.approx(expected, abs=1e-7)
    assert end < expected
    repeated = np.array([3.0, 3.0, 1.0, 2.0])
    assert lower_end(repeated, np.ones(4), share) == end


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components must be a whole number of at least 1, got 0"),
        ({"max_iter": 2.5}, "max_iter must be a whole number"),
        ({"n_init": -1}, "n_init must be a whole number"),
        ({"tol": -1.0}, "tol must be a number of nats per point"),
        (
            {"covariance_type": "banded"},
            "must be 'full', 'tied', 'diag' or 'spherical', got 'banded'",
        ),
        ({"weight_concentration_prior_type": "x"}, "weight_concentration_prior_type must be one"),
        ({"weight_concentration_prior": 0}, "weight_concentration_prior must be a positive number"),
        (
            {"mean_prior": [1.0]},
            r"mean_prior must be finite and have shape \(3,\), got shape \(1,\)",
        ),
        ({"degrees_of_freedom_prior": 2.0}, "degrees_of_freedom_prior must be above 2 for 3 feat"),
        ({"covariance_prior": -np.eye(3)}, "covariance_prior must be symmetric and positive def"),
        ({"covariance_prior": [1.0]}, r"covariance_prior must be finite and have shape \(3, 3\)"),
    ],
)
def test_parameters_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=message):
        DirichletProcessMixture(**settings).fit(blobs())


@pytest.mark.parametrize("given", [0, "auto", None, "0.1", float("nan"), True, [0.1]])
def test_contamination_that_is_no_share(given):
    message = rf"contamination must be above 0 and at most 0\.5, got {re.escape(repr(given))}; the"
    with pytest.raises(ValueError, match=message):
        DirichletProcessOutlierDetector(contamination=given).fit(blobs())


@pytest.mark.parametrize("name", ["mean_prior", "covariance_prior"])
def test_priors_that_are_no_numbers(name):
    with pytest.raises(ValueError, match=rf"{name} must be numbers of shape \(3.*, got 'auto'; le"):
        DirichletProcessMixture(**{name: "auto"}).fit(blobs())


@pytest.mark.parametrize("covariance_type", TYPES)
def test_probabilities_at_any_distance(covariance_type):
    """Where densities are zero in floating point the tails decide, as they do at the last distance that is not zero."""
    model = DirichletProcessMixture(4, covariance_type=covariance_type, random_state=0)
    points = blobs()
    model.fit(points)
    ways = np.array([[1.0, 2, -1], [-3, 0, 1], [0, 0, 1]])
    expected = model.predict_proba(ways * 1e100)
    for distance in (1e200, 1e307):
        found = model.predict_proba(ways * distance)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_array_equal(model.predict(ways * distance), expected.argmax(axis=1))
    single = clone(model).fit(points.astype(np.float32))
    for distance in (1e25, 1e38, 1e200):  # the last is beyond float32 itself
        found = single.predict_proba(ways * distance)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(single.predict(ways * distance), found.argmax(axis=1))
    both = np.concatenate([points[:2], ways * 1e200])
    np.testing.assert_allclose(model.predict_proba(both)[:2], model.predict_proba(points[:2]))


@pytest.mark.parametrize(("alpha", "number"), [(1000.0, 5), (20, 10)])
def test_alpha_that_expects_more_components_than_there_are(alpha, number):
    """Sampling the sticks says how much lies beyond the first K."""
    sticks = np.random.default_rng(0).beta(1, alpha, (20_000, number))
    beyond = (1 - sticks).prod(axis=1).mean()
    model = DirichletProcessMixture(number, weight_concentration_prior=alpha, random_state=0)
    with pytest.warns(UserWarning, match=rf"got {alpha:g}, which expects {beyond:.0%} beyond them"):
        model.fit(blobs())


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_concentration_prior": 5.0, "n_components": 10},
        {"weight_concentration_prior": 1.0, "n_components": 1},
        {
            "weight_concentration_prior_type": "dirichlet_distribution",
            "weight_concentration_prior": 99,
        },
        {},
    ],
)
def test_alpha_and_truncation_that_go_together(settings):
    tell_of_contradiction(DirichletProcessMixture(**settings))  # a warning would be an error


def test_other_errors(fitted):
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        fitted.sample(0)
    with pytest.raises(ValueError, match="sample_weight must be finite, not negative and not all"):
        clone(SMALL).fit(blobs(), sample_weight=np.zeros(60))


def test_without_scikit_learn():
    code = "import sys; sys.modules['sklearn'] = None; import jaxdpmm.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: jaxdpmm.sklearn needs scikit-learn, which is not installed; "
        "install it with: pip install 'jaxdpmm[sklearn]'."
    )
