"""What many draws of the posterior say, whatever their labels are called.

Components have no names: draws may swap them, so means over draws of anything by component are nonsense. Here are
the functions of draws that do not depend on names: which points belong together, how many components there are, and
the one partition that is closest to all draws. Densities and scores over draws are in
`scoring/uncertainty.py`. Labels come from the NumPyro kernel with `keep_labels=True`. Next file to read:
`inference/numpyro/kernel.py`.

References:
    Binder (1978), Bayesian cluster analysis; Wade and Ghahramani (2018), Bayesian cluster analysis: point
    estimation and credible balls.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num
from numpy.typing import ArrayLike

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.model import Posterior
from jaxdpmm.programs import jitted, padded_size


def num_occupied(draws: Posterior) -> Num[Array, "*S"]:
    """How many components hold a point, in each draw; leaves of `draws` lead with any axes."""
    return jnp.sum(draws.counts > 0, axis=-1)


def co_clustering(labels: ArrayLike) -> Float[Array, "N N"]:
    """Share of the draws in which two points belong to one component.

    Args:
        labels: component of each point in each draw, (S, N). For many points take some of them: the result has
            N^2 entries.

    Returns:
        Symmetric matrix, ones on the diagonal.

    Raises:
        ValueError: labels of another shape or type.
    """
    labels = _check_labels(labels)
    num_draws, num_points = labels.shape
    total = np.asarray(_num_together(_padded(labels), num_draws))[:num_points, :num_points]
    return jnp.asarray(total / num_draws, float)


def binder_loss(table: Float[Array, "A B"]) -> Float[Array, ""]:
    """Share of ordered pairs of points on which two partitions disagree, 1 - Rand index.

    Args:
        table: number of points in component a of the one and b of the other.
    """
    pairs = jnp.sum(table.sum(1) ** 2) + jnp.sum(table.sum(0) ** 2) - 2 * jnp.sum(table**2)
    return pairs / jnp.sum(table) ** 2


def variation_of_information(table: Float[Array, "A B"]) -> Float[Array, ""]:
    """H(a | b) + H(b | a) in nats, a metric on partitions (Meila 2007).

    Args:
        table: number of points in component a of the one and b of the other.
    """
    share = table / jnp.sum(table)
    entropy = jax.scipy.special.entr
    joint = jnp.sum(entropy(share))
    return 2 * joint - jnp.sum(entropy(share.sum(0))) - jnp.sum(entropy(share.sum(1)))


def point_partition(
    labels: ArrayLike,
    loss: Callable[[Array], Array] = variation_of_information,
    num_candidates: int = 100,
) -> tuple[Int[np.ndarray, " N"], float]:
    """The partition among the draws whose mean loss to all draws is smallest.

    Args:
        labels: component of each point in each draw, (S, N).
        loss: `variation_of_information` (fewer small components) or `binder_loss`: contingency table -> number.
        num_candidates: so many draws, evenly spaced, are tried; the cost is num_candidates * S * N.

    Returns:
        Labels 0, 1, ... by falling size, of equals by first appearance, (N,), and the mean loss.

    Raises:
        ValueError: labels of another shape or type, or `num_candidates` below 1.
    """
    labels = _check_labels(labels)
    check_at_least_one("num_candidates", num_candidates, "the default is 100")
    num_draws = len(labels)
    chosen = np.unique(np.linspace(0, num_draws - 1, min(num_candidates, num_draws)).astype(int))
    mean_losses = jitted(_mean_losses, loss, padded_size(int(labels.max()) + 1))
    losses = mean_losses(_padded(labels[chosen]), len(chosen), _padded(labels), num_draws)
    losses = np.asarray(losses)[: len(chosen)]
    best = int(np.argmin(losses))
    return _by_size(labels[chosen[best]]), float(losses[best])


@jax.jit
def _num_together(draws: Int[Array, "S N"], num_draws: Int[Array, ""]) -> Int[Array, "N N"]:
    """In how many of the first draws two points have one label."""

    def add(number: Any, total: Array) -> Array:
        draw = draws[number]
        return total + (draw[:, None] == draw[None, :]).astype(jnp.int32)

    zeros = jnp.zeros((draws.shape[1], draws.shape[1]), jnp.int32)
    return jax.lax.fori_loop(0, num_draws, add, zeros)


def _mean_losses(
    loss: Callable[[Array], Array],
    size: int,
    candidates: Int[Array, "C N"],
    num_candidates: Int[Array, ""],
    draws: Int[Array, "S N"],
    num_draws: Int[Array, ""],
) -> Float[Array, " C"]:
    """Mean loss to the first draws of each of the first candidates, whose labels are below `size`; 0 for the others."""

    def between(first: Array, second: Array) -> Array:
        cell = jnp.where(first < 0, size * size, first * size + second)
        counts = jnp.bincount(cell, length=size * size + 1)[:-1]
        return loss(counts.reshape(size, size).astype(float))

    def mean_loss(number: Any, losses: Array) -> Array:
        def add(other: Any, total: Array) -> Array:
            return total + between(candidates[number], draws[other])

        total = jax.lax.fori_loop(0, num_draws, add, jnp.zeros((), losses.dtype))
        return losses.at[number].set(total / num_draws)

    nothing = jnp.zeros(len(candidates), jnp.zeros(()).dtype)
    return jax.lax.fori_loop(0, num_candidates, mean_loss, nothing)


def _padded(labels: Int[np.ndarray, "S N"]) -> Int[np.ndarray, "P Q"]:
    """Labels of few shapes, so that few programs are compiled: filled up with -1."""
    missing = [(0, padded_size(length) - length) for length in labels.shape]
    return np.pad(labels.astype(np.int32), missing, constant_values=-1)


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Names 0, 1, ... by falling size, of equals by first appearance."""
    _, first, place, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    return np.argsort(np.lexsort((first, -counts)))[place]


def _check_labels(labels: ArrayLike) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "iu" or array.size == 0 or array.min() < 0:
        raise ValueError(
            "labels must be whole numbers from 0 on of shape (S, N), a row a draw, got "
            f"shape {array.shape} of {array.dtype}; collect them with extra_fields=('labels',)."
        )
    return array
