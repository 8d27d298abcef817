"""A posterior after more data, fewer data, or the data of others: posterior = prior + sum, so one adds and subtracts.

    posterior, stats = partial_fit(mixture, prior, posterior, new_x)    # new data
    posterior = subtract(mixture, prior, posterior, stats)              # the same data, withdrawn
    posterior = merge(mixture, prior, [one_site, another_site])         # fits of different data
    another_site = match(mixture, prior, another_site, one_site)        # with components in another order

What is subtracted are statistics, not points: given the assignments that the points had, the result is that of never
having seen them. Keep what `partial_fit` returns, or take it from a memoized fit, whose `state.batches` holds the
statistics of each batch. Sticks depend on the counts alone here (they agree with their own E[alpha]), so that order and
history do not matter. Not here: fits of all data together (`fit.py`).

References:
    Broderick, Boyd, Wibisono, Wilson and Jordan (2013), Streaming variational Bayes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from jaxdpmm import trees
from jaxdpmm.bound import log_evidence
from jaxdpmm.checks import check_at_least_one
from jaxdpmm.distances import relative_squares
from jaxdpmm.inference.base import Layout, LocalStep
from jaxdpmm.inference.data.pieces import as_source
from jaxdpmm.inference.local_steps.dense import dense, visit
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    active_components,
    components_of,
    empty_stats,
    expected_readout,
    stats_of,
)
from jaxdpmm.precision import full_precision
from jaxdpmm.programs import jitted

ROUNDING = 1e-4  # of a component's count: what subtraction may be off by in float32
CONSTANT = 1e-5  # spread, relative to size, below which a statistic is the same everywhere
LEAST_ALIGNED = 0.5  # share of the points whose components must be each other's nearest


def partial_fit(
    mixture: Mixture,
    prior: Prior,
    posterior: Posterior,
    x: Any,
    *,
    sample_weight: ArrayLike | None = None,
    num_epochs: int = 1,
    local_step: LocalStep = dense,
    batch_size: int | None = None,
) -> tuple[Posterior, Stats]:
    """Take new data in; what the posterior knows of old data stays as it is.

    Each sweep is a coordinate step of the bound in which the old data's statistics are fixed: responsibilities of the
    new points under the posterior so far, then posterior = prior + old + new.

    Args:
        mixture: static description.
        prior: that the posterior was made from.
        posterior: of any backend.
        x: new points, (N, ...), in any form that `fit` takes.
        sample_weight: (N,), weight 2 counts as the point twice.
        num_epochs: sweeps over the new data.
        local_step: the E-step.
        batch_size: as in `fit`.

    Returns:
        The new posterior, and the statistics of the new data in it, which `subtract` takes.

    Raises:
        ValueError: data of the wrong shape or not finite, or a `num_epochs` below 1.
    """
    check_at_least_one("num_epochs", num_epochs, "the default is 1")
    source = as_source(x, mixture.family, sample_weight, batch_size)
    memory = local_step.init(
        mixture, Layout(source.num_batches, source.batch_size, source.total_weight)
    )
    old, current = stats_of(prior, posterior), posterior
    for _ in range(num_epochs):
        readout = expected_readout(mixture, current)
        stats = rounding = empty_stats(posterior)
        for batch in source.sweep():
            sums = (stats, rounding, memory)
            stats, rounding, memory = _add_batch(mixture, local_step, readout, sums, batch)
        current = from_stats(mixture, prior, trees.add(old, stats))
    return current, stats


def subtract(mixture: Mixture, prior: Prior, posterior: Posterior, stats: Stats) -> Posterior:
    """Take statistics out of a posterior: that of never having seen their data, given their assignments.

    Args:
        mixture: static description.
        prior: that the posterior was made from.
        posterior: that holds the statistics.
        stats: from `partial_fit`, or of one batch of a memoized fit, `trees.take(result.state.batches, slot)`.

    Raises:
        ValueError: other components, or statistics that the posterior does not hold.
    """
    _check_same_shapes("stats", [posterior.components, stats.components])
    own = stats_of(prior, posterior)
    counts, taken = np.asarray(own.counts), np.asarray(stats.counts)
    missing = taken - counts > ROUNDING * (1 + counts)
    if missing.any():
        worst = int(np.argmax(taken - counts))
        raise ValueError(
            f"stats must be part of the posterior, got {taken[worst]:g} points of component {worst}, which holds "
            f"{counts[worst]:g}; subtract what partial_fit returned, from the posterior that it went into."
        )
    return from_stats(mixture, prior, trees.subtract(own, stats))


def merge(
    mixture: Mixture,
    prior: Prior,
    posteriors: Sequence[Posterior],
    base: Posterior | None = None,
) -> Posterior:
    """One posterior of the data of several, fitted apart from the same prior.

    Components must mean the same in all of them: start all fits from one posterior, for example one that was fitted
    to a sample or at the first site, or `match` all of them to one.

    Args:
        mixture: static description.
        prior: of all of them.
        posteriors: at least one.
        base: a posterior that all of them hold, its data being counted once; for fits that went on from it with
            `partial_fit`. None where they share no data.

    Raises:
        ValueError: none at all, or other numbers, reference points or meanings of the components.
    """
    if not posteriors:
        raise ValueError("posteriors must hold at least one posterior, got none; pass some.")
    everyone = [*posteriors, *([] if base is None else [base])]
    _check_same_shapes("posteriors", [posterior.components for posterior in everyone])
    _check_same_offset(prior, everyone)
    _check_aligned(prior, everyone)
    total = stats_of(prior, posteriors[0])
    for posterior in posteriors[1:]:
        total = trees.add(total, stats_of(prior, posterior))
        if base is not None:
            total = trees.subtract(total, stats_of(prior, base))
    return from_stats(mixture, prior, total)


def match(mixture: Mixture, prior: Prior, posterior: Posterior, reference: Posterior) -> Posterior:
    """The posterior with its components numbered as those of a reference, so that `merge` can take both.

    Of all one-to-one matches, the one of largest evidence: the sum of log p(points of both | one component) less those
    of the points apart. A component that is better left alone is matched with an empty one, where there is one.

    Args:
        mixture: static description.
        prior: of both.
        posterior: whose components are numbered anew, with the sticks that go with their counts.
        reference: of other data, and of the same truncation.

    Raises:
        ValueError: other shapes or reference points.
    """
    from scipy.optimize import linear_sum_assignment  # takes long to load

    _check_same_shapes("posteriors", [reference.components, posterior.components])
    _check_same_offset(prior, [reference, posterior])
    theirs, own = stats_of(prior, reference), stats_of(prior, posterior)
    gains = jitted(_gains, mixture)(prior, theirs.components, own.components)
    _, order = linear_sum_assignment(np.asarray(gains), maximize=True)
    return from_stats(
        mixture,
        prior,
        Stats(own.counts[order], trees.take(own.components, order), own.entropy, own.log_base),
    )


@partial(jax.jit, static_argnums=0)
def from_stats(mixture: Mixture, prior: Prior, stats: Stats) -> Posterior:
    """Posterior = prior + statistics, with sticks where q(v) and q(alpha) agree, whatever came before.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        stats: of all data; counts that rounding made negative become zero.
    """
    counts = jnp.maximum(stats.counts, 0)
    sticks = mixture.sticks.settled(counts, prior.concentration)
    components = components_of(mixture, prior, stats)
    return Posterior(sticks, components, counts, prior.offset)


@partial(jax.jit, static_argnums=(0, 1))
def _add_batch(
    mixture: Mixture,
    local_step: LocalStep,
    readout: Readout,
    sums: tuple[Stats, Stats, Any],
    batch: Batch,
) -> tuple[Stats, Stats, Any]:
    """Statistics, their rounding and the E-step's memory after one more batch; compiled once for all calls."""
    stats, rounding, memory = sums
    new, _, memory = visit(local_step, mixture, readout, batch, memory)
    return *trees.add_compensated(stats, rounding, new), memory


