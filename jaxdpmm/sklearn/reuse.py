"""CAVI that compiles once for all fits of one shape, whatever their prior.

`cavi(mixture, prior)` holds its prior as a constant of the compiled step. Searches and cross-validation fit hundreds
of small mixtures, each with a prior from its own points, and would compile for each; so here the prior travels with the
state. Not for large fits, which compile once anyway. Next file to read: `settings.py`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from jaxtyping import PRNGKeyArray

from jaxdpmm.inference import cavi
from jaxdpmm.inference.backends.cavi import CaviState
from jaxdpmm.inference.base import ONE_BATCH, Algorithm, Info, Layout
from jaxdpmm.model import Batch, Mixture, Posterior, Prior


class PriorAndState(NamedTuple):
    """The prior, and the state of the algorithm under it."""

    prior: Prior
    state: CaviState


def reusable_cavi(mixture: Mixture, prior: Prior) -> Algorithm:
    """`cavi(mixture, prior)`, of which later fits of the same shapes use the compiled step."""

    def init(posterior: Posterior, layout: Layout = ONE_BATCH) -> PriorAndState:
        return PriorAndState(prior, cavi(mixture, prior).init(posterior, layout))

    return Algorithm(init, _step_of(mixture), lambda now: now.state.posterior, mixture)


@lru_cache
def _step_of(mixture: Mixture) -> Callable[[PRNGKeyArray, Any, Batch], tuple[Any, Info]]:
    """One function for a mixture: JAX finds compiled code by the function's identity."""

    def step(key: PRNGKeyArray, now: PriorAndState, batch: Batch) -> tuple[PriorAndState, Info]:
        state, info = cavi(mixture, now.prior).step(key, now.state, batch)
        return PriorAndState(now.prior, state), info

    return step
