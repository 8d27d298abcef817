"""The table of `choose.py`: how well synthetic anomalies order settings as real ones do, by recipe and data set.

Read `tables.py` next, which prints it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from table_parts import Records, markdown

from jaxdpmm.detection.choosing.choose import LEAST_GAIN
from jaxdpmm.detection.choosing.trials import FIGURE
from jaxdpmm.images.transplants import RECIPES

REAL = ("pixel_aupr", "image_auroc")
SATURATED = 0.004  # image AUROC that differs less among settings orders nothing
CHOSEN = tuple(RECIPES)


def choose_table(records: Records) -> str:
    """Rank correlation and regret in points, of each recipe; regret of the settings as they are, and of those chosen.

    Chosen are the best by the mean over the recipes of images, where they are better than the first by enough, as
    `jaxdpmm choose` takes them where the standard error allows. Beside the recipes stands the rank correlation with how
    wide components are by how far apart they are.
    """
    targets = [
        (data, figure)
        for data in dict.fromkeys(one["data"] for one in records)
        for figure in REAL
        if np.ptp(_real(_of(records, data), figure)) > SATURATED
    ]
    recipes = {name: (name,) for name in records[0]["recipes"]} | {", ".join(CHOSEN): CHOSEN}
    rows = []
    for name, some in recipes.items():
        cells = [_agreement(_of(records, data), figure, some) for data, figure in targets]
        means = np.mean(cells, axis=0)
        rows.append([name, *(_text(*cell) for cell in [*cells, means])])
    measured = {
        data for data in {one["data"] for one in records} if _are_measured(_of(records, data))
    }
    cells = [
        _width(_of(records, data), figure) if data in measured else None for data, figure in targets
    ]
    some = [one for one in cells if one is not None]
    if some:
        texts = ["-" if one is None else f"{one:+.2f}" for one in [*cells, np.mean(some)]]
        rows.append(["width over distance", *texts])
    for name, choose in (("settings as they are", lambda some: 0), ("chosen", _chosen)):
        regrets = [
            _regret(some, figure, choose(some))
            for data, figure in targets
            for some in [_of(records, data)]
        ]
        rows.append([name, *(f"{one:.2f}" for one in [*regrets, np.mean(regrets)])])
    names = {"pixel_aupr": "pixel AUPR", "image_auroc": "image AUROC"}
    header = [f"{data}, {names[figure]}" for data, figure in targets]
    return markdown(["recipe", *header, "mean"], rows)


def _are_measured(records: Records) -> bool:
    return all(one.get("within_over_between") is not None for one in records)


def _width(records: Records, figure: str) -> float:
    """Rank correlation of the real figure with how wide components are by how far apart they are."""
    widths = [one["within_over_between"] for one in records]
    return float(spearmanr(widths, _real(records, figure))[0])


def _of(records: Records, data: str) -> list[dict[str, Any]]:
    return [one for one in records if one["data"] == data]


def _real(records: Records, figure: str) -> np.ndarray:
    """Real figures of settings; zeros where there are no masks."""
    return np.array([one["real"].get(figure, 0.0) for one in records])


def _agreement(records: Records, figure: str, recipes: Sequence[str]) -> tuple[float, float]:
    """Rank correlation with the real figure, and regret of the best by the mean over recipes."""
    found = [np.mean([one["recipes"][name][FIGURE] for name in recipes]) for one in records]
    correlation = spearmanr(found, _real(records, figure))[0]
    return float(correlation), _regret(records, figure, int(np.argmax(found)))


def _chosen(records: Records) -> int:
    """The best by the mean over the recipes of images, if it is better than the first by enough."""
    found = np.array([[one["recipes"][name][FIGURE] for name in CHOSEN] for one in records])
    gains = found.mean(axis=1) - found[0].mean()
    return int(np.argmax(gains)) if gains.max() > LEAST_GAIN else 0


def _regret(records: Records, figure: str, chosen: int) -> float:
    """How many points one setting is behind the best."""
    real = _real(records, figure)
    return 100 * float(real.max() - real[chosen])


def _text(correlation: float, regret: float) -> str:
    return f"{correlation:+.2f}, {regret:.2f}"
