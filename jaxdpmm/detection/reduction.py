"""Fewer dimensions before a mixture: the first principal components of training patches, kept with the model.

Full covariances cost D^2 a component and need many patches; in a tenth of the dimensions they cost a hundredth. Read
`fitting.py` next.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring import Scorer, in_tiles
from jaxdpmm.scoring.scorer import TILE_SIZE

SAMPLE_SIZE = 50_000
MEAN, AXES = "principal/mean", "principal/axes"  # in a model file


class Reduction(NamedTuple):
    """What is subtracted from features, and the directions that they are projected on."""

    mean: Float[Array, " D"]
    axes: Float[Array, "D q"]


def principal_axes(features: Any, number: int, key: PRNGKeyArray) -> Reduction:
    """Mean and the directions of largest variance of a sample of features.

    Args:
        features: (N, D), in memory or a `FeatureStore`.
        number: how many directions.
        key: draws the sample.

    Raises:
        ValueError: `number` is not between 1 and D.
    """
    dim = features.shape[1]
    if not 1 <= number <= dim:
        raise ValueError(
            f"num_principal must be between 1 and the number of features, {dim}, got {number}; 64 is a good start."
        )
    sample = draw_sample(key, features, SAMPLE_SIZE).astype(np.float64)
    mean = sample.mean(axis=0)
    centred = sample - mean[None]
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :number]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    axes = axes * np.sign(largest)  # else their signs differ from machine to machine
    return Reduction(jnp.asarray(mean, jnp.float32), jnp.asarray(axes, jnp.float32))


def reduction_of(
    arrays: Mapping[str, np.ndarray], point_shape: tuple[int, ...] | None
) -> Reduction | None:
    """The reduction among the arrays of a model file; None where it has none.

    Args:
        arrays: by name.
        point_shape: the shape of the points of the file's mixture.

    Raises:
        ValueError: the arrays do not fit the mixture; the message is a part of a sentence.
    """
    if not {MEAN, AXES} & set(arrays):
        return None
    mean, axes = (arrays.get(name, np.zeros(0)) for name in (MEAN, AXES))
    is_finite = all(
        array.dtype.kind == "f" and bool(np.isfinite(array).all()) for array in (mean, axes)
    )
    if mean.ndim != 1 or axes.shape != (mean.size, *(point_shape or ())) or not is_finite:
        raise ValueError(
            f"principal axes of shapes {mean.shape} and {axes.shape} for points of shape {point_shape}"
        )
    return Reduction(jnp.asarray(mean), jnp.asarray(axes))


def reduce_features(reduction: Reduction | None, features: Any) -> Any:
    """Coordinates of features along the axes of a reduction, (N, q); without one, the features as they are."""
    if reduction is None:
        return features
    parts = [
        in_tiles(_project, reduction, np.asarray(features[start : start + TILE_SIZE], np.float32))
        for start in range(0, len(features), TILE_SIZE)
    ]
    return np.concatenate(parts)


@lru_cache
def reduced(scorer: Scorer) -> Scorer:
    """A scorer of features of the full dimension, made of one of those along the axes of a model.

    It is fitted on a pair: what `scorer` is fitted on, and the `Reduction`, or None for features as they are.
    """

    def prepare(fitted: tuple[Any, Reduction | None]) -> Any:
        return scorer.prepare(fitted[0]), fitted[1]

    def score(params: Any, x: Float[Array, "N D"]) -> Float[Array, "N ..."]:
        prepared, reduction = params
        return scorer.score(prepared, x if reduction is None else _project(reduction, x))

    return Scorer(prepare, score)


@jax.jit
@full_precision()
def _project(reduction: Reduction, x: Float[Array, "N D"]) -> Float[Array, "N q"]:
    mean, axes = reduction
    return (x - mean[None].astype(x.dtype)) @ axes.astype(x.dtype)
