"""Less of the directions in which normal patches vary about every mean, before distances are taken.

Patches of one kind differ by light, by a shift of part of a patch, by noise of the backbone, and largely in the same
few directions whatever their kind is. A distance to means counts such a difference as anomalous. Patches are therefore
clustered, their scatter about the means of their clusters is summed, and coordinates along its largest directions are
multiplied by

    (1 + v / (s m))^(-1/2),    v the variance along the direction, m the mean of v over all directions,

so that a direction of v = s m keeps half of its variance. Full whitening, the limit of s to 0, would give directions in
which nothing varies the weight of all others. In speaker recognition this is within-class covariance normalization,
with classes that are known; here the clusters are those of a start for coverage, a hundredth of the patches. Vectors
then get the length back that they had. Next file to read: `fitting.py`.

References:
    Hatch, Kajarekar and Stolcke (2006), Within-class covariance normalization for SVM-based speaker recognition.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from jaxdpmm.detection.reduction import SAMPLE_SIZE, Whitened, ordered_axes
from jaxdpmm.inference.coverage import farthest_first
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.points import check_finite

KEPT = 5.0  # s; a direction of five times the mean variance keeps half
NUM_AXES = 32
FEATURES_PER_AXIS = 4  # at least; of fewer than four features, none counts less
SHARE = 0.01  # of all patches, the clusters: as many as a mixture has components by default
LEAST_CLUSTERS = 50
LEAST_PER_CLUSTER = 10  # patches of the sample on average, of which their mean takes one


def learn_whitening(features: Any, key: PRNGKeyArray) -> Whitened:
    """Directions of the largest scatter of features about cluster means, and how much of each is kept.

    Args:
        features: (N, D), in memory or a `FeatureStore`, of which a sample is read.
        key: draws the sample.

    Raises:
        ValueError: features that are not finite.
    """
    sample = np.asarray(draw_sample(key, features, SAMPLE_SIZE), np.float32)
    check_finite(sample)
    wanted = max(LEAST_CLUSTERS, round(SHARE * len(features)))
    number = max(1, min(wanted, len(sample) // LEAST_PER_CLUSTER))
    seeds = farthest_first(jnp.asarray(sample), number)
    apart = _about_means(sample, np.asarray(seeds.labels))
    axes, scatter = ordered_axes(apart.T @ apart)
    scatter = np.maximum(scatter, 0)
    kept = KEPT * max(float(scatter.mean()), float(np.finfo(np.float32).tiny))
    factors = 1 / np.sqrt(1 + scatter / kept)
    number = min(NUM_AXES, len(factors) // FEATURES_PER_AXIS)
    rest = factors[number:].mean()  # of the others, which stay as they are
    return Whitened(
        jnp.asarray(axes[:, :number], jnp.float32),
        jnp.asarray(factors[:number] / rest, jnp.float32),
    )


def _about_means(
    sample: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "N D"]:
    """How far each patch lies from the mean of its cluster, in float64."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    grouped = sample[order].astype(np.float64)
    means = np.add.reduceat(grouped, starts, axis=0) / counts[:, None]
    return grouped - np.repeat(means, counts, axis=0)
