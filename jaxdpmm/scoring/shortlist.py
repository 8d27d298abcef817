"""The nearest of thousands of vectors, most of which are never looked at in full.

Of a squared distance, |x|^2 - 2 x'm + |m|^2, only the product is taken in the few coordinates of a screen. That leaves
out x'm across the axes, which in hundreds of dimensions is nearly zero for most m, where the lower bound that the
triangle inequality gives has |x| |m| in its place and finds fewer. So the few vectors nearest by this estimate hold the
nearest one, but for few points, and only these few vectors are compared in all dimensions. `shortlist_recall` measures
what that misses; `benchmarks/inference.py` does so for 1,000 to 100,000 means of drawn features.

The screening is one product of K x 64 in place of K x D, and a search for its smallest entries. A search in sorted
order costs several times the product. So columns are dealt into bins, of which only the nearest column survives, and
the number of that column rides in the last bits of its distance. Neighbours stand side by side in the screen and so
fall into different bins.

Time grows with K then, by a quarter of what all dimensions cost. From `groups.LEAST_GROUPED` vectors on a processor
looks at the groups nearest to each point alone, in blocks of pairs of a point and a group, in a time that grows with
the root of K. An accelerator looks at all: to sort pairs takes it longer than the products that this saves.

Scores that look at few components have a screen, for every family with means and in every type: `cosine`,
`nearest_predictive`, `residual` and `spherical`. The others have none: `predictive`, `plug_in` and `expected` are
sums over all components (`nearest_predictive` is their shortlist), the least distance of `mahalanobis` is in each
component's own metric, in which the nearest may have a mean far away, and `euclidean` is exact, for comparisons.
Next file to read: `nearest.py`.

References:
    Chern et al. (2022), TPU-KNN: K nearest neighbor search at peak FLOP/s. arXiv 2206.14286 (the bins).
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.chosen import in_blocks
from jaxdpmm.distances import nearest_centres, squared_norms
from jaxdpmm.families.kernels import by_platform
from jaxdpmm.programs import jitted
from jaxdpmm.scoring.groups import FAR, nearest_blocks
from jaxdpmm.scoring.scorer import in_tiles
from jaxdpmm.scoring.screen import FEWEST_BINS, FLOAT, WIDTH, Screen, num_bins_of, screen_of

LEAST_SCREENED = 1024  # vectors; of fewer, all distances are as fast
PAIRS_OF_BLOCK = 32  # of a point and a group
BINS_OF_GROUPS = 256  # of the groups that a point visits
LAST = np.iinfo(np.int32).max


def is_screened(num_vectors: int, num_nearest: int) -> bool:
    """Whether a screen pays for so many vectors, of which so many are wanted."""
    return num_vectors >= LEAST_SCREENED and num_nearest <= FEWEST_BINS // 4


def nearest_rows(
    screen: Screen, x: Float[Array, "N D"], num_nearest: int
) -> Int[Array, "N num_nearest"]:
    """Numbers of the vectors nearest to each point in the coordinates of the screen, all different, the nearest first.

    Of two vectors in one bin only the nearer one is found, and of those in groups none that is in a group too far away;
    where the groups of a point hold fewer than are wanted, K stands for the rest. The product that ranks is the
    platform's own (`precision.py`).

    Args:
        screen: of at least as many vectors.
        x: points.
        num_nearest: how many, at most FEWEST_BINS.
    """
    centred = x.astype(FLOAT) - screen.offset[None].astype(FLOAT)
    points = jnp.matmul(centred.astype(screen.axes.dtype), screen.axes)
    norms = squared_norms(centred)
    if screen.centres is None:
        return _of_all(num_nearest, screen, points, norms)
    return by_platform(
        screen,
        screen.centres,
        points,
        norms,
        cpu=partial(_of_groups, num_nearest),
        default=lambda screen, _, *rest: _of_all(num_nearest, _joined(screen), *rest),
    )


def _of_all(
    num_nearest: int, screen: Screen, points: Float[Array, "N A"], norms: Float[Array, " N"]
) -> Int[Array, "N num_nearest"]:
    """`nearest_rows` by looking at all blocks."""
    num_blocks, width = screen.squares.shape
    num_bins = num_bins_of(num_blocks)
    of_block = partial(_in_bins, num_bins, num_bins)

    def visit(best: tuple[Array, Array], block: Any) -> tuple[tuple[Array, Array], None]:
        number, columns, squares = block
        found = of_block(points, norms, columns, squares)
        numbers = jnp.where(found < best[0], number, best[1])
        return (jnp.minimum(found, best[0]), numbers), None

    first = of_block(points, norms, screen.columns[0], screen.squares[0])
    best = first, jnp.zeros_like(first)
    if num_blocks > 1:
        rest = (jnp.arange(num_blocks, dtype=jnp.int32), screen.columns, screen.squares)
        best, _ = jax.lax.scan(visit, best, jax.tree.map(lambda part: part[1:], rest))
    bins = _smallest(best[0], num_nearest)
    slot, block = (jnp.take_along_axis(part, bins, axis=1) for part in best)
    return screen.numbers[block * width + (slot & (num_bins - 1)) * num_bins + bins]


def _of_groups(
    num_nearest: int,
    screen: Screen,
    centres: Float[Array, "C A"],
    points: Float[Array, "N A"],
    norms: Float[Array, " N"],
) -> Int[Array, "N num_nearest"]:
    """`nearest_rows` by looking at the blocks nearest to each point, in several sets with bins of their own."""
    width = screen.squares.shape[1]
    num_bins = min(width, FEWEST_BINS)
    num_slots = width // num_bins
    chosen = nearest_blocks(points, centres)
    num_visited = chosen.shape[1]
    num_sets = math.gcd(num_visited, BINS_OF_GROUPS // num_bins)

    def of_block(block: tuple[Array, Array], members: Float[Array, "S E"]) -> Int[Array, "S B"]:
        columns, squares = block
        own = members[:, :-1].astype(columns.dtype)
        return _in_bins(num_bins, BINS_OF_GROUPS, own, members[:, -1], columns[0], squares[0])

    members = jnp.concatenate([points.astype(FLOAT), norms[:, None]], axis=1)
    found = in_blocks(of_block, (screen.columns, screen.squares), members, chosen, PAIRS_OF_BLOCK)
    found = found.reshape(points.shape[0], num_visited // num_sets, num_sets, num_bins)
    turns = num_slots * jax.lax.broadcasted_iota(jnp.int32, (1, found.shape[1], 1, 1), 1)
    best = jnp.min(found | turns, axis=1).reshape(points.shape[0], num_sets * num_bins)
    bins = _smallest(best, num_nearest)
    place = jnp.take_along_axis(best, bins, axis=1) & (BINS_OF_GROUPS - 1)
    turn = place // num_slots * num_sets + bins // num_bins
    block = jnp.take_along_axis(chosen, turn, axis=1)
    return screen.numbers[block * width + place % num_slots * num_bins + bins % num_bins]


def _joined(screen: Screen) -> Screen:
    """The same columns in fewer blocks, as wide as those that are no groups."""
    num_blocks, width = screen.squares.shape
    together = max(1, WIDTH // width)
    while num_bins_of(-(-num_blocks // together)) > together * width:
        together *= 2
    missing = -num_blocks % together
    columns = jnp.pad(screen.columns, ((0, missing), (0, 0), (0, 0)))
    columns = columns.reshape(-1, together, *columns.shape[1:]).swapaxes(1, 2)
    squares = jnp.pad(screen.squares, ((0, missing), (0, 0)), constant_values=FAR)
    return screen._replace(
        columns=columns.reshape(*columns.shape[:2], -1),
        squares=squares.reshape(-1, together * width),
        numbers=jnp.pad(screen.numbers, (0, missing * width)),
        centres=None,
    )


def _in_bins(
    num_bins: int,
    room: int,
    points: Float[Array, "N A"],
    norms: Float[Array, " N"],
    columns: Float[Array, "A S"],
    squares: Float[Array, " S"],
) -> Int[Array, "N B"]:
    """The nearest column of each bin: the bits of its squared distance, the last of them its place in the bin.

    The place is a number below `room`, a power of two.
    """
    products = jnp.matmul(points, columns, preferred_element_type=FLOAT)
    bits = _bits(products + norms[:, None] + squares[None].astype(FLOAT), room)
    slots = jax.lax.broadcasted_iota(jnp.int32, (1, bits.shape[1] // num_bins, 1), 1)
    return jnp.min(bits.reshape(points.shape[0], -1, num_bins) | slots, axis=1)


def shortlist_recall(
    vectors: Float[Array, "K D"],
    x: Float[Array | np.ndarray, "N D"],
    num_nearest: int,
    num_axes: int | None = None,
) -> float:
    """Share of the points whose nearest vector is among those that a screen of the vectors finds.

    Args:
        vectors: at least FEWEST_BINS.
        x: points, such as patches of held-out images.
        num_nearest: how many are found for each point.
        num_axes: coordinates of the screen; as of `screen_of`.

    Raises:
        ValueError: fewer than FEWEST_BINS vectors, or `num_nearest` is not between 1 and FEWEST_BINS.
    """
    if len(vectors) < FEWEST_BINS or not 1 <= num_nearest <= FEWEST_BINS:
        raise ValueError(
            f"vectors must be at least {FEWEST_BINS} and num_nearest from 1 to {FEWEST_BINS}, got {len(vectors)} and "
            f"{num_nearest}; compare fewer vectors directly."
        )
    screen = jax.jit(screen_of, static_argnums=2)(vectors, None, num_axes)
    found = jitted(_is_found, num_nearest)
    return float(np.mean(np.asarray(in_tiles(found, (screen, vectors), x))))


def _is_found(
    num_nearest: int, searched: tuple[Screen, Array], x: Float[Array, "N D"]
) -> Float[Array, " N"]:
    screen, vectors = searched
    nearest = nearest_centres(x, vectors)[:, None]
    found = jnp.any(nearest_rows(screen, x, num_nearest) == nearest, axis=1)
    return found.astype(FLOAT)


def _bits(squares: Float[Array, "N M"], room: int) -> Int[Array, "N M"]:
    """Whole numbers in the order of numbers that are not negative; the last bits are zero, for numbers below `room`."""
    return jax.lax.bitcast_convert_type(jnp.maximum(squares, 0), jnp.int32) & -room


def _smallest(bits: Int[Array, "N B"], number: int) -> Int[Array, "N number"]:
    """Columns of the smallest entries, the smallest first: each is the smallest above the last, as none are equal."""
    num_bins = bits.shape[1]
    entries = bits & -num_bins | jnp.arange(num_bins, dtype=jnp.int32)[None]
    found = [jnp.min(entries, axis=1)]
    while len(found) < number:
        larger = jnp.where(entries > found[-1][:, None], entries, LAST)
        found.append(jnp.min(larger, axis=1))
    return jnp.stack(found, axis=1) & (num_bins - 1)
