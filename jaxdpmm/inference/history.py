"""What a fit tells of its sweeps, and when they have converged.

Next file to read: `checkpoint.py`, which keeps the history, or `fit.py`, which writes it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple


class Epoch(NamedTuple):
    """One sweep, for the history and the callback.

    Attributes:
        number: 1 for the first.
        objective: what the algorithm reports, in nats for all data; its kind is `algorithm.identity.objective`.
        num_active: components that hold at least half a point.
        seconds: since the fit began; the first sweep includes compilation.
        info: the algorithm's other diagnostics by name, as numbers or lists of numbers: `births`, `merges` and
            `deletions` (components that an accepted move added or removed) of `with_moves`, `accepted` (the share of
            accepted proposals of each move) of `gibbs`.
    """

    number: int
    objective: float
    num_active: int
    seconds: float
    info: Mapping[str, Any]


def has_converged(history: Sequence[Epoch], tolerance: float, patience: int) -> bool:
    """Whether each of the last `patience` sweeps changed the objective by less than `tolerance`, in nats."""
    last = [epoch.objective for epoch in history[-patience - 1 :]]
    steps = [abs(after - before) for before, after in pairwise(last)]
    return len(steps) == patience and max(steps) < tolerance