def _gains(mixture: Mixture, prior: Prior, theirs: Any, own: Any) -> Float[Array, "K J"]:
    """What one component for the points of two gains in evidence, for each pair of components."""
    alone = log_evidence(mixture, prior, own)

    def of_one(one: Any) -> Float[Array, " J"]:
        return log_evidence(mixture, prior, trees.add(own, one))

    together = jax.lax.map(of_one, theirs)
    return together - log_evidence(mixture, prior, theirs)[:, None] - alone[None]


def _check_same_shapes(name: str, components: Sequence[Any]) -> None:
    shapes = [jax.tree.map(jnp.shape, tree) for tree in components]
    for shape in shapes[1:]:
        if shape != shapes[0]:
            raise ValueError(
                f"{name} must have the same components everywhere, got the shapes {shapes[0]} and {shape}; use one "
                "family and one num_components, and merge before compact."
            )


def _check_same_offset(prior: Prior, posteriors: Sequence[Posterior]) -> None:
    for posterior in posteriors:
        pair = (prior.offset, posterior.offset)
        if any(part is None for part in pair):
            same = all(part is None for part in pair)
        else:
            same = np.array_equal(np.asarray(prior.offset), np.asarray(posterior.offset))
        if not same:
            raise ValueError(
                "posteriors must come from the same prior, got another reference point (offset); make one prior and "
                "use it in all fits."
            )


def _check_aligned(prior: Prior, posteriors: Sequence[Posterior]) -> None:
    """That a component's nearest in another posterior mostly is the one of its own number."""
    means = [_mean_statistics(prior, posterior) for posterior in posteriors]
    everywhere = jnp.concatenate(means)
    spread = jnp.std(everywhere, axis=0, keepdims=True)
    # Columns of ones differ by rounding alone, which must not be blown up to count as a difference
    size = jnp.max(jnp.abs(everywhere), axis=0, keepdims=True)
    scaled = [mean / jnp.where(spread > CONSTANT * size, spread, jnp.inf) for mean in means]
    for number in range(1, len(posteriors)):
        share = _aligned_share(posteriors[0], posteriors[number], scaled[0], scaled[number])
        if share < LEAST_ALIGNED:
            raise ValueError(
                f"posteriors must have components of the same meaning, got one (number {number}) of which only "
                f"{100 * share:.0f} % of the points lie in a component whose nearest in the first has its number; "
                "start all fits from one posterior, or match them."
            )


def _mean_statistics(prior: Prior, posterior: Posterior) -> Float[Array, "K M"]:
    stats = stats_of(prior, posterior)
    counts = jnp.maximum(stats.counts, 1)
    leaves = [leaf.reshape(len(counts), -1) for leaf in jax.tree.leaves(stats.components)]
    return jnp.concatenate(leaves, axis=1) / counts[:, None]


@full_precision()
def _aligned_share(
    left: Posterior, right: Posterior, left_means: Array, right_means: Array
) -> float:
    """Share of the points, among components that hold any in both."""
    both = active_components(left) & active_components(right)
    squares = relative_squares(right_means, left_means)
    nearest = jnp.argmin(jnp.where(both[None], squares, jnp.inf), axis=1)
    weight = jnp.where(both, right.counts, 0)
    is_own = nearest == jnp.arange(len(weight))
    total = jnp.sum(weight)
    aligned = jnp.sum(jnp.where(is_own, weight, 0))
    return float(aligned / total) if total > 0 else 1.0
