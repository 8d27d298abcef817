"""The mixture as a scikit-learn estimator, for pipelines, searches and scripts that have one already.

    DirichletProcessMixture             clusters and densities, in the place of BayesianGaussianMixture
    DirichletProcessOutlierDetector     +1 and -1, in the place of IsolationForest, EllipticEnvelope, ...

They are two classes because `predict` cannot mean two things: a mixture's users expect the number of a
component, a detector's +1 for inliers and -1 for outliers. Both pass scikit-learn's `check_estimator`.

From `BayesianGaussianMixture` to here:

    BayesianGaussianMixture               here
    n_components, tol, max_iter, n_init   the same; `tol` in nats per point, `n_components` is 20 by default
    covariance_type                       the same: "full", "tied", "diag" or "spherical"
    reg_covar                             gone: the prior keeps covariances proper
    init_params                           "kmeans" (k-means++ and Lloyd steps) or "coverage" (farthest-first seeds)
    weight_concentration_prior_type       the same
    weight_concentration_prior=None       inferred, under a Gamma(1, 1) prior, in place of fixed at 1 / n_components
    weight_concentration_prior=a          the same
    mean_precision_prior=None             0.01 points in place of 1
    degrees_of_freedom_prior=None         D + 2 ("full") or 2 in place of D
    covariance_prior=None                 the data's covariance times K^(-2/D) times the degrees of freedom, in place
                                          of the data's covariance
    mean_prior and any value given        the same
    weights_, means_, covariances_, precisions_, precisions_cholesky_, converged_, n_iter_, lower_bound_, lower_bounds_
                                          the same; the bound has all its constants
    score_samples, score                  a true log density, the posterior predictive of Student-t components;
                                          scikit-learn's is no density (its issue 10148)
    predict_proba, predict                under that predictive
    sample                                draws from that predictive
    fit(X, sample_weight=...)             new: weight 2 is the point twice, 0 is no point
    partial_fit                           new: what was learned stays, new points add to it
    concentration_, n_active_components_  new

Computing is in the type that points come in, float64 or float32 (which is what GPUs are fast in), whatever JAX's
own setting is. Next file to read: `mixture.py`.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "jaxdpmm.sklearn needs scikit-learn, which is not installed; install it with: pip install 'jaxdpmm[sklearn]'."
    ) from error

from jaxdpmm.sklearn.mixture import DirichletProcessMixture
from jaxdpmm.sklearn.outliers import DirichletProcessOutlierDetector

__all__ = ["DirichletProcessMixture", "DirichletProcessOutlierDetector"]
