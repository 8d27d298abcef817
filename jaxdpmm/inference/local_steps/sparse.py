"""Local steps that keep few components per point: valid restrictions of q(z), so the bound stays a bound.

In hundreds of dimensions responsibilities are almost one-hot. `sparse` scores all K components and keeps the best
L, so that statistics cost N L instead of N K; `candidates` scores only C of them, the last sweep's support and the
best of a cheap proposal. Keeping the support among the candidates means that the restricted bound never falls:
the best L of a set that holds the old L are at least as good. Next file to read: `../../grouping.py`.

References:
    Hughes and Sudderth (2016), Fast learning of clusters and topics via sparse posteriors.
    Forster and Luecke (2018), Can clustering scale sublinearly with its clusters?
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.chosen import chosen_entries
from jaxdpmm.grouping import chosen_statistics
from jaxdpmm.inference.base import Layout, LocalResult, LocalStep, Memory
from jaxdpmm.inference.local_steps.dense import over_tiles
from jaxdpmm.model import Batch, Mixture, Readout, Stats, centre, log_joint


class Support(NamedTuple):
    """The components kept for each point, and their log joint densities."""

    component: Int[Array, "B L"]
    log_joint: Float[Array, "B L"]


def sparse(num_kept: int = 4) -> LocalStep:
    """The best `num_kept` of all K components per point, renormalised.

    Args:
        num_kept: L, at least 1; with K or more the step equals `dense`.

    Raises:
        ValueError: `num_kept` is below 1.
    """
    check_at_least_one(
        "num_kept", num_kept, "the default will do", wanted="a whole number of at least 1"
    )
    return Sparse(num_kept)


@dataclass(frozen=True)
class Sparse(LocalStep):
    """The step that `sparse` makes."""

    num_kept: int

    def step(self, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        """Statistics under the best components of each point, all K of which are scored."""
        num_kept = min(self.num_kept, mixture.num_components)

        def of_tile(x: Num[Array, "T ..."]) -> Support:
            return _best(log_joint(mixture, readout, x), num_kept)

        support = over_tiles(of_tile, batch.x)
        return LocalResult(*_summarize(mixture, readout, batch, support), memory)


def candidates(num_candidates: int = 8, num_kept: int = 2) -> LocalStep:
    """The best `num_kept` of `num_candidates` components per point.

    The candidates are the support of the last visit, filled up with the family's cheap proposal
    (`Family.proposal_matrix`). Memory: `num_kept` whole numbers per point.

    Args:
        num_candidates: C, scored exactly; the more, the closer to `sparse`.
        num_kept: L <= C, remembered and updated.

    Raises:
        ValueError: not 1 <= num_kept <= num_candidates.
    """
    check_at_least_one(
        "num_kept", num_kept, "the default will do", wanted="a whole number of at least 1"
    )
    if num_candidates < num_kept:
        raise ValueError(
            f"num_candidates must be at least num_kept = {num_kept}, got {num_candidates}; "
            f"use {4 * num_kept} for a start."
        )
    return Candidates(num_candidates, num_kept)


@dataclass(frozen=True)
class Candidates(LocalStep):
    """The step that `candidates` makes."""

    num_candidates: int
    num_kept: int

    def init(self, mixture: Mixture, layout: Layout) -> Memory:
        """No component yet for any point: K, which is dropped where it is used as an index."""
        kept = min(self.num_kept, mixture.num_components)
        shape = (layout.num_batches, layout.batch_size, kept)
        return jnp.full(shape, mixture.num_components, jnp.int32)

    def step(self, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        """Statistics under the best of the candidates, which the memory then holds."""
        chosen = _propose(mixture, readout, batch.x, memory, self.num_candidates)
        joint = candidate_log_joint(mixture, readout, batch.x, chosen)
        best = _best(joint, memory.shape[1])
        component = jnp.take_along_axis(chosen, best.component, axis=1)
        support = Support(component, best.log_joint)
        found = _summarize(mixture, readout, batch, support)
        return LocalResult(*found, component.astype(jnp.int32))


def _propose(
    mixture: Mixture, readout: Readout, x: Any, support: Any, num_candidates: Any
) -> Int[Array, "B C"]:
    """The support and the components best by proposal, all different."""
    num_candidates = min(num_candidates, mixture.num_components)

    def of_tile(x: Num[Array, "T ..."], support: Int[Array, "T L"]) -> Int[Array, "T C"]:
        proposal = mixture.family.proposal_matrix(readout.params, centre(x, readout.offset))
        proposal = proposal + readout.log_weights[None]
        rows = jnp.arange(x.shape[0])[:, None]
        proposal = proposal.at[rows, support].set(jnp.inf, mode="drop")
        return jax.lax.top_k(proposal, num_candidates)[1]

    return over_tiles(of_tile, x, support)


def candidate_log_joint(
    mixture: Mixture, readout: Readout, x: Num[Array, "B ..."], chosen: Int[Array, "B C"]
) -> Float[Array, "B C"]:
    """Log w_k + log p(x_n | theta_k) of raw points and the components chosen for each, (B, C)."""
    centred = centre(x, readout.offset)
    matrix = mixture.family.log_likelihood_matrix
    likelihood = chosen_entries(matrix, readout.params, centred, chosen)
    return readout.log_weights[chosen] + likelihood


def _summarize(
    mixture: Mixture, readout: Readout, batch: Batch, support: Support
) -> tuple[Stats, Float[Array, ""]]:
    """Statistics under responsibilities that are zero outside the support, and the evidence."""
    evidence = jax.nn.logsumexp(support.log_joint, axis=1)
    responsibilities = jnp.exp(support.log_joint - evidence[:, None])
    stats = chosen_statistics(
        mixture,
        support.component,
        responsibilities,
        batch.x,
        batch.weight,
        readout.offset,
        readout.params,
    )
    return stats, jnp.sum(batch.weight * evidence)


def _best(joint: Float[Array, "T K"], num_kept: int) -> Support:
    values, component = jax.lax.top_k(joint, num_kept)
    return Support(component, values)
