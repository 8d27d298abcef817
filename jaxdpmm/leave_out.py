"""Scores of the points of each group, such as an image, under the posterior without that group.

posterior = prior + sum of statistics, so a group is taken out by subtracting its own: no fit but the one that was made,
for the price of three sweeps. First all groups are summed under one read-out (`sum_groups`), then each is subtracted
and its points are scored under what is left (`leave_one_out`). The sum keeps what rounding takes from it, and what is
subtracted is what was added to the last bit, so that in float32 the rest is as exact as if it had been summed alone.

What is neglected: every point keeps its responsibilities, and the mixture its truncation, prior and start, all of which
saw the group too. Left-out scores are therefore a little lower than those of true refits; by how much is tested in
`tests/unit/test_leave_out.py` and measured on images by `benchmarks/leave_out.py`.

A component that only the left-out group has fed falls back to the prior, with a count of zero and no weight, as
`compact` would have dropped it from a refit: distances and `nearest_predictive` pass over it, and it adds nothing to a
density.
Next file to read: `detection/leaving_out.py`, which does this for training images.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm import trees
from jaxdpmm.inference.base import Layout, LocalStep
from jaxdpmm.inference.local_steps.dense import dense, over_tiles
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    components_of,
    empty_stats,
    expected_readout,
)
from jaxdpmm.points import check_finite, check_points, compute_type, in_compute_type
from jaxdpmm.programs import jitted, padded_size
from jaxdpmm.scoring import Scorer
from jaxdpmm.sticks import Sticks, without_weight

Groups = Iterable[Any] | Callable[[], Iterable[Any]]
"""Points of each group, arrays of shape (n, ...) with any n, to be gone through again and again; or a function that
makes an iterator of them."""


class GroupSums(NamedTuple):
    """Statistics of all groups under one read-out.

    Attributes:
        readout: that responsibilities are taken under.
        stats: their sum.
        rounding: what rounding has added to the sum, so that `stats - rounding` has twice the digits.
        sticks: whose q(alpha) is kept.
    """

    readout: Readout
    stats: Stats
    rounding: Stats
    sticks: Sticks


def sum_groups(
    mixture: Mixture, posterior: Posterior, groups: Groups, local_step: LocalStep = dense
) -> GroupSums:
    """Statistics of all groups under the responsibilities that a posterior gives them: one sweep.

    Args:
        mixture: static description.
        posterior: of any backend.
        groups: points of each group.
        local_step: the E-step.

    Raises:
        ValueError: fewer than two groups, groups that can be gone through once only, points of the wrong shape or not
            finite.
    """
    _check_again(groups)
    readout = expected_readout(mixture, posterior)
    stats = rounding = empty_stats(posterior)
    add, number = jitted(_add_group, mixture, local_step), 0
    for points in _iterate(groups):
        check_finite(points := check_points(points, mixture.family))
        stats, rounding = add(readout, stats, rounding, *_padded(points))
        number += 1
    if number < 2:
        raise ValueError(
            f"groups must be at least two, so that something is left without each, got {number}; give more."
        )
    return GroupSums(readout, stats, rounding, posterior.sticks)


@partial(jax.jit, static_argnums=0)
def posterior_without(mixture: Mixture, prior: Prior, sums: GroupSums, stats: Stats) -> Posterior:
    """The posterior of all groups but one: prior + sum - stats.

    Components of which less than half a point is left fall back to the prior, and those that held more than that before
    lose their weight to the others, see `sticks.without_weight`.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        sums: of all groups.
        stats: of the group to take out, as they went into the sum (`group_stats`); zeros take nothing out.
    """
    rest = trees.subtract(trees.subtract(sums.stats, stats), sums.rounding)
    is_empty = (rest.counts < 0.5) & (stats.counts > 0)
    rest = rest._replace(
        counts=jnp.where(is_empty, 0, rest.counts),
        components=jax.tree.map(partial(_zero_where, is_empty), rest.components),
    )
    sticks = mixture.sticks.posterior(rest.counts, prior.concentration, sums.sticks)
    sticks = without_weight(sticks, is_empty & (sums.stats.counts >= 0.5))
    return Posterior(sticks, components_of(mixture, prior, rest), rest.counts, prior.offset)


def group_stats(
    mixture: Mixture,
    local_step: LocalStep,
    readout: Readout,
    x: Num[Array, "N ..."],
    weight: Float[Array, " N"],
) -> Stats:
    """Statistics of one group's points, of which those of weight 0 are padding; pure.

    Args:
        mixture: static description.
        local_step: the E-step; static.
        readout: that responsibilities are taken under.
        x: raw points.
        weight: (N,).
    """
    num_points = x.shape[0]
    memory = local_step.init(mixture, Layout(1, num_points, float(num_points)))
    own = jax.tree.map(lambda leaf: leaf[0], memory)
    batch = Batch(x, weight, jnp.zeros((), jnp.int32), True, jnp.sum(weight))
    return local_step.step(mixture, readout, batch, own).stats


def stats_of_groups(
    mixture: Mixture, readout: Readout, groups: Iterable[Any], local_step: LocalStep = dense
) -> Iterator[Stats]:
    """Statistics of each group under one read-out, in the order of the groups.

    Args:
        mixture: static description.
        readout: that responsibilities are taken under.
        groups: points of each group.
        local_step: the E-step.
    """
    program = jitted(group_stats, mixture, local_step)
    return (program(readout, *_padded(points)) for points in groups)


def leave_one_out(
    mixture: Mixture,
    prior: Prior,
    posterior: Posterior,
    groups: Groups,
    scorer: Scorer,
    local_step: LocalStep = dense,
) -> Iterator[Float[np.ndarray, " n"]]:
    """Scores of the points of each group under the posterior without the group, group by group.

    Without a group, what is left is the posterior of one more sweep over all groups, less the group's own statistics.

    Args:
        mixture: static description.
        prior: that the posterior was made from.
        posterior: of all groups, of any backend.
        groups: points of each group, gone through twice.
        scorer: which score, of any that takes a posterior.
        local_step: the E-step.

    Returns:
        An iterator of scores, (n,) for each group, in their order.

    Raises:
        ValueError: as of `sum_groups`.
    """
    sums = sum_groups(mixture, posterior, groups, local_step)
    return (
        scores_without(mixture, prior, sums, one, scorer, local_step) for one in _iterate(groups)
    )


def scores_without(
    mixture: Mixture,
    prior: Prior,
    sums: GroupSums,
    x: Num[Array | np.ndarray, "n ..."],
    scorer: Scorer,
    local_step: LocalStep = dense,
) -> Float[np.ndarray, "n ..."]:
    """Scores of the points of one group under the posterior without it.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        sums: of all groups, with the same local step.
        x: raw points of the group, as they went into the sum.
        scorer: which score, or several side by side, as numbers per point.
        local_step: the E-step.
    """
    program = jitted(_scores_without, mixture, local_step, scorer)
    return np.asarray(program(prior, sums, *_padded(x)))[: len(x)]


def _add_group(
    mixture: Mixture,
    local_step: LocalStep,
    readout: Readout,
    stats: Stats,
    rounding: Stats,
    x: Array,
    weight: Array,
) -> tuple[Stats, Stats]:
    new = group_stats(mixture, local_step, readout, x, weight)
    return trees.add_compensated(stats, rounding, new)


def _scores_without(
    mixture: Mixture,
    local_step: LocalStep,
    scorer: Scorer,
    prior: Prior,
    sums: GroupSums,
    x: Array,
    weight: Array,
) -> Float[Array, "N ..."]:
    stats = group_stats(mixture, local_step, sums.readout, x, weight)
    params = scorer.prepare(posterior_without(mixture, prior, sums, stats))
    return over_tiles(partial(scorer.score, params), x)


def _padded(x: Any) -> tuple[Any, Any]:
    """Points filled up to one of few sizes with the first of them, and their weights, 0 for those."""
    x = np.asarray(in_compute_type(x))
    missing = padded_size(len(x)) - len(x)
    weight = np.ones(len(x) + missing, compute_type(np.dtype(x.dtype)))
    weight[len(x) :] = 0
    return np.concatenate([x, np.repeat(x[:1], missing, axis=0)]), weight


def _zero_where(is_empty: Array, leaf: Array) -> Array:
    return jnp.where(is_empty.reshape(-1, *(1,) * (leaf.ndim - 1)), 0, leaf)


def _iterate(groups: Groups) -> Iterator[Any]:
    return iter(groups() if callable(groups) else groups)


def _check_again(groups: Groups) -> None:
    if isinstance(groups, Iterator):
        raise ValueError(
            f"groups must be something to go through again, got {type(groups).__name__}, which is used up after once; "
            "pass a list, or the function that makes it."
        )
