"""How well scores tell anomalous from normal, and how sure that is.

`table` counts scores in bounded memory, `figures` are functions of a table, `curves` their arithmetic over many tables
at once, `bootstrap` the intervals over images.
"""

from jaxdpmm.detection.metrics.figures import (
    MAX_RATE,
    area_under_pro,
    area_under_roc,
    average_precision,
    f1_at,
    f1_max,
    threshold_at_rate,
)
from jaxdpmm.detection.metrics.table import (
    ScoreTable,
    add_scores,
    merge,
    region_weights,
    score_table,
    upper_edge,
)

__all__ = [
    "MAX_RATE",
    "ScoreTable",
    "add_scores",
    "area_under_pro",
    "area_under_roc",
    "average_precision",
    "f1_at",
    "f1_max",
    "merge",
    "region_weights",
    "score_table",
    "threshold_at_rate",
    "upper_edge",
]
