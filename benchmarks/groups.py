"""Nearest of thousands of vectors by way of groups of about sqrt(K) vectors, against the screen of `shortlist.py`.

Groups are those of k-means in the 64 coordinates of the screen, large ones halved along their main axis, all filled up
to one size. Each patch visits the groups whose centres are nearest: pairs of patch and group are sorted by group and
dealt into blocks, so that a block is one product with columns that lie side by side. Of each, the smallest entries of
bins are kept, as in the screen. Recall is the share of patches whose nearest vector is among the six that are found.

    python benchmarks/groups.py --json groups.json

What it shows, and why no score uses it: `benchmarks/README.md`.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, main, num_cores, record
from inference_data import DIM, random_features

from jaxdpmm.distances import nearest_centres, squared_distances, squared_norms
from jaxdpmm.grouping import group_by_component, pairs_of
from jaxdpmm.scoring.shortlist import FAR, LAST, nearest_rows, screen_of

NUM_PATCHES, NUM_FOUND = 1024, 6
COMPONENTS, VISITED = (3000, 10**4, 3 * 10**4, 10**5), (16, 32)
NUM_SWEEPS, BLOCK_SIZE, SLOTS = 4, 32, 2
BITS = 128  # room for a column's place among the groups of a patch, and for a bin


class Grouped(NamedTuple):
    """G groups of S columns, as those of a `Screen`; `numbers` is which vector each holds."""

    columns: Any
    squares: Any
    centres: Any
    numbers: Any


def grouped(columns: np.ndarray, squares: np.ndarray) -> Grouped:
    """Vectors in groups of about sqrt(K)."""
    number = math.isqrt(len(columns))
    size = -(-number // (16 * SLOTS)) * 16 * SLOTS
    centres = jnp.asarray(columns[:: len(columns) // number])
    assign = jax.jit(nearest_centres)
    for _ in range(NUM_SWEEPS):
        labels = np.asarray(assign(columns, centres))
        sums = np.zeros(centres.shape, np.float32)
        np.add.at(sums, labels, columns)
        centres = jnp.asarray(
            sums / np.maximum(np.bincount(labels, minlength=len(sums)), 1)[:, None]
        )
    groups = [
        part
        for k in range(len(sums))
        for part in halved(columns, np.flatnonzero(labels == k), size)
    ]
    numbers = np.stack([np.pad(part, (0, size - len(part)), constant_values=-1) for part in groups])
    is_filled = numbers >= 0
    held = np.where(is_filled[..., None], columns[numbers], 0)
    means = np.stack([columns[part].mean(axis=0) for part in groups])
    parts = -2 * held.transpose(0, 2, 1), np.where(is_filled, squares[numbers], FAR), means, numbers
    return Grouped(*(jnp.asarray(part) for part in parts))


def halved(columns: np.ndarray, members: np.ndarray, size: int) -> list[np.ndarray]:
    """Members in parts of at most `size`."""
    if len(members) <= size:
        return [members] if len(members) else []
    own = columns[members] - columns[members].mean(axis=0)
    along = own @ np.linalg.eigh(own.T @ own)[1][:, -1]
    return [
        part
        for half in np.array_split(members[np.argsort(along)], 2)
        for part in halved(columns, half, size)
    ]


def smallest(bits: jax.Array, number: int) -> jax.Array:
    """Rows of the smallest entries of each column: `_smallest` of `shortlist.py` the other way round."""
    room = 1 << (len(bits) - 1).bit_length()
    entries = bits & -room | jnp.arange(len(bits), dtype=jnp.int32)[:, None]
    found = [jnp.min(entries, axis=0)]
    while len(found) < number:
        found.append(jnp.min(jnp.where(entries > found[-1][None], entries, LAST), axis=0))
    return jnp.stack(found) & (room - 1)


def as_bits(squares: jax.Array) -> jax.Array:
    """Whole numbers in the same order."""
    return jax.lax.bitcast_convert_type(jnp.maximum(squares, 0), jnp.int32)


def search(visited: int, held: Grouped, offset: Any, axes: Any, x: jax.Array) -> jax.Array:
    """Numbers of NUM_FOUND vectors for each patch, (N, NUM_FOUND)."""
    centred = x - offset[None]
    points, norms = centred @ axes, squared_norms(centred)
    num_groups, _, size = held.columns.shape
    chosen = smallest(as_bits(squared_distances(held.centres, points)), visited).T
    group, point = pairs_of(chosen)
    blocks, padded, num_bins = (
        group_by_component(group, num_groups, BLOCK_SIZE),
        jnp.append(point, 0),
        size // SLOTS,
    )

    def fill(number: Any, found: jax.Array) -> jax.Array:
        members, k = padded[blocks.pairs[number]], blocks.component[number]
        squares = (
            points[members] @ held.columns[k] + norms[members][:, None] + held.squares[k][None]
        )
        bits = (as_bits(squares) & -BITS).reshape(len(members), SLOTS, num_bins)
        return found.at[number].set(jnp.min(bits | jnp.arange(SLOTS)[None, :, None], axis=1))

    found = jnp.zeros((*blocks.pairs.shape, num_bins), jnp.int32)
    found = jax.lax.fori_loop(0, blocks.num_used, fill, found).reshape(-1, num_bins)
    place = jnp.zeros(len(group), jnp.int32)
    place = place.at[blocks.pairs.ravel()].set(jnp.arange(blocks.pairs.size), mode="drop")
    turn = SLOTS * jnp.arange(visited)[None, :, None]
    best = jnp.min(found[place].reshape(len(x), visited, num_bins) | turn, axis=1).T
    bins = smallest(best, NUM_FOUND)
    turn = jnp.take_along_axis(best, bins, axis=0) & (BITS - 1)
    group = jnp.take_along_axis(chosen.T, turn // SLOTS, axis=0)
    return held.numbers[group, turn % SLOTS * num_bins + bins].T


@functools.cache
def prepared(number: int) -> tuple[Any, ...]:
    """Vectors, patches, a screen, the same vectors in groups, and the nearest of all."""
    vectors, x = (
        jnp.asarray(random_features(size, seed)) for size, seed in ((number, 2), (NUM_PATCHES, 1))
    )
    screen = jax.jit(screen_of)(vectors)
    centred = np.asarray(vectors - screen.offset[None])
    held = grouped(centred @ np.asarray(screen.axes), np.sum(centred**2, axis=1))
    return x, screen, held, np.asarray(nearest_centres(x, vectors))


def case(number: int, visited: int, quick: bool) -> Case:
    """Groups against the screen."""
    x, screen, held, nearest = prepared(number)
    compiled, by_screen = jax.jit(search, static_argnums=0), jax.jit(nearest_rows, static_argnums=2)
    visited = min(visited, len(held.centres))

    def ours() -> jax.Array:
        return compiled(visited, held, screen.offset, screen.axes, x)

    def peer() -> jax.Array:
        return by_screen(screen, x, NUM_FOUND)

    recalls = (
        float(np.mean(np.any(np.asarray(side()) == nearest[:, None], axis=1)))
        for side in (ours, peer)
    )
    extras = dict(zip(("recall", "recall_of_screen"), recalls, strict=True))
    extras |= {"num_components": number, "num_groups": len(held.centres), "visited": visited}
    return Case(
        ours, peer, extras | {"num_patches": NUM_PATCHES, "dim": DIM, "threads": num_cores()}
    )


for number in COMPONENTS:
    for visited in VISITED:
        record(f"groups-{number}-{visited}", peer="screen")(
            functools.partial(case, number, visited)
        )


if __name__ == "__main__":
    main()
