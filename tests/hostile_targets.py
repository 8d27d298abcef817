"""Every kind of file that the library reads, small, for the search for files that are read wrongly."""

from collections.abc import Callable
from pathlib import Path

from hostile_base import GOLDEN, Target, files_of
from hostile_folders import (
    digested_store_target,
    scorer_target,
    sharded_weights_target,
    store_target,
    weights_target,
)
from hostile_trees import checkpoint_target, detector_target, model_target

MAKERS: dict[str, Callable[[Path], Target]] = {
    "model-full": lambda _: model_target("full"),
    "model-diagonal": lambda _: model_target("diagonal"),
    "model-low-rank": lambda _: model_target("low-rank"),
    "model-directions": lambda _: model_target("directions"),
    "detector": lambda _: detector_target(),
    "checkpoint": checkpoint_target,
    "store": lambda _: store_target(files_of(GOLDEN / "store", "*")),
    "digested-store": digested_store_target,
    "export": scorer_target,
    "weights": weights_target,
    "sharded-weights": sharded_weights_target,
}
NAMES = tuple(MAKERS)


def make_target(name: str, folder: Path) -> Target:
    """One of `NAMES`, made in an empty folder."""
    return MAKERS[name](folder)
