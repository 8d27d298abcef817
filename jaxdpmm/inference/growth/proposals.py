"""Births, merges and deletions proposed: another posterior that a sweep may or may not find better.

A proposal is made from what is at hand, the statistics of the posterior and the points of one batch, and costs less
than a sweep. It only has to be promising: what decides is the exact bound after a sweep from it (`moves.py`). Gains are
estimated in nats from A(prior + T) - A(prior), the evidence of a component, and from n log n, the log probability of
its share of the points; every family has both. Proposals that promise a gain go together into one posterior, and at
least the best one goes.

References:
    Hughes and Sudderth (2013), Memoized online variational inference for Dirichlet process mixture models, section 4;
    Bryant and Sudderth (2012), Truly nonparametric online variational inference for hierarchical Dirichlet processes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.bound import log_evidence
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.local_steps.sparse import candidate_log_joint
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    active_components,
    expected_readout,
    global_update,
    log_joint,
    stats_of,
)
from jaxdpmm.precision import full_precision

POINTS_PER_COMPONENT = 256  # of a batch, to find sub-clusters in
LEAST_POINTS = 4096
NUM_REFINEMENTS = 10


class Proposal(NamedTuple):
    """A posterior to try, and how many components differ."""

    posterior: Posterior
    size: Int[Array, ""]


Propose = Callable[[PRNGKeyArray, Mixture, Prior, Posterior, Batch], Proposal]


def merge(
    key: PRNGKeyArray, mixture: Mixture, prior: Prior, posterior: Posterior, batch: Batch
) -> Proposal:
    """Pairs of components joined, each with the one that explains its points best: statistics are added."""
    del key, batch
    stats = stats_of(prior, posterior)
    partner, gain = gains_of_joining(mixture, prior, posterior, stats)
    chosen = _leaving(posterior, partner, gain)
    into = jnp.where(chosen, partner, jnp.arange(mixture.num_components))

    def add(leaf: Array) -> Array:
        return jnp.zeros_like(leaf).at[into].add(leaf)

    counts, components = add(stats.counts), jax.tree.map(add, stats.components)
    return Proposal(_sorted(mixture, prior, posterior, counts, components), jnp.sum(chosen))


def gains_of_joining(
    mixture: Mixture, prior: Prior, posterior: Posterior, stats: Stats
) -> tuple[Int[Array, " K"], Float[Array, " K"]]:
    """The component that each is best joined with, and what the bound gains by it, in nats; -inf of empty ones.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        posterior: of the statistics.
        stats: of all components.
    """
    partner, _ = _second_best(mixture, posterior, stats)
    joined = jax.tree.map(lambda leaf: leaf + leaf[partner], stats.components)
    apart = log_evidence(mixture, prior, stats.components)
    gain = log_evidence(mixture, prior, joined) - apart - apart[partner]
    gain = gain + _gain_of_joining(stats.counts, stats.counts[partner])
    return partner, jnp.where(active_components(posterior), gain, -jnp.inf)


def delete(
    key: PRNGKeyArray, mixture: Mixture, prior: Prior, posterior: Posterior, batch: Batch
) -> Proposal:
    """Components emptied, whose points then go wherever they fit best."""
    del key, batch
    stats = stats_of(prior, posterior)
    partner, under_partner = _second_best(mixture, posterior, stats)
    gain = under_partner - log_evidence(mixture, prior, stats.components)
    gain = gain + _gain_of_joining(stats.counts, stats.counts[partner])
    chosen = _leaving(posterior, partner, gain)
    counts = jnp.where(chosen, 0, stats.counts)
    components = jax.tree.map(lambda leaf: _where_rows(chosen, 0, leaf), stats.components)
    return Proposal(_sorted(mixture, prior, posterior, counts, components), jnp.sum(chosen))


def birth(
    key: PRNGKeyArray, mixture: Mixture, prior: Prior, posterior: Posterior, batch: Batch
) -> Proposal:
    """Components divided into the two sub-clusters that EM finds in their points of this batch.

    As many as there are empty components. The gain is that of the points looked at, so that it holds without
    extrapolation.
    """
    stats = stats_of(prior, posterior)
    sides = _sub_clusters(key, mixture, prior, posterior, batch)
    first, second = _side(sides, 0), _side(sides, 1)
    gain = (
        log_evidence(mixture, prior, first.components)
        + log_evidence(mixture, prior, second.components)
        - log_evidence(mixture, prior, trees.add(first.components, second.components))
        - _gain_of_joining(first.counts, second.counts)
    )
    possible = active_components(posterior) & (jnp.minimum(first.counts, second.counts) > 1)
    target, empty, chosen = _pair_with_empty(jnp.where(possible, gain, -jnp.inf), stats.counts)
    share = first.counts / jnp.maximum(first.counts + second.counts, 1)

    # Out of range: dropped
    target = jnp.where(chosen, target, mixture.num_components)
    empty = jnp.where(chosen, empty, mixture.num_components)

    def place(old: Array, left: Array, right: Array) -> Array:
        placed = old.at[target].set(left.at[target].get(mode="clip"), mode="drop")
        return placed.at[empty].set(right.at[target].get(mode="clip"), mode="drop")

    counts = place(stats.counts, share * stats.counts, (1 - share) * stats.counts)
    components = jax.tree.map(place, stats.components, first.components, second.components)
    return Proposal(_sorted(mixture, prior, posterior, counts, components), jnp.sum(chosen))


def _gain_of_joining(left: Array, right: Array) -> Array:
    """What joint shares of the points save: n log n of both together minus that of each."""
    both = left + right
    return xlogy(both, both) - xlogy(left, left) - xlogy(right, right)


@full_precision()
def _second_best(
    mixture: Mixture, posterior: Posterior, stats: Stats
) -> tuple[Int[Array, " K"], Float[Array, " K"]]:
    """The other component that explains each component's points best, and their log likelihood under it."""
    expected = jax.vmap(mixture.family.expected_natural)(posterior.components)
    pairs = zip(*map(jax.tree.leaves, (stats.components, expected)), strict=True)
    under_other = sum(
        (_rows(points) @ _rows(natural).T for points, natural in pairs),
        jnp.zeros((), stats.counts.dtype),
    )
    allowed = active_components(posterior)[None] & ~jnp.eye(mixture.num_components, dtype=bool)
    under_other = jnp.where(allowed, under_other, -jnp.inf)
    return jnp.argmax(under_other, axis=1), jnp.max(under_other, axis=1)


