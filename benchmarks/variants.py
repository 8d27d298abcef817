"""The rows of `quality.py` by name: the settings of mixtures, and what learns in another way.

Read `peers.py` next for what users would pick in place of a mixture.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from peers import PEERS

from jaxdpmm.choices import PRESETS


class Variant(NamedTuple):
    """A row of the table, or several.

    Attributes:
        changes: of the settings.
        scores: of a mixture, one row each, one of which may be several that are fused; none for what `METHODS` knows
            under `method`.
        method: how it learns, where it is no mixture: of `METHODS`, or of `peers.PEERS`.
    """

    changes: Mapping[str, Any] = {}
    scores: tuple[str | tuple[str, ...], ...] = ()
    method: str = ""


COVERAGE = {
    "start": "coverage",
    "covariance": "spherical",
    "num_components": None,
    "num_epochs": 0,
}
FAST = {**PRESETS["fast"], "num_components": None}
VARIANTS: Mapping[str, Variant] = {
    "mixture": Variant(scores=("predictive", "cosine")),
    "mixture-full": Variant(
        {"covariance": "full", "num_components": 100}, ("predictive", "nearest_predictive")
    ),
    "coverage": Variant(COVERAGE, ("predictive", "nearest_predictive", "cosine")),
    "fast": Variant(FAST | {"p_values": True, "whiten": True}, (("cosine",),)),
    "fast-plain": Variant(FAST | {"p_values": True}, (("cosine",),)),
    "fast-distances": Variant(FAST, ("cosine",)),
    "accurate": Variant(
        {**PRESETS["accurate"], "num_components": None, "whiten": True},
        (PRESETS["accurate"]["score"],),
    ),
    **{
        name: Variant({**PRESETS["fast"], **number}, (PRESETS["fast"]["score"],))
        for name, number in (
            ("fast-auto", {"num_components": "auto"}),
            ("fast-half", {"num_components": None, "share": 0.005}),
            ("fast-double", {"num_components": None, "share": 0.02}),
        )
    },
    "coverage-sweeps": Variant(
        COVERAGE | {"num_epochs": 4},
        ("predictive", "nearest_predictive", "cosine"),
    ),
    "finite": Variant({"weights": "finite"}, ("predictive",)),
    "k-means": Variant(method="k-means"),
    "coreset": Variant(method="coreset"),
    "bank": Variant(method="bank"),
    "faiss": Variant(method="faiss"),
    **{name: Variant(method=name) for name in PEERS},
    "cascade": Variant(COVERAGE, ("cascade",)),
    "anomalydino": Variant({"rotations": 8, "foreground": True}, method="bank"),
    "anomalydino-16": Variant({"rotations": 8, "foreground": True, "num_shots": 16}, method="bank"),
}
DEFAULT = ("mixture", "mixture-full", "finite", "k-means", "coreset", "bank")
