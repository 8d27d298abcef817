"""Data that come in pieces: an iterable of arrays of any sizes, cut anew into batches of one shape.

For loaders, generators of features and lists of arrays; what can be sliced is better off in `ArraySource`. Also
here: what `fit` makes of whatever it is given, and a random sample of any source. Next file to read: `../fit.py`, or
`mesh.py` for many devices.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike

from jaxdpmm.families import Likelihood
from jaxdpmm.inference.data.arrays import (
    BATCH_SIZE,
    FINGERPRINT_ROWS,
    ArraySource,
    DataSource,
    check_batch_size,
    check_weights,
    digest,
    even_batches,
    host_batch,
    on_device,
    padded,
    prefetched,
)
from jaxdpmm.model import Batch
from jaxdpmm.points import check_finite, check_points, compute_type, in_compute_type, is_array

Piece = tuple[np.ndarray, np.ndarray]


class IterableSource:
    """Points in pieces that come one after another, the same ones in every sweep.

    They are read once at the start, to be checked and counted, and once per sweep, by a thread that is one
    batch ahead. At most some batches and one piece are in memory. Pieces cannot be visited out of order, so a key
    given to `sweep` has no effect.
    """

    def __init__(
        self,
        pieces: Iterable[Any] | Callable[[], Iterable[Any]],
        family: Likelihood,
        batch_size: int | None = None,
    ):
        """Read all pieces once.

        Args:
            pieces: a function that returns an iterator, or something to iterate over again and again; each
                piece is an array of points, (B, ...) with any B, or a pair of such an array and its weights, (B,).
            family: whose points these are.
            batch_size: most points per batch, 65,536 by default.

        Raises:
            ValueError: a one-shot iterator, no points, wrong shapes, values or weights.
            TypeError: not numbers.
        """
        if isinstance(pieces, Iterator):
            raise ValueError(
                f"data must be something to iterate over again in every sweep, got {type(pieces).__name__}, which "
                "is used up after one; pass the function that makes it."
            )
        self._make: Any = pieces if callable(pieces) else lambda: pieces
        self._family = family
        size = check_batch_size(batch_size, BATCH_SIZE)
        self._num_points, self.total_weight = 0, 0.0
        ends: list[np.ndarray] = []
        for x, weight in self._pieces():
            check_finite(x, self._num_points)
            self._num_points += len(x)
            self.total_weight += float(np.sum(weight, dtype=np.float64))
            ends = [*ends[:1], x[:FINGERPRINT_ROWS].copy()]
        self._check_count()
        self.fingerprint = digest(self._num_points, self.total_weight, *ends)
        self.batch_size, self.num_batches = even_batches(self._num_points, size)

    def sweep(self, key: PRNGKeyArray | None = None) -> Iterator[Batch]:
        """Batches in the order of the pieces.

        Raises:
            ValueError: the pieces are not those of the first time.
        """
        del key
        num_seen = 0
        for slot, (x, weight) in enumerate(prefetched(recut(self._pieces(), self.batch_size))):
            num_seen += len(x)
            self._check_same(num_seen)
            is_last = slot == self.num_batches - 1
            self._check_same(num_seen, at_end=is_last)
            batch = host_batch(*padded(x, weight, self.batch_size), slot, self.total_weight)
            yield on_device(batch._replace(is_last=np.asarray(is_last)))
        self._check_same(num_seen, at_end=True)

    def _pieces(self) -> Iterator[Piece]:
        """Points and weights of each piece that holds any, checked but for being finite."""
        for piece in self._make():
            x, weight = piece if isinstance(piece, tuple) and len(piece) == 2 else (piece, None)
            if is_array(x) and x.shape[:1] == (0,):
                continue
            x = np.asarray(in_compute_type(check_points(x, self._family)))
            yield x, check_weights(weight, len(x), compute_type(x.dtype))

    def _check_count(self) -> None:
        if not self._num_points:
            raise ValueError(
                "data must hold at least one point, got an iterable without any; if it is a function, it must "
                "return an iterator."
            )

    def _check_same(self, num_seen: int, at_end: bool = False) -> None:
        if num_seen > self._num_points or (at_end and num_seen < self._num_points):
            raise ValueError(
                f"data must give the same points in every sweep, got {num_seen} points after {self._num_points} the "
                "first time; pass a function or an object that starts anew."
            )


def as_source(
    data: Any,
    family: Likelihood,
    sample_weight: ArrayLike | None = None,
    batch_size: int | None = None,
) -> DataSource:
    """A source of whatever a user has: a source, an array, or pieces.

    A list or tuple counts as pieces if its first element has the shape of several points, else as an array.

    Raises:
        ValueError: as `ArraySource` and `IterableSource`; weights or batch size for data that have their own.
        TypeError: not numbers.
    """
    if hasattr(data, "sweep"):
        _check_without("a data source", "give them to the source", sample_weight, batch_size)
        return data
    if is_array(data) or not _is_pieces(data, family):
        return ArraySource(data, family, sample_weight, batch_size)
    _check_without("pieces", "let each piece be (points, weights)", sample_weight)
    return IterableSource(data, family, batch_size)


def recut(pieces: Iterator[Piece], size: int) -> Iterator[Piece]:
    """Pieces of `size` points each, the last one smaller; always new arrays."""
    held: list[Piece] = []
    missing = size
    for x, weight in pieces:
        while len(x):
            held.append((x[:missing].copy(), weight[:missing]))
            missing -= len(held[-1][0])
            x, weight = x[len(held[-1][0]) :], weight[len(held[-1][0]) :]
            if not missing:
                yield _joined(held)
                held, missing = [], size
    if held:
        yield _joined(held)


def draw_sample(key: PRNGKeyArray, x: Any, size: int) -> np.ndarray:
    """At most `size` rows of an array or a `DataSource`, without replacement, in their order."""
    if hasattr(x, "sweep"):
        return x.sample(key, size) if hasattr(x, "sample") else sample_source(key, x, size)
    x = x if is_array(x) else np.asarray(x)
    num_points = x.shape[0]
    if num_points <= size:
        return np.asarray(in_compute_type(x[:]))
    seed = np.asarray(jax.random.key_data(key)).tolist()
    rows = np.random.default_rng(seed).choice(num_points, size, replace=False)
    return np.asarray(in_compute_type(x[np.sort(rows)]))


def sample_source(key: PRNGKeyArray, source: DataSource, size: int) -> np.ndarray:
    """At most `size` points of any source, without replacement, in one sweep; of weight zero, none.

    Every point draws a number, and the smallest stay.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    chosen, numbers = None, np.zeros(0)
    for batch in source.sweep():
        rows = np.flatnonzero(np.asarray(batch.weight))
        drawn = np.concatenate([numbers, generator.random(len(rows))])
        x = np.asarray(batch.x)[rows]
        x = x if chosen is None else np.concatenate([chosen, x])
        best = np.sort(np.argsort(drawn)[:size])
        chosen, numbers = x[best], drawn[best]
    return np.asarray(chosen)


def _is_pieces(data: Any, family: Likelihood) -> bool:
    if not isinstance(data, list | tuple):
        is_arraylike = hasattr(data, "__array__")  # data frames, tensors of other libraries
        return callable(data) or (isinstance(data, Iterable) and not is_arraylike)
    shape = family.point_shape
    return bool(data) and shape is not None and np.ndim(data[0]) == 1 + len(shape)


def _joined(held: list[Piece]) -> Piece:
    x, weight = zip(*held, strict=True)
    return (np.concatenate(x), np.concatenate(weight)) if len(held) > 1 else held[0]


def _check_without(what: str, hint: str, *arguments: Any) -> None:
    if any(argument is not None for argument in arguments):
        names = "sample_weight" if len(arguments) == 1 else "sample_weight and batch_size"
        raise ValueError(f"{names} go with an array, got {what}, with its own; {hint}.")
