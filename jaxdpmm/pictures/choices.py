"""Picture of settings that were tried: how well each tells synthetic anomalies from normal images, against its cost.

Next file to read: `../detection/choosing/choose.py`, which tries them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxdpmm.choices import names_of
from jaxdpmm.detection.choosing.choose import Choice
from jaxdpmm.detection.choosing.trials import FIGURE, Trial
from jaxdpmm.detection.evaluate import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_trials(axes: "Axes", trials: Sequence[Trial], choice: Choice) -> "Axes":
    """Axes with a point per trial, its figure over its time per image, one colour per score; two are ringed.

    Bars are one standard error of the distance from the best figure. Rings are about the chosen setting and the one
    that was started from.

    Args:
        axes: to draw into.
        trials: in the order that `choice` was made of.
        choice: from `decide`.
    """
    costs = np.array([trial.milliseconds for trial in trials])
    figures = np.array([trial.figures[FIGURE] for trial in trials])
    errors = np.array(choice.errors)
    scores = [" and ".join(names_of(trial.config.score)) for trial in trials]
    for name in dict.fromkeys(scores):
        some = np.array([score == name for score in scores])
        axes.errorbar(costs[some], figures[some], errors[some], fmt="o", alpha=0.7, label=name)
    for name, trial, marker in (("start", choice.usual, "s"), ("chosen", choice.chosen, "o")):
        axes.plot(
            trial.milliseconds,
            trial.figures[FIGURE],
            marker=marker,
            markersize=18,
            fillstyle="none",
            color="black",
            linestyle="none",
            label=name,
        )
    label = f"{LABELS[FIGURE]} of synthetic anomalies"
    axes.set(xscale="log", xlabel="ms per image, without backbone", ylabel=label)
    axes.legend()
    return axes
