"""What the mixture and the outlier detector share: parameters, fit, the numbers that users read, and the density.

The estimators translate: parameters to `Mixture` and `Prior` (`settings.py`), `fit` to `inference.fit` with CAVI, and
the posterior to arrays of familiar names. Whoever needs more takes `mixture_`, `prior_` and `posterior_` to the rest
of the library. Next file to read: `settings.py`.
"""

import inspect
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxdpmm.families import GaussianParams, GaussianTied
from jaxdpmm.inference import cavi, fit, initialize
from jaxdpmm.inference.data.arrays import ArraySource, check_weights
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.inference.initialize import MINIMUM_SAMPLE, SAMPLE_PER_COMPONENT
from jaxdpmm.model import Mixture, Posterior, Prior, active_components
from jaxdpmm.scoring import in_tiles, predictive
from jaxdpmm.scoring.density import Predictive
from jaxdpmm.sklearn.settings import (
    Priors,
    check_settings,
    mixture_of,
    prior_of,
    tell_of_contradiction,
)


class BaseDirichletProcess(BaseEstimator):
    """Parameters, fit and density, which the mixture and the detector share.

    As scikit-learn wants it, the constructor takes anything and `fit` says what is wrong with it.
    """

    def __init__(
        self,
        n_components: Any = 20,
        *,
        covariance_type: Any = "full",
        tol: Any = 1e-3,
        max_iter: Any = 100,
        n_init: Any = 1,
        init_params: Any = "kmeans",
        weight_concentration_prior_type: Any = "dirichlet_process",
        weight_concentration_prior: Any = None,
        mean_precision_prior: Any = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: Any = None,
        covariance_prior: Any = None,
        random_state: Any = None,
        warm_start: Any = False,
        verbose: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
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
        tell_of_contradiction(self)
        with precision(x.dtype):
            self._learn(x, weight)
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " N"]:
        """Log posterior predictive density of points in nats, (N,): exp of it integrates to one.

        log sum_k E[w_k] t_k(x), t_k the Student-t that a Gaussian of unknown mean and covariance predicts.
        """
        return self._over_points(_log_density, self._points(X))

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
                cavi(mixture, prior),
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
        where there are fewer than components some come again, and components stay empty. From seeds for coverage there
        is one start, whatever `n_init`, since nothing is random.
        """
        if self.init_params == "coverage":
            source, key = ArraySource(x, mixture.family, weight), jax.random.key(0)
            return [initialize(mixture, prior, source, key=key, start="coverage")]
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
        factor, dof = params.precision_factor, self.posterior_.components.dof
        if isinstance(mixture.family, GaussianTied):
            factor, dof = factor[0], dof[0]
        self.weights_ = np.exp(self._predictive.log_weights)
        self.means_ = params.mean + self.posterior_.offset
        self.precisions_cholesky_ = factor
        if params.precision_factor.ndim == 3:
            inverse = np.linalg.inv(factor)
            self.precisions_ = factor @ factor.mT
            self.covariances_ = inverse.mT @ inverse
        else:
            self.precisions_ = factor**2
            self.covariances_ = 1 / self.precisions_
        self.mean_precision_ = self.posterior_.components.mean_count
        self.degrees_of_freedom_ = dof
        shape, rate = map(float, self.posterior_.sticks.concentration)
        self.concentration_ = shape / rate
        self.n_active_components_ = int(np.sum(active_components(posterior)))

    def _fitted(self) -> tuple[Prior, Posterior]:
        """Prior and posterior as JAX arrays."""
        return jax.tree.map(jnp.asarray, (self.prior_, self.posterior_))

    def _points(self, X: Any) -> Float[np.ndarray, "N D"]:
        """Checked points, in the type of the fit and within its range."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        largest = np.finfo(self.weights_.dtype).max
        return np.clip(x, -largest, largest).astype(self.weights_.dtype, copy=False)

    def _over_points(self, of: Any, points: Float[np.ndarray, "N D"]) -> np.ndarray:
        with precision(self.weights_.dtype):
            return in_tiles(partial(of, self.mixture_), jax.device_put(self._predictive), points)


def with_parameters_of(base: Any) -> Callable[[Callable], Callable]:
    """Constructor whose signature names the base's parameters in place of **parameters, then its own.

    scikit-learn, help() and completion read the parameters of an estimator from its constructor's signature.
    """

    def decorate(constructor: Any) -> Any:
        parameters = dict(inspect.signature(base.__init__).parameters)
        own = inspect.signature(constructor).parameters.values()
        parameters |= {one.name: one for one in own if one.kind is not one.VAR_KEYWORD}
        constructor.__signature__ = inspect.Signature(list(parameters.values()))
        return constructor

    return decorate


def precision(dtype: Any) -> Any:
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
