"""Names that stand for parts of the library in settings, on the command line and in model files.

Each list is here once. Nothing is imported, so that `jaxdpmm fit --help` can name all of them before JAX is loaded.
Next file to read: `detection/settings.py`, the settings that take these names.
"""

COVARIANCES = {
    "full": "GaussianFull",
    "tied": "GaussianTied",
    "low_rank": "GaussianLowRank",
    "diagonal": "GaussianDiagonal",
    "spherical": "GaussianSpherical",
}
"""Covariance of a Gaussian component to its class in `jaxdpmm.families`."""

STICKS = {
    "dirichlet_process": "DirichletProcess",
    "finite": "SymmetricDirichlet",
}
"""Prior of the mixture weights to its class in `jaxdpmm.sticks`."""

SCORES = (
    "predictive",
    "nearest_predictive",
    "plug_in",
    "expected",
    "cosine",
    "nearest_cosine",
    "euclidean",
    "mahalanobis",
)
"""Anomaly scores, functions of `jaxdpmm.scoring`."""

STARTS = ("k-means", "coverage")
"""Where a fit starts, see `inference.initialize`."""

SHAPES = ("crop", "bucket", "square")
"""Shapes of prepared images, see `images.geometry`."""

DTYPES = ("float32", "bfloat16")
"""Types of the backbone's matrix products."""
