"""Pictures of a mixture and of its scores: axes of matplotlib in, the same axes out.

`fits` (how a fit went, how large components are, densities), `scores` (how well scores tell anomalous from normal),
`components` (what components look like on images), `drift` (which of them grow or empty) and `choices` (settings that
were tried). Each function draws into axes that the caller has made, and returns them, so that figures are put together
and styled as in any other use of matplotlib:

    figure = matplotlib.figure.Figure()
    draw_objective(figure.add_subplot(), result.history)
    figure.savefig("objective.png")

Not here: pictures of single images beside their anomaly maps (`../detection/overlay.py`).
"""

from jaxdpmm.pictures.choices import draw_trials
from jaxdpmm.pictures.components import (
    component_crops,
    draw_atlas,
    draw_component_map,
    draw_separation,
)
from jaxdpmm.pictures.drift import draw_drift
from jaxdpmm.pictures.fits import draw_active, draw_density, draw_objective, draw_sizes
from jaxdpmm.pictures.scores import draw_histogram, draw_precision_recall, draw_roc

__all__ = [
    "component_crops",
    "draw_active",
    "draw_atlas",
    "draw_component_map",
    "draw_density",
    "draw_drift",
    "draw_histogram",
    "draw_objective",
    "draw_precision_recall",
    "draw_roc",
    "draw_separation",
    "draw_sizes",
    "draw_trials",
]
