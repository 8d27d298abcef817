"""Blocked Gibbs sampling of the truncated mixture: the posterior itself, not a point on it.

One sweep draws, each given the rest: weights and parameters given the labels, alpha given the weights, then all labels
at once given weights and parameters; optional moves (`gibbs_moves.py`) change many labels together. A draw is kept as
p(weights, parameters | labels, alpha), which is a `Posterior` like that of every other backend: all scores work on
it, and their average over draws has less variance than that over drawn parameters (Rao-Blackwell).

Labels are drawn in tiles and statistics summed over points grouped by label, so the work of the latter does not
grow with K and nothing of size N x K is held. `fit` streams the data and its callback sees every draw; chains, warm-up
and ArviZ are NumPyro's: next file to read: `../numpyro/kernel.py`.

References:
    Ishwaran and James (2001), Gibbs sampling methods for stick-breaking priors, section 5.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.backends.gibbs_moves import Move, Partition
from jaxdpmm.inference.base import (
    Algorithm,
    Identity,
    Layout,
    Objective,
    posterior_of,
)
from jaxdpmm.inference.local_steps.dense import over_tiles
from jaxdpmm.model import (
    Batch,
    Mixture,
    Posterior,
    Prior,
    Readout,
    Stats,
    empty_stats,
    log_joint,
)
from jaxdpmm.programs import fixed
from jaxdpmm.sticks import Sticks, sample_log_weights


class Sweep(NamedTuple):
    """What a sweep draws labels with, and what its batches have added so far.

    Attributes:
        readout: drawn weights and parameters.
        alpha: drawn concentration.
        concentration: the distribution that alpha was drawn from.
        stats: one-hot statistics of the batches seen; () between sweeps if all data are one batch.
        rounding: what rounding took from them; () if all data are one batch.
        log_likelihood: sum_n log sum_k w_k p(x_n | theta_k) of the batches seen.
    """

    readout: Readout
    alpha: Float[Array, ""]
    concentration: Any
    stats: Any
    rounding: Any
    log_likelihood: Float[Array, ""]


class GibbsState(NamedTuple):
    """A draw, and the sweep that makes the next.

    Attributes:
        prior: hyper-parameters.
        posterior: the last draw, p(weights, parameters | labels, alpha).
        sweep: the sweep under way, or the last one.
        labels: component of each point, (num_batches, batch_size); () where they are not kept.
        is_new: whether the next batch begins a sweep; () if all data are one batch, so that every batch does.
    """

    prior: Prior
    posterior: Posterior
    sweep: Sweep
    labels: Any
    is_new: Any


class GibbsInfo(NamedTuple):
    """Diagnostics of one step.

    Attributes:
        objective: log p(x | drawn weights and parameters) in nats after the last batch of a sweep, else nan. It
            fluctuates about its mean and does not converge.
        accepted: share of accepted proposals of each move, (M,).
    """

    objective: Float[Array, ""]
    accepted: Float[Array, " M"]


def gibbs(
    mixture: Mixture, prior: Prior, *, moves: tuple[Move, ...] = (), keep_labels: bool = False
) -> Algorithm:
    """Blocked Gibbs sampling; every sweep is one draw.

    `fit` needs a key and makes all of `num_epochs` sweeps, since a sampler does not converge by a tolerance. A sample
    weight w makes w copies of a point that share one label.

    Args:
        mixture: static description; its family needs `sample_params`, its sticks `sample_concentration`.
        prior: hyper-parameters.
        moves: steps that change many labels at once, done in this order after each sweep.
        keep_labels: keep the labels in the state (4 bytes per point); moves that need points keep them anyway.

    Returns:
        An `Algorithm` whose init raises TypeError if family or sticks cannot be sampled, ValueError if a move
        needs all points and the data are cut.
    """
    keep_labels = keep_labels or any(move.needs_points for move in moves)
    options = (("moves", moves), ("keep_labels", keep_labels))
    identity = Identity("gibbs", mixture, Objective.DRAW, options=options)
    settings = mixture, moves, keep_labels
    return Algorithm(
        fixed(_start, *settings), fixed(_step, *settings), posterior_of, prior, identity
    )


def _start(
    mixture: Mixture,
    moves: tuple[Move, ...],
    keep_labels: bool,
    prior: Prior,
    posterior: Posterior,
    layout: Layout,
) -> GibbsState:
    _check_layout(layout, moves, keep_labels)
    is_cut = layout.num_batches > 1
    begin = partial(_start_sweep, mixture, is_cut=is_cut)
    sweep = trees.zeros_like(jax.eval_shape(begin, prior, jax.random.key(0), posterior))
    labels = jnp.zeros((layout.num_batches, layout.batch_size), jnp.int32)
    is_new = jnp.asarray(True) if is_cut else ()
    return GibbsState(prior, posterior, sweep, labels if keep_labels else (), is_new)


def _step(
    mixture: Mixture,
    moves: tuple[Move, ...],
    keep_labels: bool,
    key: PRNGKeyArray,
    state: GibbsState,
    batch: Batch,
) -> tuple[GibbsState, GibbsInfo]:
    key_draw, key_labels, key_moves = jax.random.split(key, 3)
    is_cut = not isinstance(state.is_new, tuple)
    sweep = _if(
        state.is_new,
        lambda: _start_sweep(mixture, state.prior, key_draw, state.posterior, is_cut),
        lambda: state.sweep,
    )
    sweep, new = _visit(mixture, key_labels, sweep, batch)
    labels = state.labels.at[batch.slot].set(new) if keep_labels else ()
    state = state._replace(sweep=sweep, labels=labels)

    def go_on() -> tuple[GibbsState, GibbsInfo]:
        nan = jnp.full_like(sweep.log_likelihood, jnp.nan)
        info = GibbsInfo(nan, jnp.full(len(moves), jnp.nan, nan.dtype))
        return state._replace(is_new=jnp.asarray(False)), info

    end_sweep = partial(_end_sweep, mixture, moves, key_moves, state, batch)
    return _if(batch.is_last if is_cut else (), end_sweep, go_on)


def sample_labels(
    mixture: Mixture,
    key: PRNGKeyArray,
    readout: Readout,
    x: Num[Array, "B ..."],
    weight: Float[Array, " B"],
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Labels of raw points given weights and parameters.

    P(z_n = k) is proportional to [w_k p(x_n | theta_k)]^weight_n. By inversion: one uniform number per point, where
    Gumbel noise would need K.

    Returns:
        Labels, and the log density log sum_k w_k p(x_n | theta_k) of each point.
    """
    # In (0, 1], so that a component of probability zero is never chosen.
    uniform = 1 - jax.random.uniform(key, weight.shape, readout.log_weights.dtype)

    def of_tile(x: Array, weight: Array, uniform: Array) -> tuple[Array, Array]:
        joint = log_joint(mixture, readout, x)
        tempered = joint * weight[:, None]
        mass = jnp.exp(tempered - jnp.max(tempered, axis=1, keepdims=True))
        cumulative = jnp.cumsum(mass, axis=1)
        threshold = uniform[:, None] * cumulative[:, -1:]
        labels = jnp.sum(cumulative < threshold, axis=1, dtype=jnp.int32)
        return labels, jax.nn.logsumexp(joint, axis=1)

    return over_tiles(of_tile, x, weight, uniform)


