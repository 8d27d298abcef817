"""Fewer rows for a memory bank: a greedy coreset as PatchCore has it, and the means of k-means.

Both give rows that `exact.memory_bank` takes as they are. Read `faiss_bank.py` next for another engine.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdpmm.distances import nearest_centres
from jaxdpmm.inference.coverage import farthest_first
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.inference.initialize import k_means
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring.scorer import TILE_SIZE

NUM_PROJECTED = 128  # dimensions that distances are measured in, as in PatchCore
SAMPLE_PER_MEAN = 50


@full_precision()
def greedy_coreset(
    features: Float[np.ndarray, "N D"],
    size: int,
    *,
    key: PRNGKeyArray,
    num_projected: int | None = NUM_PROJECTED,
) -> Int[np.ndarray, " size"]:
    """Rows such that every other row is near one of them: each next row is the one farthest from those chosen.

    The largest distance to a chosen row is at most twice the smallest possible. Costs N x size distances in
    `num_projected` dimensions; memory is N of them and the projected features. See `inference/coverage.py`.

    Args:
        features: normal patch features.
        size: how many rows to choose.
        key: chooses the first row and the projection.
        num_projected: random directions that features are projected on first; None to measure in all D.

    Returns:
        Row numbers, in the order in which they were chosen: the first ones are a coreset of a smaller size. Fewer than
        `size` where the features hold fewer different rows.

    Raises:
        ValueError: `size` is not between 1 and N.

    References:
        Gonzalez (1985), Clustering to minimize the maximum intercluster distance.
        Roth et al. (2022), Towards Total Recall in Industrial Anomaly Detection. CVPR, algorithm 1.
    """
    if not 1 <= size <= len(features):
        raise ValueError(
            f"size must be between 1 and the number of features, {len(features)}, got {size}; PatchCore takes 1 % to "
            "25 % of them."
        )
    key_first, key_projection = jax.random.split(key)
    x = jnp.asarray(features)
    if num_projected is not None and num_projected < x.shape[1]:
        directions = jax.random.normal(key_projection, (x.shape[1], num_projected), x.dtype)
        x = x @ directions / jnp.sqrt(jnp.asarray(num_projected, x.dtype))
    first = jax.random.randint(key_first, (), 0, x.shape[0])
    return farthest_first(x, size, first=int(first)).rows


def k_means_rows(
    features: Any, num_rows: int, *, key: PRNGKeyArray, num_iterations: int = 10
) -> Float[np.ndarray, "K D"]:
    """Means of k-means: k-means++ and Lloyd on a sample, then Lloyd on all features a tile at a time.

    Args:
        features: (N, D), in memory or a `FeatureStore`.
        num_rows: K.
        key: random key.
        num_iterations: Lloyd steps on the sample, and as many on everything.

    Raises:
        ValueError: `num_rows` is not between 1 and N.
    """
    if not 1 <= num_rows <= len(features):
        raise ValueError(
            f"num_rows must be between 1 and the number of features, {len(features)}, got {num_rows}; ask for fewer."
        )
    key_sample, key_seeds = jax.random.split(key)
    sample = jnp.asarray(draw_sample(key_sample, features, SAMPLE_PER_MEAN * num_rows))
    labels = k_means(key_seeds, sample, num_rows, num_iterations)
    sums, counts = _sums(sample, labels, num_rows)
    means = sums / jnp.maximum(counts, 1)[:, None]
    for _ in range(num_iterations):
        means = _improved(features, means)
    return np.asarray(means)


def _improved(features: Any, means: Float[Array, "K D"]) -> Float[Array, "K D"]:
    """One Lloyd step; a mean without points stays."""
    sums, counts = jnp.zeros_like(means), jnp.zeros_like(means[:, 0])
    for start in range(0, len(features), TILE_SIZE):
        tile = jnp.asarray(np.asarray(features[start : start + TILE_SIZE]), means.dtype)
        more_sums, more_counts = _nearest_sums(tile, means)
        sums, counts = sums + more_sums, counts + more_counts
    return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], means)


@jax.jit
@full_precision()
def _nearest_sums(x: Float[Array, "N D"], means: Float[Array, "K D"]) -> tuple[Array, Array]:
    return _sums(x, nearest_centres(x, means), means.shape[0])


def _sums(x: Float[Array, "N D"], labels: Int[Array, " N"], number: int) -> tuple[Array, Array]:
    sums = jax.ops.segment_sum(x, labels, number)
    return sums, jax.ops.segment_sum(jnp.ones_like(x[:, 0]), labels, number)
