"""From a posterior to one number per point: densities and distances, as pairs of pure functions.

`SCORERS` names them all; each takes a `Mixture` and returns a `Scorer`.
"""

from jaxdpmm.choices import SCORES
from jaxdpmm.scoring.density import expected, log_predictive_density, plug_in, predictive
from jaxdpmm.scoring.distance import component_means, cosine, euclidean, mahalanobis
from jaxdpmm.scoring.fusion import Fusion, fuse, fused, fused_scores, fusion_of, learn_fusion
from jaxdpmm.scoring.nearest import nearest_predictive
from jaxdpmm.scoring.ratio import Hypotheses, anomaly_hypotheses, log_ratio
from jaxdpmm.scoring.residual import residual
from jaxdpmm.scoring.scorer import Scorer, in_tiles, score
from jaxdpmm.scoring.shortlist import shortlist_recall
from jaxdpmm.scoring.spherical import spherical

SCORERS = {name: globals()[name] for name in SCORES}

__all__ = [
    "SCORERS",
    "Fusion",
    "Hypotheses",
    "Scorer",
    "anomaly_hypotheses",
    "component_means",
    "cosine",
    "euclidean",
    "expected",
    "fuse",
    "fused",
    "fused_scores",
    "fusion_of",
    "in_tiles",
    "learn_fusion",
    "log_predictive_density",
    "log_ratio",
    "mahalanobis",
    "nearest_predictive",
    "plug_in",
    "predictive",
    "residual",
    "score",
    "shortlist_recall",
    "spherical",
]
