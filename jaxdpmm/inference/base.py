"""The contract of inference: what a backend is, and what a local step is.

A backend is an `Algorithm`, three pure functions. It chooses how components are read out and how statistics are
accumulated; the E-step itself is a `LocalStep` that it is given, so that dense, sparse and candidate
responsibilities work in every backend. Loops live in `fit.py` alone. Next file to read: `local.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.model import Batch, Mixture, Posterior, Readout, Stats

State = Any


class Info(NamedTuple):
    """Diagnostics of one step, thrown away by the algorithm.

    Attributes:
        objective: what the backend raises, for variational ones the ELBO of the whole data in nats; nan while a
            sweep is not over and there is none.
    """

    objective: Float[Array, ""]


class Algorithm(NamedTuple):
    """A backend.

    Attributes:
        init: posterior -> state. A posterior of any other backend will do (warm start).
        step: (key, state, batch) -> (state, info); pure, compiled once by the caller.
        posterior: state -> posterior.
        mixture: what is fitted, so that `fit` can check the data against it.
    """

    init: Callable[[Posterior], State]
    step: Callable[[PRNGKeyArray, State, Batch], tuple[State, Info]]
    posterior: Callable[[State], Posterior]
    mixture: Mixture


class LocalStep(Protocol):
    """An E-step: statistics of a batch under the best q(z) that the step allows itself."""

    def __call__(self, mixture: Mixture, readout: Readout, batch: Batch) -> Stats:
        """Statistics of `batch` under responsibilities found from `readout`."""
        ...