def _leaving(
    posterior: Posterior, partner: Int[Array, " K"], gain: Float[Array, " K"]
) -> Bool[Array, " K"]:
    """Which components go, best first: none whose partner goes, none that is a partner itself."""
    gain = jnp.where(active_components(posterior), gain, -jnp.inf)

    def consider(carry: Any, rank_and_component: Any) -> Any:
        goes, stays = carry
        rank, k = rank_and_component
        promising = jnp.isfinite(gain[k]) & ((gain[k] > 0) | (rank == 0))
        take = promising & ~stays[k] & ~goes[partner[k]]
        goes = goes.at[k].set(goes[k] | take)
        return (goes, stays.at[partner[k]].set(stays[partner[k]] | take)), None

    nobody = jnp.zeros(gain.shape, bool)
    order = jnp.argsort(-gain)
    (goes, _), _ = jax.lax.scan(consider, (nobody, nobody), (jnp.arange(len(gain)), order))
    return goes


def _pair_with_empty(
    gain: Float[Array, " K"], counts: Float[Array, " K"]
) -> tuple[Int[Array, " K"], Int[Array, " K"], Bool[Array, " K"]]:
    """Components to divide, best first, an empty one for each, and which of these pairs are to be used."""
    target, empty = jnp.argsort(-gain), jnp.argsort(counts)
    rank = jnp.arange(len(gain))
    promising = jnp.isfinite(gain[target]) & ((gain[target] > 0) | (rank == 0))
    return target, empty, promising & (counts[empty] < 0.5)


