"""Fits whose number of components follows the data: births, merges and deletions."""

from jaxdpmm.inference.growth.adaptive import (
    fit_adaptive,
)
from jaxdpmm.inference.growth.moves import (
    with_moves,
)

__all__ = ["fit_adaptive", "with_moves"]
