"""How a mixture is fitted: backends, local steps, where to start, and the one loop."""

from jaxdpmm.inference.adaptive import fit_adaptive
from jaxdpmm.inference.base import Algorithm, Info, LocalStep
from jaxdpmm.inference.cavi import cavi
from jaxdpmm.inference.data import ArraySource, DataSource
from jaxdpmm.inference.fit import Epoch, FitResult, fit
from jaxdpmm.inference.initialize import clustered_prior, initialize
from jaxdpmm.inference.local import dense
from jaxdpmm.inference.moves import with_moves
from jaxdpmm.inference.sources import IterableSource

__all__ = [
    "Algorithm",
    "ArraySource",
    "DataSource",
    "Epoch",
    "FitResult",
    "Info",
    "IterableSource",
    "LocalStep",
    "cavi",
    "clustered_prior",
    "dense",
    "fit",
    "fit_adaptive",
    "initialize",
    "with_moves",
]
