"""Moves that change many labels at once, where single sweeps would need ages.

Each is a Metropolis-Hastings step on the labels alone, weights and parameters integrated out, with the target

    p(labels | x, alpha) ~ prod_k<K B(a_k, b_k) exp A(prior + statistics of k),

a_k and b_k the sticks' `fractions`. Every factor follows from `Stats`, so a move works for every family
and every stick-breaking prior. After a move, `gibbs` draws weights and parameters anew, which makes the whole sweep
exact.

`label_switching`, here, repairs what the order of the sticks imposes: large components want to be early. Next file to
read: `gibbs_split_merge.py`, which joins or parts whole components.

References:
    Papaspiliopoulos and Roberts (2008), Retrospective MCMC for Dirichlet process hierarchical models, section 3.4.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.checks import check_at_least_one
from jaxdpmm.model import Batch, Mixture, Prior, Stats
from jaxdpmm.programs import fixed


class Partition(NamedTuple):
    """Which point belongs where, and what follows from it.

    Attributes:
        labels: component of each point, (num_batches, batch_size); () where they are not kept.
        stats: one-hot statistics of all data under these labels.
    """

    labels: Any
    stats: Stats


class Move(NamedTuple):
    """A Metropolis-Hastings step on the labels, with weights and parameters integrated out.

    Attributes:
        name: of the function that made it, and its options; by it checkpoints know the move.
        propose: (key, mixture, prior, alpha, partition, batch) -> (partition, share of accepted proposals).
        needs_points: whether it reads `batch` and changes single labels; then all data must be one batch.
    """

    name: str
    propose: Callable[..., tuple[Partition, Float[Array, ""]]]
    needs_points: bool

    def __repr__(self) -> str:
        """The name, which is the same in every process."""
        return self.name


def label_switching(num_proposals: int | None = None) -> Move:
    """Swap the labels of two components: random pairs and neighbours in turn.

    Likelihoods do not change, so a swap is accepted with the ratio of p(labels | alpha). Papaspiliopoulos and Roberts
    swap given the weights; with these integrated out, one ratio serves both of their moves.

    Args:
        num_proposals: swaps tried per sweep, by default 2 K. Each costs O(K).

    Raises:
        ValueError: `num_proposals` is below 1.
    """
    if num_proposals is not None:
        check_at_least_one("num_proposals", num_proposals, "leave the move out for none")
    propose = fixed(_switch_labels, num_proposals)
    return Move(f"label_switching({num_proposals})", propose, needs_points=False)


def _switch_labels(
    num_proposals: int | None,
    key: Any,
    mixture: Mixture,
    prior: Prior,
    alpha: Any,
    partition: Partition,
    batch: Batch,
) -> Any:
    del batch
    num = num_proposals or 2 * mixture.num_components
    log_prior = partial(log_prior_of_counts, mixture, alpha)
    order, accepted = _swap_labels(key, log_prior, partition.stats.counts, num)
    old = partition.stats
    components = trees.take(old.components, order)
    stats = Stats(old.counts[order], components, old.entropy, old.log_base)
    place = jnp.argsort(order).astype(jnp.int32)  # where each old label has gone
    labels = jax.tree.map(lambda leaf: place[leaf], partition.labels)
    return Partition(labels, stats), accepted / jnp.asarray(num, alpha.dtype)


def log_prior_of_counts(
    mixture: Mixture, alpha: Float[Array, ""], counts: Float[Array, " K"]
) -> Float[Array, ""]:
    """Log p(labels | alpha) up to a constant, sticks integrated out: sum_k<K log B(a_k, b_k)."""
    return jnp.sum(betaln(*mixture.sticks.fractions(counts, alpha)))


def _swap_labels(
    key: PRNGKeyArray,
    log_prior: Callable[[Array], Array],
    counts: Float[Array, " K"],
    num_proposals: int,
) -> tuple[Int[Array, " K"], Float[Array, ""]]:
    """The order that accepted swaps lead to, new place -> old label, and their number."""
    num_components = counts.shape[0]

    def attempt(carry: tuple, step: tuple) -> tuple[tuple, None]:
        number, key = step
        order, now, num_accepted = carry
        key_first, key_offset, key_accept = jax.random.split(key, 3)
        first = jax.random.randint(key_first, (), 0, num_components)
        farthest = jnp.where(number % 2 == 0, 2, max(num_components, 2))  # neighbours at even turns
        second = (first + jax.random.randint(key_offset, (), 1, farthest)) % num_components
        # A step of +1 from `first` is as likely as one of -1 from `second` only as an unordered
        # pair, and that pair is all a swap depends on: the proposal is symmetric.
        swapped = order.at[first].set(order[second]).at[second].set(order[first])
        then = log_prior(counts[swapped])
        accept = log_uniform(key_accept, now.dtype) < then - now
        order, now = choose(accept, (swapped, then), (order, now))
        return (order, now, num_accepted + accept.astype(now.dtype)), None

    steps = jnp.arange(num_proposals), jax.random.split(key, num_proposals)
    now = log_prior(counts)
    start = (jnp.arange(num_components), now, jnp.zeros_like(now))
    (order, _, num_accepted), _ = jax.lax.scan(attempt, start, steps)
    return order, num_accepted


def choose(condition: Array, yes: Any, no: Any) -> Any:
    """Each leaf of the one tree where the condition holds, else of the other."""
    return jax.tree.map(partial(jnp.where, condition), yes, no)


def log_uniform(key: PRNGKeyArray, dtype: Any) -> Float[Array, ""]:
    """Logarithm of a uniform number, to compare a Metropolis-Hastings ratio with."""
    return -jax.random.exponential(key, (), dtype)
