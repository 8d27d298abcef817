"""From a posterior to a number a point: densities and distances, as pairs of pure functions.

`SCORERS` names them all; each takes a `Mixture` and returns a `Scorer`.
"""

from jaxdpmm.choices import SCORES
from jaxdpmm.scoring.density import expected, log_predictive_density, plug_in, predictive
from jaxdpmm.scoring.distance import component_means, cosine, euclidean, mahalanobis
from jaxdpmm.scoring.nearest import nearest_cosine, nearest_predictive
from jaxdpmm.scoring.scorer import Scorer, in_tiles, score
from jaxdpmm.scoring.shortlist import shortlist_recall

SCORERS = {name: globals()[name] for name in SCORES}

__all__ = [
    "SCORERS",
    "Scorer",
    "component_means",
    "cosine",
    "euclidean",
    "expected",
    "in_tiles",
    "log_predictive_density",
    "mahalanobis",
    "nearest_cosine",
    "nearest_predictive",
    "plug_in",
    "predictive",
    "score",
    "shortlist_recall",
]