def conditional_posterior(
    mixture: Mixture, prior: Prior, stats: Stats, alpha: Float[Array, ""], concentration: Any
) -> Posterior:
    """p(weights, parameters | labels, alpha), from the statistics of the labels.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        stats: of the labels.
        alpha: the drawn concentration.
        concentration: the distribution that alpha was drawn from, kept with the posterior.
    """
    components = trees.add(stats.components, prior.component)
    sticks = Sticks(*mixture.sticks.fractions(stats.counts, alpha), concentration)
    return Posterior(sticks, components, stats.counts, prior.offset)


def _start_sweep(
    mixture: Mixture, prior: Prior, key: PRNGKeyArray, posterior: Posterior, is_cut: bool
) -> Sweep:
    """Weights and parameters given labels and alpha, then alpha given the weights."""
    key_weights, key_params, key_alpha = jax.random.split(key, 3)
    log_weights = sample_log_weights(key_weights, posterior.sticks)
    keys = jax.random.split(key_params, mixture.num_components)
    params = jax.vmap(mixture.family.sample_params)(keys, posterior.components)
    drawn = mixture.sticks.sample_concentration(key_alpha, log_weights, prior.concentration)
    readout = Readout(log_weights, params, posterior.offset)
    zeros = empty_stats(posterior) if is_cut else ()
    return Sweep(readout, *drawn, zeros, zeros, jnp.zeros_like(log_weights[0]))


def _visit(
    mixture: Mixture, key: PRNGKeyArray, sweep: Sweep, batch: Batch
) -> tuple[Sweep, Int[Array, " B"]]:
    """Labels of one batch, its statistics added to the sweep's."""
    labels, log_density = sample_labels(mixture, key, sweep.readout, batch.x, batch.weight)
    new = label_statistics(mixture, labels, batch.x, batch.weight, sweep.readout.offset)
    total, rounding = new, ()
    if sweep.stats:
        total, rounding = trees.add_compensated(sweep.stats, sweep.rounding, new)
    log_likelihood = sweep.log_likelihood + jnp.sum(batch.weight * log_density)
    return sweep._replace(stats=total, rounding=rounding, log_likelihood=log_likelihood), labels


def _end_sweep(
    mixture: Mixture, moves: Any, key: PRNGKeyArray, state: GibbsState, batch: Batch
) -> tuple[GibbsState, GibbsInfo]:
    """The next draw: all moves on the labels of the sweep, then p(weights, parameters | labels, alpha)."""
    prior, sweep, shares = state.prior, state.sweep, []
    partition = Partition(state.labels, sweep.stats)
    for number, move in enumerate(moves):
        key_move = jax.random.fold_in(key, number)
        partition, share = move.propose(key_move, mixture, prior, sweep.alpha, partition, batch)
        shares.append(share)
    accepted = jnp.stack(shares) if shares else jnp.zeros(0, sweep.alpha.dtype)
    posterior = conditional_posterior(
        mixture, prior, partition.stats, sweep.alpha, sweep.concentration
    )
    kept = sweep if sweep.rounding else sweep._replace(stats=())
    is_new = jax.tree.map(jnp.ones_like, state.is_new)
    new_state = GibbsState(prior, posterior, kept, partition.labels, is_new)
    return new_state, GibbsInfo(sweep.log_likelihood, accepted)


def _if(condition: Any, yes: Callable, no: Callable) -> Any:
    """`jax.lax.cond`, which copies the state; where the condition is (), statically true, a plain call of `yes`."""
    return yes() if isinstance(condition, tuple) else jax.lax.cond(condition, yes, no)


def _check_layout(layout: Layout, moves: tuple[Move, ...], keep_labels: bool) -> None:
    if layout.num_batches > 1 and any(move.needs_points for move in moves):
        raise ValueError(
            "a move that changes single labels needs all data in one batch, got "
            f"{layout.num_batches} batches; set batch_size to the number of points or leave the move out."
        )
    if keep_labels and layout.batch_size < 1:
        raise ValueError(
            f"labels are kept by place, so layout.batch_size must be known, got {layout.batch_size}; "
            "pass Layout(num_batches, batch_size) to init, as fit does."
        )
