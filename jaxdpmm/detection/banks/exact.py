"""The memory bank: anomaly score = distance to the nearest of all normal patches, exactly.

The baseline that a mixture is measured against (AnomalyDINO, PatchCore without its coreset), in the
same form as the mixture's scores: a `Scorer`. One matrix product a chunk of the bank with a running
best, so memory holds the bank and `tile x chunk` products, never all distances at once.
Read `sharded.py` next for banks larger than one device, `coreset.py` for smaller ones.

References:
    Damm et al. (2025), AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection. WACV.
    Roth et al. (2022), Towards Total Recall in Industrial Anomaly Detection. CVPR.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm.distances import squared_norms
from jaxdpmm.families.kernels import blocks_at_once, by_platform
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring.scorer import Scorer

CHUNK_SIZE = 4096  # rows of the bank in one product
QUERY_TILE = 1024  # points in one product; with CHUNK_SIZE, 16 MB of float32


class Bank(NamedTuple):
    """Prepared bank, cut into C chunks of R rows and filled up with rows that never win.

    The closeness of point x and row b is `x @ b - bias`, the larger the nearer.

    Attributes:
        rows: normal features, unit norm (cosine) or centred (Euclidean).
        biases: what is taken off the product; infinite for filling rows.
        offset: taken off every point first.
    """

    rows: Float[Array, "C R D"]
    biases: Float[Array, "C R"]
    offset: Float[Array, " D"]


@lru_cache
def memory_bank(
    metric: str = "cosine", num_neighbours: int = 1, chunk_size: int = CHUNK_SIZE
) -> Scorer:
    """Score of a point: mean distance to its nearest rows in a bank of normal features.

    `prepare` takes features (M, D) and costs one copy of them; `score` takes points (N, D). Distances
    come from products, so in float32 "cosine" is good to about 1e-6 and "euclidean" to about 1e-3
    times the spread of the bank: the distance of a point to itself is small, not zero.

    Args:
        metric: "cosine", 1 - cos(x, b), a zero vector being at distance 1 from everything; or
            "euclidean", |x - b|.
        num_neighbours: over how many nearest rows the distance is averaged.
        chunk_size: rows of the bank in one product; memory grows with it, results do not depend
            on it.

    Raises:
        ValueError: unknown metric, a count below one, or (from `prepare`) fewer rows than
            neighbours.
    """
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {sorted(_METRICS)}, got {metric!r}; choose one.")
    if num_neighbours < 1 or chunk_size < 1:
        raise ValueError(
            f"num_neighbours and chunk_size must be at least 1, got {num_neighbours} and "
            f"{chunk_size}; use 1 for the nearest row only."
        )

    def prepare(features: Float[Array, "M D"]) -> Bank:
        if features.shape[0] < num_neighbours:
            raise ValueError(
                f"features must hold at least num_neighbours={num_neighbours} rows, got "
                f"{features.shape[0]}; add normal images or ask for fewer neighbours."
            )
        return cut_in_chunks(metric, features, chunk_size)

    def score(bank: Bank, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        return mean_distances(metric, bank, x, closest_rows(metric, bank, x, num_neighbours))

    return Scorer(prepare, score)


def cut_in_chunks(
    metric: str, features: Float[Array, "M D"], chunk_size: int, multiple: int = 1
) -> Bank:
    """A bank in equal chunks, whose number is a multiple of something, such as a number of devices."""
    rows, biases, offset = _METRICS[metric][0](features)
    num_chunks = -(-rows.shape[0] // (chunk_size * multiple)) * multiple
    size = -(-rows.shape[0] // num_chunks)  # so that few rows are filled up
    filling = num_chunks * size - rows.shape[0]
    return Bank(
        jnp.pad(rows, ((0, filling), (0, 0))).reshape(num_chunks, size, -1),
        jnp.pad(biases, (0, filling), constant_values=jnp.inf).reshape(num_chunks, size),
        offset,
    )


def closest_rows(
    metric: str, bank: Bank, x: Float[Array, "N D"], num: int
) -> Float[Array, "N num"]:
    """The largest closenesses of each point over the whole bank, best first.

    Euclidean ones are subtracted from squared norms, hence full float32; cosines are taken as the platform has them.
    """

    def over_queries(closest: Callable, bank: Bank, x: Float[Array, "N D"]) -> Array:
        return jax.lax.map(lambda q: closest(bank, q - bank.offset, num), x, batch_size=QUERY_TILE)

    at_once = partial(_closest_at_once, num_queries=min(x.shape[0], QUERY_TILE))
    with nullcontext() if metric == "cosine" else full_precision():
        return by_platform(
            bank, x, cpu=partial(over_queries, _closest), default=partial(over_queries, at_once)
        )


def mean_distances(
    metric: str, bank: Bank, x: Float[Array, "N D"], closest: Float[Array, "N num"]
) -> Float[Array, " N"]:
    """Mean distance of each point to rows whose closenesses are known."""
    distances = _METRICS[metric][1]

    def of_one(point: Float[Array, " D"], best: Float[Array, " num"]) -> Float[Array, ""]:
        return jnp.mean(distances(point - bank.offset, best))

    return jax.vmap(of_one)(x, closest)


def _closest(bank: Bank, point: Float[Array, " D"], num: int) -> Float[Array, " num"]:
    """The largest closenesses of one point over the whole bank, best first; a chunk at a time."""

    def visit(best: Any, chunk: Any) -> Any:
        rows, biases = chunk
        found = _largest(rows @ point - biases, min(num, biases.shape[0]))
        return _largest(jnp.concatenate([best, found]), num), None

    nothing = jnp.full(num, -jnp.inf, point.dtype)
    return jax.lax.scan(visit, nothing, (bank.rows, bank.biases))[0]


def _closest_at_once(
    bank: Bank, point: Float[Array, " D"], num: int, num_queries: int
) -> Float[Array, " num"]:
    """As `_closest`, with as many chunks in one product as `num_queries` products of them fit into memory."""
    num_chunks, size, _ = bank.rows.shape
    together = min(num_chunks, blocks_at_once(point.dtype, num_queries * size))

    def visit(best: Any, number: Any) -> Any:
        # The last chunks begin early, so that all products are of one size; what was seen is left out
        start = jnp.minimum(number * together, num_chunks - together)
        rows, biases = (
            jax.lax.dynamic_slice_in_dim(part, start, together) for part in (bank.rows, bank.biases)
        )
        is_new = start + jnp.arange(together) >= number * together
        biases = jnp.where(is_new[:, None], biases, jnp.inf).ravel()
        found = rows.reshape(-1, rows.shape[2]) @ point - biases
        found = _largest(found, min(num, biases.shape[0]))
        return _largest(jnp.concatenate([best, found]), num), None

    nothing = jnp.full(num, -jnp.inf, point.dtype)
    return jax.lax.scan(visit, nothing, jnp.arange(-(-num_chunks // together)))[0]


def _largest(values: Float[Array, " V"], num: int) -> Float[Array, " num"]:
    # A plain maximum is several times faster than a search for the first one of a sorted list.
    return jnp.max(values, keepdims=True) if num == 1 else jax.lax.top_k(values, num)[0]


def _cosine_rows(features: Array) -> tuple[Array, Array, Array]:
    norms = jnp.linalg.norm(features, axis=1, keepdims=True)
    rows = features / jnp.maximum(norms, jnp.finfo(features.dtype).tiny)
    return rows, jnp.zeros_like(rows[:, 0]), jnp.zeros_like(rows[0])


def _cosine_distances(point: Array, closest: Array) -> Array:
    norm = jnp.maximum(jnp.linalg.norm(point), jnp.finfo(point.dtype).tiny)
    return jnp.maximum(1 - closest / norm, 0)


def _euclidean_rows(features: Array) -> tuple[Array, Array, Array]:
    offset = jnp.mean(features, axis=0)  # keeps the squares small, so that little cancels
    rows = features - offset[None]
    return rows, squared_norms(rows) / 2, offset


def _euclidean_distances(point: Array, closest: Array) -> Array:
    return jnp.sqrt(jnp.maximum(jnp.sum(point**2) - 2 * closest, 0))


_METRICS = {
    "cosine": (_cosine_rows, _cosine_distances),
    "euclidean": (_euclidean_rows, _euclidean_distances),
}
