"""Names that stand for parts of the library in settings, on the command line and in model files.

Each list is here once. Nothing is imported, so that `jaxdpmm fit --help` can name all of them before JAX is loaded.
Next file to read: `detection/settings.py`, the settings that take these names.
"""

FAMILIES = {"gaussian": "", "von_mises_fisher": "VonMisesFisher"}
"""Family of a component to its class in `jaxdpmm.families`; the class of a Gaussian is chosen by its covariance."""

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
    "pitman_yor": "PitmanYor",
    "finite": "SymmetricDirichlet",
}
"""Prior of the mixture weights to its class in `jaxdpmm.sticks`."""

SCORES = (
    "predictive",
    "nearest_predictive",
    "plug_in",
    "expected",
    "cosine",
    "euclidean",
    "mahalanobis",
    "residual",
    "spherical",
)
"""Anomaly scores of a patch alone, functions of `jaxdpmm.scoring`."""

CONTEXT = "context"
"""The anomaly score of a patch among those around it, see `detection.scores.context`."""

ODDS = "odds"
"""The anomaly score of a patch beside those of known anomalies, see `detection.scores.known`."""

DISCREPANCY = "discrepancy"
"""The anomaly score of a patch beside those of unlabelled images, see `detection.scores.prevalence`."""

OF_IMAGES = (CONTEXT, ODDS, DISCREPANCY)
"""Anomaly scores that are learned from images; even one of them alone is made a p-value among normal patches."""

TOP, DIVERGENCE = "top", "divergence"
IMAGE_SCORES = (TOP, DIVERGENCE)
"""What makes the score of an image, see `detection.scores.composition`."""

BACKENDS = ("cavi", "memoized", "stochastic", "online_em", "gibbs", "paper")
"""How a mixture is fitted: functions of `jaxdpmm.inference`, and "paper", the published algorithm with its start."""

THRESHOLDS = ("auto", "held_out", "leave_one_out", "none")
"""Which normal images thresholds come from, see `detection.calibration`."""

STARTS = ("k-means", "coverage")
"""Where a fit starts, see `inference.initialize`."""

SHAPES = ("crop", "bucket", "square")
"""Shapes of prepared images, see `images.geometry`."""

PRESETS = {
    "fast": {"start": "coverage", "covariance": "spherical", "num_epochs": 0, "score": "cosine"},
    "accurate": {
        "start": "coverage",
        "share": 0.02,
        "covariance": "low_rank",
        "rank": 2,
        "num_epochs": 0,
        "score": ("cosine", "residual"),
    },
    "paper": {
        "backend": "paper",
        "num_components": 500,
        "batch_size": 12_288,
        "num_epochs": 40,
        "tolerance": 0.0,
        "score": "cosine",
        "whiten": False,
        "p_values": False,
        "sigma": 0.0,
    },
}
"""One word for a setting of the whole detector: the settings that differ from their defaults.

"fast" is the default: means of components, at a hundredth of a memory bank's time and size. "accurate" has twice as
many components and the directions in which the patches of each vary (`scoring.residual`), and fuses two scores.
"paper" is the published setting (arXiv 2509.19997, section 3).
"""

JOINS = ("concatenate", "mean")
"""How the features of several blocks become one vector, see `features.PatchExtractor`."""

DTYPES = ("float32", "bfloat16")
"""Types of the backbone's matrix products."""


def names_of(score: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of a setting `score`."""
    return (score,) if isinstance(score, str) else score


def is_joint(score: str | tuple[str, ...]) -> bool:
    """Whether a setting `score` needs a fusion: it is several, or one that is not of a patch and the mixture alone."""
    return not isinstance(score, str) or score in OF_IMAGES
