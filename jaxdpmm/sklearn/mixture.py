"""`DirichletProcessMixture`: clusters and densities behind scikit-learn's interface.

The estimator translates: parameters to `Mixture` and `Prior` (`settings.py`), `fit` to `inference.fit` with `cavi`, and
the posterior to arrays of familiar names. Whoever needs more takes `mixture_`, `prior_` and `posterior_` to the rest of
the library. Next file to read: `reuse.py`.
"""

import warnings
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxdpmm.families import GaussianDiagonal, GaussianParams
from jaxdpmm.inference import fit, initialize
from jaxdpmm.inference.data import check_weights
from jaxdpmm.inference.initialize import MINIMUM_SAMPLE, SAMPLE_PER_COMPONENT, draw_sample
from jaxdpmm.inference.update import partial_fit
from jaxdpmm.model import Mixture, Posterior, Prior, active_components
from jaxdpmm.scoring import in_tiles, predictive
from jaxdpmm.scoring.density import Predictive, log_predictive_joint
from jaxdpmm.sklearn.reuse import reusable_cavi
from jaxdpmm.sklearn.settings import Priors, check_settings, mixture_of, prior_of

PARTIAL_FIT_SWEEPS = 10  # over the new points; an old cluster needs one, a new one some


class BaseDirichletProcess(BaseEstimator):
    """Parameters, fit and density, which the mixture and the detector share.

    As scikit-learn wants it, the constructor takes anything and `fit` says what is wrong with it.
    """

    def __init__(
        self,
        n_components=20,
        *,
        covariance_type="full",
        tol=1e-3,
        max_iter=100,
        n_init=1,
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=None,
        mean_precision_prior=None,
        mean_prior=None,
        degrees_of_freedom_prior=None,
        covariance_prior=None,
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Any:
        """Learn from points.

        Args:
            X: points, (N, D), float64 or float32, which is what is computed in.
            y: ignored.
            sample_weight: (N,), weight 2 is the point twice, 0 is no point.

        Returns:
            The estimator.

        Raises:
            ValueError: bad parameters, points or weights.
        """
        check_settings(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        weight = check_weights(sample_weight, len(x), x.dtype)
        with _precision(x.dtype):
            self._learn(x, weight)
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " N"]:
        """Log posterior predictive density of points in nats, (N,): exp of it integrates to one.

        log sum_k E[w_k] t_k(x), t_k the Student-t that a Gaussian of unknown mean and covariance predicts.
        """
        return self._over_points(_log_density, X)

    def _learn(self, x: Float[np.ndarray, "N D"], weight: Float[np.ndarray, " N"]) -> None:
        mixture = mixture_of(self, x.shape[1])
        goes_on = self.warm_start and getattr(self, "mixture_", None) == mixture
        if goes_on:
            prior, start = self._fitted()
            starts = [start]
        else:
            prior = prior_of(mixture, self._priors(), x, weight)
            starts = self._starts(mixture, prior, x, weight)
        results = [
            fit(
                reusable_cavi(mixture, prior),
                x,
                start,
                num_epochs=int(self.max_iter),
                tolerance=float(self.tol),
                sample_weight=weight,
                progress=bool(self.verbose),
            )
            for start in starts
        ]
        best = max(results, key=lambda result: result.history[-1].objective)
        self._keep(mixture, prior, best.posterior)
        self.converged_ = best.converged
        self.lower_bounds_ = [epoch.objective for epoch in best.history]
        self.lower_bound_ = self.lower_bounds_[-1]
        self.n_iter_ = len(best.history)
        if not best.converged:
            warnings.warn(
                f"tol must be reached within max_iter sweeps, got a bound that still moved after {self.n_iter_}; "
                "raise max_iter, raise tol, or scale the features to a spread near one.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _priors(self) -> Priors:
        return Priors(
            self.weight_concentration_prior,
            self.mean_prior,
            self.mean_precision_prior,
            self.degrees_of_freedom_prior,
            self.covariance_prior,
        )

    def _starts(
        self, mixture: Mixture, prior: Prior, x: np.ndarray, weight: np.ndarray
    ) -> list[Posterior]:
        """One start for each of `n_init`, each from the distinct points of a sample.

        Distinct and sorted, so that neither the order of the points matters nor whether one comes twice or weighs two;
        where there are fewer than components some come again, and components stay empty.
        """
        points = x if weight.all() else x[weight > 0]
        size = max(SAMPLE_PER_COMPONENT * mixture.num_components, MINIMUM_SAMPLE)
        seeds = check_random_state(self.random_state).randint(
            np.iinfo(np.int32).max, size=self.n_init
        )
        starts = []
        for seed in seeds:
            key_sample, key_start = jax.random.split(jax.random.key(seed))
            distinct = np.unique(draw_sample(key_sample, points, size), axis=0)
            num_rows = max(len(distinct), mixture.num_components)
            rows = np.resize(distinct, (num_rows, x.shape[1]))
            starts.append(initialize(mixture, prior, rows, key=key_start, sample_size=num_rows))
        return starts

    def _keep(self, mixture: Mixture, prior: Prior, posterior: Posterior) -> None:
        """The posterior, and the numbers that users read, all in NumPy: JAX would unpickle float64 as float32."""
        fitted = (prior, posterior, *_read_out(mixture, posterior))
        self.mixture_ = mixture
        self.prior_, self.posterior_, self._predictive, params = jax.tree.map(np.asarray, fitted)
        factor = params.precision_factor
        self.weights_ = np.exp(self._predictive.log_weights)
        self.means_ = params.mean + self.posterior_.offset
        self.precisions_cholesky_ = factor
        if factor.ndim == 3:
            inverse = np.linalg.inv(factor)
            self.precisions_ = factor @ np.swapaxes(factor, 1, 2)
            self.covariances_ = np.swapaxes(inverse, 1, 2) @ inverse
        else:
            self.precisions_ = factor**2
            self.covariances_ = 1 / self.precisions_
        self.mean_precision_ = self.posterior_.components.mean_count
        self.degrees_of_freedom_ = self.posterior_.components.dof
        shape, rate = map(float, self.posterior_.sticks.concentration)
        self.concentration_ = shape / rate
        self.n_active_components_ = int(np.sum(active_components(posterior)))

    def _fitted(self) -> tuple[Prior, Posterior]:
        """Prior and posterior as JAX arrays."""
        return jax.tree.map(jnp.asarray, (self.prior_, self.posterior_))

    def _over_points(self, of: Any, X: Any) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        dtype = self.weights_.dtype
        with _precision(dtype):
            points = x.astype(dtype, copy=False)
            return in_tiles(partial(of, self.mixture_), jax.device_put(self._predictive), points)


class DirichletProcessMixture(DensityMixin, BaseDirichletProcess):
    """A Dirichlet process mixture of Gaussians, fitted by variational inference.

    The module's docstring (`jaxdpmm.sklearn`) tells what differs from `BayesianGaussianMixture`.

    Parameters:
        n_components: truncation, the most components there can be; those that are not needed stay empty.
        covariance_type: "full", "diag" or "spherical".
        tol: the fit ends when a sweep changes the bound by less than this, in nats a point.
        max_iter: most sweeps over the points.
        n_init: fits from so many starts, the one of the highest bound is kept.
        weight_concentration_prior_type: "dirichlet_process" or "dirichlet_distribution".
        weight_concentration_prior: alpha of the process, or a component's mass of the Dirichlet. None: alpha is
            inferred under a Gamma(1, 1) prior, or the mass is 1 / n_components.
        mean_precision_prior: how many points the prior mean counts for; None for 0.01.
        mean_prior: (D,); None for the mean of the points.
        degrees_of_freedom_prior: how many points the prior covariance counts for; None for D + 2 ("full") or 2.
        covariance_prior: scale of the prior, (D, D), (D,) or a number: `degrees_of_freedom_prior` times a typical
            covariance. None for one from the points.
        random_state: of the starts and of `sample`; a number, a `RandomState` or None.
        warm_start: `fit` goes on from the last fit, under its prior, where the parameters still describe its mixture.
        verbose: 1 shows a bar.

    Attributes:
        weights_: E[w_k], (K,).
        means_: (K, D).
        covariances_: inverses of E[precision], (K, D, D), (K, D) or (K,).
        precisions_: E[precision], of the same shape.
        precisions_cholesky_: upper triangular U with U U' = precision, or the square roots.
        mean_precision_: (K,).
        degrees_of_freedom_: (K,).
        concentration_: E[alpha].
        n_active_components_: components that hold at least half a point.
        converged_: whether the last `fit` reached `tol`.
        n_iter_: its sweeps.
        lower_bound_: its evidence lower bound, in nats, of all points, with all constants.
        lower_bounds_: the same after each sweep.
        n_features_in_, feature_names_in_: of the points.
        mixture_, prior_, posterior_: for the rest of the library.
    """

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Int[np.ndarray, " N"]:
        """`fit`, then `predict` of the same points."""
        return self.fit(X, y, sample_weight).predict(X)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Any:
        """Add points to what was learned, as a coordinate step in which the old points' statistics are fixed.

        The first call is `fit`. `converged_`, `n_iter_` and the bounds stay those of the last `fit`, since the bound of
        points that are gone is not known.

        Args:
            X: new points, (N, D).
            y: ignored.
            sample_weight: (N,).

        Returns:
            The estimator.
        """
        if not hasattr(self, "posterior_"):
            return self.fit(X, y, sample_weight)
        dtype = self.weights_.dtype
        x = validate_data(self, X, dtype=dtype, reset=False)
        weight = check_weights(sample_weight, len(x), dtype)
        with _precision(dtype):
            prior, old = self._fitted()
            posterior, _ = partial_fit(
                self.mixture_,
                prior,
                old,
                x,
                sample_weight=weight,
                num_epochs=PARTIAL_FIT_SWEEPS,
            )
            self._keep(self.mixture_, prior, posterior)
        return self

    def predict(self, X: Any) -> Int[np.ndarray, " N"]:
        """Number of the most probable component of each point, (N,)."""
        return self._over_points(_best_component, X)

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N K"]:
        """Probability of each component given a point, E[w_k] t_k(x) / sum_j E[w_j] t_j(x), (N, K)."""
        return self._over_points(_probabilities, X)

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log density of points, in nats, weighted."""
        densities = self.score_samples(X)
        weight = check_weights(sample_weight, len(densities), densities.dtype)
        return float(np.average(densities, weights=weight))

    def sample(self, n_samples: int = 1) -> tuple[Float[np.ndarray, "N D"], Int[np.ndarray, " N"]]:
        """Points from the predictive density, in the order of their components.

        Returns:
            Points (n_samples, D) and their components (n_samples,).

        Raises:
            ValueError: `n_samples` below 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}; the default is 1.")
        random = check_random_state(self.random_state)
        weights = self.weights_.astype(np.float64)
        counts = random.multinomial(n_samples, weights / weights.sum()).tolist()
        points = [self._draw(random, k, counts[k]) for k in range(len(counts)) if counts[k]]
        labels = np.repeat(np.arange(len(counts)), counts)
        return np.concatenate(points).astype(self.weights_.dtype), labels

    def _draw(self, random: np.random.RandomState, component: int, number: int) -> np.ndarray:
        """Student-t: a normal draw through the precision factor, over the root of a scaled chi square."""
        student: Any = jax.tree.map(lambda leaf: leaf[component], self._predictive.params)
        normal = random.standard_normal((number, self.n_features_in_))
        if student.precision_factor.ndim == 2:
            deviation = solve_triangular(student.precision_factor, normal.T, trans="T").T
        else:
            deviation = normal / student.precision_factor
        # A diagonal predictive is a product of Student-t densities, one a feature
        is_product = isinstance(self.mixture_.family, GaussianDiagonal)
        squares = random.chisquare(student.dof, (number, self.n_features_in_ if is_product else 1))
        return self.posterior_.offset + student.mean + deviation / np.sqrt(squares / student.dof)


def _precision(dtype: Any) -> Any:
    """Computing in the type of the points, whatever JAX is set to."""
    return jax.enable_x64(True) if dtype == np.float64 else nullcontext()


@partial(jax.jit, static_argnums=0)
def _read_out(mixture: Mixture, posterior: Posterior) -> tuple[Predictive, GaussianParams]:
    family: Any = mixture.family
    points = jax.vmap(family.point_params)(posterior.components)
    return predictive(mixture).prepare(posterior), points


@partial(jax.jit, static_argnums=0)
def _log_density(mixture: Mixture, params: Predictive, x: Array) -> Float[Array, " N"]:
    return -predictive(mixture).score(params, x)


@partial(jax.jit, static_argnums=0)
def _probabilities(mixture: Mixture, params: Predictive, x: Array) -> Float[Array, "N K"]:
    return jax.nn.softmax(log_predictive_joint(mixture, params, x), axis=1)


@partial(jax.jit, static_argnums=0)
def _best_component(mixture: Mixture, params: Predictive, x: Array) -> Int[Array, " N"]:
    return jnp.argmax(log_predictive_joint(mixture, params, x), axis=1)
