"""Gibbs move that parts a component into two sub-clusters, or joins two components.

The sub-clusters of the points at hand give the probability of every division, so that points are divided all at once
and the way back is as well known as the way there. Next file to read: `../numpyro/kernel.py`.

References:
    Jain and Neal (2004), A split-merge Markov chain Monte Carlo procedure for the Dirichlet process mixture model;
    Chang and Fisher (2013), Parallel sampling of DP mixture models using sub-cluster splits.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.bound import log_evidence
from jaxdpmm.checks import check_at_least_one
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.backends.gibbs_moves import (
    Move,
    Partition,
    choose,
    log_prior_of_counts,
    log_uniform,
)
from jaxdpmm.inference.local_steps.dense import over_tiles, sum_over_tiles
from jaxdpmm.model import Batch, Mixture, Prior, Readout, Stats, log_joint, summarize
from jaxdpmm.programs import fixed


def split_merge(num_proposals: int = 1, num_refinements: int = 5) -> Move:
    """Part a component into two sub-clusters, or join two components.

    Two anchor points are drawn. If they share a component, its points are divided: two sub-clusters, started from the
    anchors and refined by EM on the component's points, give each point's probability of either side, and sides are
    drawn independently; the second side moves to an empty component. Otherwise the anchors' components are joined.
    The sub-clusters depend on the anchors and on the *joined* points only, which are the same before and after, so
    the probability of the way back is known exactly and points are divided all at once, where Jain and Neal go
    through them one by one.

    Args:
        num_proposals: proposals per sweep; each costs 2 (`num_refinements` + 2) passes over the data for one component.
        num_refinements: EM steps; 0 divides by the anchors alone.

    Raises:
        ValueError: `num_proposals` is below 1 or `num_refinements` below 0.
    """
    check_at_least_one("num_proposals", num_proposals, "leave the move out for none")
    if num_refinements < 0:
        raise ValueError(
            f"num_refinements must not be negative, got {num_refinements}; the default is 5."
        )
    name = f"split_merge({num_proposals}, {num_refinements})"
    return Move(name, fixed(_propose, num_proposals, num_refinements), needs_points=True)


def _propose(
    num_proposals: int,
    num_refinements: int,
    key: Any,
    mixture: Mixture,
    prior: Prior,
    alpha: Any,
    partition: Partition,
    batch: Batch,
) -> Any:
    def attempt(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, None]:
        labels, stats, num_accepted = carry
        labels, stats, accepted = _split_or_merge(
            key, mixture, prior, alpha, labels, stats, batch, num_refinements
        )
        return (labels, stats, num_accepted + accepted.astype(alpha.dtype)), None

    start = (partition.labels[0], partition.stats, jnp.zeros_like(alpha))
    keys = jax.random.split(key, num_proposals)
    (labels, stats, num_accepted), _ = jax.lax.scan(attempt, start, keys)
    share = num_accepted / jnp.asarray(num_proposals, alpha.dtype)
    return Partition(labels[None], stats), share


class _Anchors(NamedTuple):
    """Two points and their components."""

    first: Int[Array, ""]
    second: Int[Array, ""]
    own: Int[Array, ""]
    other: Int[Array, ""]


def _split_or_merge(
    key: PRNGKeyArray,
    mixture: Mixture,
    prior: Prior,
    alpha: Array,
    labels: Array,
    stats: Stats,
    batch: Batch,
    num_refinements: int,
) -> tuple[Array, Stats, Array]:
    """One proposal; labels and statistics after it, and whether it was accepted."""
    key_anchors, key_empty, key_sides, key_accept = jax.random.split(key, 4)
    anchors = _draw_anchors(key_anchors, labels, batch.weight)
    is_split = anchors.own == anchors.other
    empty = stats.counts == 0
    target = jax.random.categorical(key_empty, jnp.log(empty.astype(alpha.dtype)))
    other = jnp.where(is_split, target.astype(labels.dtype), anchors.other)
    joined = ((labels == anchors.own) | (labels == anchors.other)) & (batch.weight > 0)

    log_sides = _log_sides(mixture, prior, batch, joined, anchors, num_refinements)
    drawn = jax.random.uniform(key_sides, labels.shape, alpha.dtype) >= jnp.exp(log_sides[:, 0])
    on_other = jnp.where(is_split, drawn, labels == anchors.other)
    on_other = on_other.at[anchors.first].set(False).at[anchors.second].set(True)
    free = joined.at[anchors.first].set(False).at[anchors.second].set(False)
    log_side = jnp.where(on_other, log_sides[:, 1], log_sides[:, 0])
    log_proposal = jnp.sum(jnp.where(free, log_side, 0))

    sides = _sides(mixture, prior, batch, joined, on_other)
    two = jnp.stack([anchors.own, other])
    log_ratio, apart, together = _compare(mixture, prior, alpha, stats, sides, two)
    log_ratio = jnp.where(is_split, log_ratio - log_proposal, log_proposal - log_ratio)
    possible = (anchors.first != anchors.second) & (~is_split | jnp.any(empty))
    accept = possible & (log_uniform(key_accept, alpha.dtype) < log_ratio)
    split_labels = jnp.where(joined & on_other, other, labels)
    merged_labels = jnp.where(joined, anchors.own, labels)
    proposed = choose(is_split, (split_labels, apart), (merged_labels, together))
    return *choose(accept, proposed, (labels, stats)), accept


def _draw_anchors(
    key: PRNGKeyArray, labels: Int[Array, " B"], weight: Float[Array, " B"]
) -> _Anchors:
    """Two points, each uniform over those that are no padding; a pair of equals is rejected later."""
    places = jnp.cumsum(weight > 0)
    drawn = jax.random.randint(key, (2,), 0, places[-1])
    first, second = jnp.searchsorted(places, drawn, side="right")
    return _Anchors(first, second, labels[first], labels[second])


def _log_sides(
    mixture: Mixture,
    prior: Prior,
    batch: Batch,
    joined: Array,
    anchors: _Anchors,
    num_refinements: int,
) -> Float[Array, "B 2"]:
    """Log probability of either sub-cluster for every point: EM on the joined points from the anchors."""
    pair = _pair(mixture)
    weight = batch.weight * joined.astype(batch.weight.dtype)
    seeds = batch.x[jnp.stack([anchors.first, anchors.second])]
    ones = jnp.ones_like(batch.weight[:2])
    start = label_statistics(pair, jnp.arange(2), seeds, ones, prior.offset)

    def readout(stats: Stats) -> Readout:
        components = trees.add(stats.components, prior.component)
        log_weights = jnp.log1p(stats.counts) - jnp.log(2 + jnp.sum(stats.counts))
        params = jax.vmap(mixture.family.expected_params)(components)
        return Readout(log_weights, params, prior.offset)

    def log_sides(stats: Stats, x: Array) -> Float[Array, "T 2"]:
        return jax.nn.log_softmax(log_joint(pair, readout(stats), x), axis=1)

    def refine(_: Any, stats: Stats) -> Stats:
        def of_tile(x: Array, weight: Array) -> Stats:
            return summarize(pair, jnp.exp(log_sides(stats, x)), x, weight, prior.offset)

        return sum_over_tiles(of_tile, batch.x, weight)

    stats = jax.lax.fori_loop(0, num_refinements, refine, start)
    return over_tiles(partial(log_sides, stats), batch.x)


def _sides(mixture: Mixture, prior: Prior, batch: Batch, joined: Array, on_other: Array) -> Stats:
    """Statistics of the joined points on either side, leaves lead with 2."""
    weight = batch.weight * joined.astype(batch.weight.dtype)
    return label_statistics(
        _pair(mixture), on_other.astype(jnp.int32), batch.x, weight, prior.offset
    )


def _compare(
    mixture: Mixture,
    prior: Prior,
    alpha: Array,
    stats: Stats,
    sides: Stats,
    two: Int[Array, "2"],
) -> tuple[Float[Array, ""], Stats, Stats]:
    """Log p(apart) / p(joined) times the number of empty components to choose from, and both statistics.

    `two` are the components of the sides.
    """

    def place(part: Stats) -> Stats:
        counts = stats.counts.at[two].set(part.counts)
        components = jax.tree.map(
            lambda leaf, new: leaf.at[two].set(new), stats.components, part.components
        )
        return Stats(counts, components, stats.entropy, stats.log_base)

    def join(leaf: Array) -> Array:
        """Everything on the first side."""
        return jnp.zeros_like(leaf).at[0].set(jnp.sum(leaf, axis=0))

    components = jax.tree.map(join, sides.components)
    joined = Stats(join(sides.counts), components, sides.entropy, sides.log_base)
    apart, together = place(sides), place(joined)
    log_prior = partial(log_prior_of_counts, mixture, alpha)
    evidence = partial(log_evidence, mixture, prior)
    log_ratio = jnp.sum(evidence(sides.components) - evidence(joined.components))
    log_ratio += log_prior(apart.counts) - log_prior(together.counts)
    num_empty = jnp.sum(together.counts == 0).astype(alpha.dtype)
    return log_ratio + jnp.log(num_empty), apart, together


def _pair(mixture: Mixture) -> Mixture:
    return Mixture(mixture.family, 2, mixture.sticks)
