"""The contract of inference: what a backend is, and what a local step is.

A backend is an `Algorithm`: three pure functions, the prior, and an `Identity` that says what the backend is. It
chooses how components are read out and how statistics are accumulated; the E-step itself is a `LocalStep` that it is
given, so that dense, sparse and candidate responsibilities work in every backend. Loops live in `fit.py` alone.

The functions know nothing of the prior, which travels in the state: backends make them once per mixture and options
(`programs.fixed`), so that JAX, which finds compiled code by a function's identity, compiles one step for all fits of
one shape. Next file to read: `local_steps/dense.py`.
"""

import abc
import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.checks import check_kind
from jaxdpmm.model import Batch, Mixture, Posterior, Prior, Readout, Stats

State = Any
Memory = Any
Schedule = Callable[[Any], Any]
"""Number of steps so far to the size of the next, such as every schedule of optax."""


class Layout(NamedTuple):
    """How the data are cut, for algorithms that remember something of each batch or point.

    Attributes:
        num_batches: batches per sweep.
        batch_size: points per batch, including padding; 0 if unknown, which algorithms that keep memory per point
            refuse.
        total_weight: sum of the sample weights; None for that of the posterior to start from.
    """

    num_batches: int = 1
    batch_size: int = 0
    total_weight: float | Float[Array, ""] | None = None


ONE_BATCH = Layout()


class Objective(enum.Enum):
    """What a backend reports after each sweep, in nats for all data; the value is its name in messages.

    Attributes:
        BOUND: the exact evidence lower bound, which no sweep lowers.
        ESTIMATE: an estimate of that bound from single batches.
        LIKELIHOOD: the log likelihood under point estimates that move during the sweep.
        DRAW: the log likelihood of a draw from the posterior, which fluctuates and does not converge.
    """

    BOUND = "ELBO"
    ESTIMATE = "estimated ELBO"
    LIKELIHOOD = "log likelihood"
    DRAW = "log likelihood of the draw"


class Info(NamedTuple):
    """Diagnostics of one step, thrown away by the algorithm.

    Attributes:
        objective: see the algorithm's `Objective`; nan while a sweep is not over and there is none.
    """

    objective: Float[Array, ""]


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


class LocalStep(abc.ABC):
    """An E-step: statistics of a batch under the best q(z) that the step allows itself.

    Subclasses are frozen dataclasses without arrays: equal ones share compiled code, and their `repr` tells
    checkpoints which one a fit was made with.
    """

    def init(self, mixture: Mixture, layout: Layout) -> Memory:
        """Memory of all batches, a tree whose leaves lead with the number of batches; () for none, the default."""
        del mixture, layout
        return ()

    @abc.abstractmethod
    def step(self, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        """Statistics of a batch, given the batch's own memory; pure and traceable."""


@dataclass(frozen=True)
class Identity:
    """What a backend is: a hashable record, without arrays.

    `fit` reads from it what the objective is called, whether a tolerance ends the fit and whether a key is needed; a
    checkpoint is continued only by an algorithm of the same identity.

    Attributes:
        name: name of the function that makes the algorithm.
        mixture: what is fitted.
        objective: what the algorithm reports.
        local_step: the E-step, where the algorithm takes one.
        options: names and values of everything else that changes the result.

    Raises:
        TypeError: the mixture is none, such as the prior in its place.
    """

    name: str
    mixture: Mixture
    objective: Objective
    local_step: LocalStep | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        order = f"pass mixture and prior to {self.name} in this order"
        check_kind("mixture", self.mixture, Mixture, order)

    def describe(self) -> dict[str, str]:
        """Names and values as text that is the same in every process."""
        parts = {
            "algorithm": self.name,
            "mixture": repr(self.mixture),
            "local_step": repr(self.local_step),
            **{name: repr(value) for name, value in self.options},
        }
        return {name: _ADDRESS.sub("", text) for name, text in parts.items()}


StartFn = Callable[[Prior, Posterior, Layout], State]
"""Prior, posterior and layout of the data to a state, which holds the prior; any backend's posterior will do."""

StepFn = Callable[[PRNGKeyArray, State, Batch], tuple[State, Any]]
"""State and diagnostics after a batch, an `Info` or a NamedTuple with its field and more; pure, for `jax.jit`."""


class Algorithm(NamedTuple):
    """A backend, ready to fit one mixture under one prior.

    It can be pickled, but for steps on a mesh of devices and schedules that are closures, such as those of optax.

    Attributes:
        start: (prior, posterior, layout) -> state.
        step: (key, state, batch) -> (state, info).
        posterior: state -> posterior.
        prior: hyper-parameters.
        identity: what the backend is.
    """

    start: StartFn
    step: StepFn
    posterior: Callable[[State], Posterior]
    prior: Prior
    identity: Identity

    def init(self, posterior: Posterior, layout: Layout = ONE_BATCH) -> State:
        """The state to start from under the algorithm's prior; without a layout, all data are one batch."""
        return self.start(self.prior, posterior, layout)

    @property
    def mixture(self) -> Mixture:
        """What is fitted."""
        return self.identity.mixture


@lru_cache
def step_sizes(schedule: Schedule) -> tuple[float, ...]:
    """A schedule's sizes at steps 0, 1, 10, ..., 10^6, which tell it from others."""
    return tuple(float(schedule(jnp.asarray(float(step)))) for step in (0, *_POWERS))


def posterior_of(state: State) -> Posterior:
    """The field `posterior` of a state, for algorithms that keep it there."""
    return state.posterior


_POWERS = tuple(10**power for power in range(7))
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function, in its `repr`
