"""The contract of inference: what a backend is, and what a local step is.

A backend is an `Algorithm`, three pure functions. It chooses how components are read out and how statistics are
accumulated; the E-step itself is a `LocalStep` that it is given, so that dense, sparse and candidate
responsibilities work in every backend. Loops live in `fit.py` alone. Next file to read: `local_steps/dense.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.model import Batch, Mixture, Posterior, Readout, Stats

State = Any
Memory = Any
Schedule = Callable[[Any], Any]
"""Number of steps so far to the size of the next, such as every schedule of optax."""


class Layout(NamedTuple):
    """How the data are cut, for algorithms that remember something of each batch or point.

    Attributes:
        num_batches: batches a sweep.
        batch_size: points a batch, padding included; 0 where nobody asks.
        total_weight: sum of the sample weights; None for that of the posterior to start from.
    """

    num_batches: int = 1
    batch_size: int = 0
    total_weight: float | Float[Array, ""] | None = None


ONE_BATCH = Layout()


class Info(NamedTuple):
    """Diagnostics of one step, thrown away by the algorithm.

    Attributes:
        objective: what the backend raises, for variational ones the ELBO of the whole data in nats; nan while a
            sweep is not over and there is none.
    """

    objective: Float[Array, ""]


class InitFn(Protocol):
    """Posterior and layout of the data to a state; without a layout, all data are one batch."""

    def __call__(self, posterior: Posterior, layout: Layout = ..., /) -> State:
        """A state to start from. A posterior of any other backend will do (warm start)."""
        ...


class Algorithm(NamedTuple):
    """A backend.

    Attributes:
        init: (posterior, layout) -> state.
        step: (key, state, batch) -> (state, info); pure, compiled once by the caller. `info` is an `Info`, or has its
            field and more.
        posterior: state -> posterior.
        mixture: what is fitted, so that `fit` can check the data against it.
    """

    init: InitFn
    step: Callable[[PRNGKeyArray, State, Batch], tuple[State, Any]]
    posterior: Callable[[State], Posterior]
    mixture: Mixture


class LocalResult(NamedTuple):
    """What an E-step finds in a batch.

    Attributes:
        stats: statistics under the responsibilities found.
        log_evidence: sum_n w_n log sum_k exp(log joint) over the components allowed; for point and sampled
            read-outs the log likelihood of the batch.
        memory: the batch's new memory.
    """

    stats: Stats
    log_evidence: Float[Array, ""]
    memory: Memory


class LocalStep(NamedTuple):
    """An E-step: statistics of a batch under the best q(z) that the step allows itself.

    Attributes:
        init: (mixture, layout) -> memory, a tree whose leaves lead with the number of batches; () for none.
        step: (mixture, readout, batch, memory of the batch) -> result.
    """

    init: Callable[[Mixture, Layout], Memory]
    step: Callable[[Mixture, Readout, Batch, Memory], LocalResult]
