"""`DirichletProcessMixture`: clusters and densities behind scikit-learn's interface. Next file to read: `base.py`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.families import GaussianDiagonal
from jaxdpmm.inference.data.arrays import check_weights
from jaxdpmm.inference.update import partial_fit
from jaxdpmm.model import Mixture
from jaxdpmm.scoring.density import Predictive, log_predictive_joint
from jaxdpmm.sklearn.base import BaseDirichletProcess, precision

MOST_STEPS = 50  # each of all digits of a number; the largest number is 21 of them away from 1
PARTIAL_FIT_SWEEPS = 10  # over the new points; an old cluster needs one, a new one some


class DirichletProcessMixture(DensityMixin, BaseDirichletProcess):
    """A Dirichlet process mixture of Gaussians, fitted by variational inference.

    The module's docstring (`jaxdpmm.sklearn`) tells what differs from `BayesianGaussianMixture`.

    Parameters:
        n_components: truncation, the most components there can be; those that are not needed stay empty.
        covariance_type: "full", "tied" (one for all components), "diag" or "spherical".
        tol: the fit ends when a sweep changes the bound by less than this, in nats per point.
        max_iter: most sweeps over the points.
        n_init: fits from so many starts, the one of the highest bound is kept.
        init_params: how a fit starts, "kmeans" (where points are many) or "coverage" (farthest-first seeds, so that
            rare kinds of points have a component too; there is one such start, whatever `n_init`).
        weight_concentration_prior_type: "dirichlet_process" or "dirichlet_distribution".
        weight_concentration_prior: alpha of the process, or a component's mass of the Dirichlet. None: alpha is
            inferred under a Gamma(1, 1) prior, or the mass is 1 / n_components.
        mean_precision_prior: how many points the prior mean counts for; None for 0.01.
        mean_prior: (D,); None for the mean of the points.
        degrees_of_freedom_prior: how many points the prior covariance counts for; None for D + 2 ("full" and
            "tied") or 2.
        covariance_prior: scale of the prior, (D, D), (D,) or a number: `degrees_of_freedom_prior` times a typical
            covariance. None for one from the points.
        random_state: of the starts and of `sample`; a number, a `RandomState` or None.
        warm_start: `fit` goes on from the last fit, under its prior, where the parameters still describe its mixture.
        verbose: 1 shows a bar.

    Attributes:
        weights_: E[w_k], (K,).
        means_: (K, D).
        covariances_: inverses of E[precision], (K, D, D), (D, D), (K, D) or (K,).
        precisions_: E[precision], of the same shape.
        precisions_cholesky_: upper triangular U with U U' = precision, or the square roots.
        mean_precision_: (K,).
        degrees_of_freedom_: (K,), or a number ("tied").
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
        with precision(dtype):
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
        return self._within_reach(_best_component, X, lambda found: found >= 0)

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N K"]:
        """Probability of each component given a point, E[w_k] t_k(x) / sum_j E[w_j] t_j(x), (N, K)."""
        return self._within_reach(_probabilities, X, lambda found: np.isfinite(found).all(axis=1))

    def _within_reach(self, of: Any, X: Any, is_known: Any) -> np.ndarray:
        """`of` points, those too far for a density above 0 drawn towards the mean until they have one.

        They keep their direction, and stay so far out that the tails alone decide.
        """
        points = self._points(X)
        found = self._over_points(of, points)
        far = np.flatnonzero(~is_known(found))
        if not len(far):
            return found
        found, points = np.array(found), points[far]
        step, middle = np.finfo(points.dtype).eps, np.asarray(self.posterior_.offset, points.dtype)
        for _ in range(MOST_STEPS):
            points = points * step + middle * (1 - step)
            again = self._over_points(of, points)
            known = is_known(again)
            found[far[known]] = again[known]
            far, points = far[~known], points[~known]
            if not len(far):
                break
        return found

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
        check_at_least_one("n_samples", n_samples, "the default is 1")
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
        # A diagonal predictive is a product of Student-t densities, one per feature
        is_product = isinstance(self.mixture_.family, GaussianDiagonal)
        squares = random.chisquare(student.dof, (number, self.n_features_in_ if is_product else 1))
        return self.posterior_.offset + student.mean + deviation / np.sqrt(squares / student.dof)


@partial(jax.jit, static_argnums=0)
def _probabilities(mixture: Mixture, params: Predictive, x: Array) -> Float[Array, "N K"]:
    return jax.nn.softmax(log_predictive_joint(mixture, params, x), axis=1)


@partial(jax.jit, static_argnums=0)
def _best_component(mixture: Mixture, params: Predictive, x: Array) -> Int[Array, " N"]:
    joint = log_predictive_joint(mixture, params, x)
    return jnp.where(jnp.isfinite(jnp.max(joint, axis=1)), jnp.argmax(joint, axis=1), -1)