def _sub_clusters(
    key: Any, mixture: Mixture, prior: Prior, posterior: Posterior, batch: Batch
) -> Stats:
    """Two sub-clusters of every component, 2 k and 2 k + 1: EM on its points, from two of them."""
    key_points, key_seeds = jax.random.split(key)
    x, weight = _some_points(key_points, mixture, batch)
    own = jnp.argmax(log_joint(mixture, expected_readout(mixture, posterior), x), axis=1)
    halves = Mixture(mixture.family, 2 * mixture.num_components, mixture.sticks)
    sides = 2 * own[:, None] + jnp.arange(2)[None]

    def statistics(labels: Int[Array, " S"], weight: Array) -> Stats:
        return label_statistics(halves, labels, x, weight, prior.offset)

    def divide(stats: Stats) -> Int[Array, " S"]:
        params = jax.vmap(mixture.family.expected_params)(
            trees.add(stats.components, prior.component)
        )
        readout = Readout(jnp.log1p(stats.counts), params, prior.offset)
        return jnp.argmax(candidate_log_joint(halves, readout, x, sides), axis=1)

    def refine(_: Any, stats: Stats) -> Stats:
        return statistics(2 * own + divide(stats), weight)

    start = statistics(*_seeds(key_seeds, own, weight, mixture.num_components))
    return jax.lax.fori_loop(0, NUM_REFINEMENTS, refine, start)


def _some_points(key: Any, mixture: Mixture, batch: Batch) -> tuple[Array, Float[Array, " S"]]:
    """A sample of the batch, as large as finding sub-clusters needs; padding last."""
    size = max(POINTS_PER_COMPONENT * mixture.num_components, LEAST_POINTS)
    if batch.x.shape[0] <= size:
        return batch.x, batch.weight
    luck = jax.random.uniform(key, batch.weight.shape)
    chosen = jnp.argsort(jnp.where(batch.weight > 0, luck, 2))[:size]
    return batch.x[chosen], batch.weight[chosen]


def _seeds(key: Any, own: Int[Array, " S"], weight: Float[Array, " S"], num_components: int) -> Any:
    """Labels and weights that put one random point of each component on either side, all others nowhere."""
    luck = jax.random.uniform(key, own.shape)
    highest = (
        jnp.full(num_components, -1.0, luck.dtype).at[own].max(jnp.where(weight > 0, luck, -1))
    )
    lowest = jnp.full(num_components, 2.0, luck.dtype).at[own].min(jnp.where(weight > 0, luck, 2))
    is_first, is_second = luck == highest[own], luck == lowest[own]
    labels = jnp.where(is_first, 2 * own, 2 * own + 1)
    return labels, jnp.where(is_first | is_second, weight, 0)


def _side(sides: Stats, number: int) -> Stats:
    return sides._replace(
        counts=sides.counts[number::2],
        components=jax.tree.map(lambda leaf: leaf[number::2], sides.components),
    )


def _sorted(
    mixture: Mixture, prior: Prior, posterior: Posterior, counts: Any, components: Any
) -> Posterior:
    """Posterior = prior + statistics, largest component first: the order that sticks expect."""
    order = jnp.argsort(-counts)
    zero = jnp.zeros((), counts.dtype)
    stats = Stats(counts[order], trees.take(components, order), zero, zero)
    return global_update(mixture, prior, stats, posterior)


def _where_rows(rows: Bool[Array, " K"], value: float, leaf: Array) -> Array:
    return jnp.where(
        rows.reshape(-1, *(1,) * (leaf.ndim - 1)), jnp.asarray(value, leaf.dtype), leaf
    )


def _rows(leaf: Array) -> Array:
    return leaf.reshape(leaf.shape[0], -1)
