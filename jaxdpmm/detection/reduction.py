"""What is done to features before a mixture, kept with the model: fewer of them, or less of what varies everywhere.

Principal components make full covariances cheap: in a tenth of the dimensions they cost a hundredth. Whitening takes
back directions in which patches vary about every mean, see `whitening.py`, which is the next file to read.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.points import compute_type
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring import Scorer, in_tiles
from jaxdpmm.scoring.scorer import TILE_SIZE

SAMPLE_SIZE = 50_000


class Principal(NamedTuple):
    """What is subtracted from features, and the directions that they are projected on."""

    mean: Float[Array, " D"]
    axes: Float[Array, "D q"]

    def project(self, x: Float[Array, "N D"]) -> Float[Array, "N q"]:
        """Coordinates along the axes."""
        return (x - self.mean[None].astype(x.dtype)) @ self.axes.astype(x.dtype)


class Whitened(NamedTuple):
    """Directions in which features vary about component means, and what coordinates along them are multiplied by."""

    axes: Float[Array, "D q"]
    factors: Float[Array, " q"]

    def project(self, x: Float[Array, "N D"]) -> Float[Array, "N D"]:
        """Vectors of the length that they had, with less of these directions."""
        axes = self.axes.astype(x.dtype)
        less = (x @ axes) * (self.factors.astype(x.dtype) - 1)[None]
        turned = x + less @ axes.T
        before, after = (jnp.sum(one * one, axis=1, keepdims=True) for one in (x, turned))
        return turned * jnp.sqrt(before / jnp.maximum(after, jnp.finfo(x.dtype).tiny))


Reduction = Principal | Whitened

NAMES: dict[str, type[Reduction]] = {"principal": Principal, "whitened": Whitened}
"""Of the arrays in a model file, and what they are parts of."""


class ReducedRows:
    """Rows of a store that are reduced when they are read, so that no more of them are in memory than are asked for."""

    def __init__(self, reduction: Reduction, rows: Any):
        self.reduction, self.rows = reduction, rows
        self.dtype = compute_type(np.dtype(rows.dtype))
        self.shape = (len(rows), *_in_parts(reduction, rows[:1]).shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> np.ndarray:
        found = np.asarray(self.rows[place])
        flat = found.reshape(-1, found.shape[-1])
        return _in_parts(self.reduction, flat).reshape(*found.shape[:-1], self.shape[1])


def principal_axes(features: Any, number: int, key: PRNGKeyArray) -> Principal:
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
    axes, _ = ordered_axes(centred.T @ centred)
    return Principal(jnp.asarray(mean, jnp.float32), jnp.asarray(axes[:, :number], jnp.float32))


def ordered_axes(
    scatter: Float[np.ndarray, "D D"],
) -> tuple[Float[np.ndarray, "D D"], Float[np.ndarray, " D"]]:
    """Directions of largest scatter, one per column, and the scatter along each, largest first."""
    values, axes = np.linalg.eigh(scatter)
    axes = axes[:, ::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    return axes * np.sign(largest), values[::-1]  # else their signs differ from machine to machine


def arrays_of(reduction: Reduction | None) -> dict[str, np.ndarray]:
    """The arrays of a model file that `reduction_of` reads."""
    if reduction is None:
        return {}
    (kind,) = (name for name, cls in NAMES.items() if isinstance(reduction, cls))
    return {f"{kind}/{name}": np.asarray(part) for name, part in reduction._asdict().items()}


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
    for kind, cls in NAMES.items():
        names = [f"{kind}/{name}" for name in cls._fields]
        if not set(names) & set(arrays):
            continue
        parts = [arrays.get(name, np.zeros(0)) for name in names]
        shapes = " and ".join(str(part.shape) for part in parts)
        if not (_are_finite(parts) and _are_axes(cls, parts, point_shape or ())):
            raise ValueError(f"{kind} axes of shapes {shapes} for points of shape {point_shape}")
        return cls(*map(jnp.asarray, parts))
    return None


def reduce_features(reduction: Reduction | None, features: Any) -> Any:
    """Features as a mixture takes them, (N, q); without a reduction, the features as they are.

    Args:
        reduction: what is done to them.
        features: (N, D); rows of what is not in memory are reduced when they are read.
    """
    if reduction is None:
        return features
    in_memory = isinstance(features, np.ndarray | jax.Array | list)
    if in_memory and not isinstance(features, np.memmap):
        return _in_parts(reduction, features)
    return ReducedRows(reduction, features)


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


def _are_finite(parts: list[np.ndarray]) -> bool:
    return all(part.dtype.kind == "f" and bool(np.isfinite(part).all()) for part in parts)


def _are_axes(cls: type[Reduction], parts: list[np.ndarray], point_shape: tuple[int, ...]) -> bool:
    """Whether parts of a reduction have the shapes of one for a mixture of such points."""
    first, second = parts
    if cls is Principal:
        return first.ndim == 1 and second.shape == (first.size, *point_shape)
    return second.ndim == 1 and first.shape == (*point_shape, second.size)


def _in_parts(reduction: Reduction, features: Any) -> np.ndarray:
    """A tile at a time, so that no second copy of all features is on the device."""
    parts = [
        in_tiles(_project, reduction, _computed(features[start : start + TILE_SIZE]))
        for start in range(0, max(len(features), 1), TILE_SIZE)
    ]
    return np.concatenate(parts)


def _computed(rows: Any) -> np.ndarray:
    rows = np.asarray(rows)
    return rows.astype(compute_type(rows.dtype), copy=False)


@jax.jit
@full_precision()
def _project(reduction: Reduction, x: Float[Array, "N D"]) -> Float[Array, "N q"]:
    return reduction.project(x)
