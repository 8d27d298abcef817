"""Pairs (point, component) put in order: blocks of pairs that share their component.

With few components per point, the work is a list of pairs. Sorted by component and cut into blocks of one component
each, they are matrix products again, so that the families' own matrix functions serve and no family has to know of
sparsity (`jax.lax.ragged_dot` was 20 times slower on CPU). Next file to read: `chosen.py`, or
`inference/local_steps/sparse.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float, Int, Num

from jaxdpmm.families.kernels import blocks_at_once, by_platform
from jaxdpmm.model import Mixture, Stats, centre, entropy_and_base
from jaxdpmm.precision import full_precision

SMALLEST, LARGEST = 32, 512  # pairs per block
LARGEST_KEY = 2**31  # of a sort by whole numbers of 32 bits


class Groups(NamedTuple):
    """Pairs in blocks of one component each.

    Attributes:
        pairs: number of each pair, (num_blocks, block_size); P, the number of pairs, marks padding.
        component: the component of each block, (num_blocks,).
        num_used: blocks that hold a pair at all; the rest is there because shapes are static.
    """

    pairs: Int[Array, "M S"]
    component: Int[Array, " M"]
    num_used: Int[Array, ""]


def group_by_component(
    component: Int[Array, " P"], num_components: int, block_size: int | None = None
) -> Groups:
    """Sort pairs by component and cut them into blocks; at most P / block_size + K of them.

    Args:
        component: of each pair; pairs of the component K are in no block.
        num_components: K.
        block_size: pairs per block; by default some blocks per component, so that neither products are small nor
            padding large.
    """
    num_pairs = component.shape[0]
    if block_size is None:
        block_size = _block_size(num_pairs, num_components)
    num_blocks = -(-num_pairs // block_size) + num_components
    counts = jnp.bincount(component, length=num_components)
    blocks = (counts + block_size - 1) // block_size
    last_block = jnp.cumsum(blocks)
    order = _order(component, num_components)
    ordered = component[order]
    rank = jnp.arange(num_pairs) - (jnp.cumsum(counts) - counts)[ordered]
    place = (last_block - blocks)[ordered] * block_size + rank
    place = jnp.where(ordered < num_components, place, num_blocks * block_size)
    pairs = jnp.full(num_blocks * block_size, num_pairs).at[place].set(order, mode="drop")
    owner = jnp.searchsorted(last_block, jnp.arange(num_blocks), side="right")
    owner = jnp.minimum(owner, num_components - 1)
    return Groups(pairs.reshape(num_blocks, block_size), owner, last_block[-1])


def _order(component: Int[Array, " P"], num_components: int) -> Int[Array, " P"]:
    """`argsort`, in a third of its time where component and pair fit into one whole number."""
    num_pairs = component.shape[0]
    if is_symbolic_dim(num_pairs):
        return jnp.argsort(component)
    room = num_pairs.bit_length()
    if (num_components + 1) << room > LARGEST_KEY:
        return jnp.argsort(component)
    number = jnp.arange(num_pairs, dtype=jnp.int32)
    keys = jnp.sort(component.astype(jnp.int32) << room | number, stable=False)
    return (keys & (1 << room) - 1).astype(jnp.arange(1).dtype)


def _block_size(num_pairs: Any, num_components: int) -> int:
    """A power of two; the smallest one where the number of pairs is a symbol (`jax.export`)."""
    if is_symbolic_dim(num_pairs):
        return SMALLEST
    eighth = num_pairs // (8 * num_components)
    return min(LARGEST, max(SMALLEST, 1 << eighth.bit_length()))


def pairs_of(chosen: Int[Array, "N C"]) -> tuple[Int[Array, " P"], Int[Array, " P"]]:
    """Component and point of each pair, the pairs of a point side by side."""
    num_points, num_chosen = chosen.shape
    return chosen.ravel(), jnp.repeat(jnp.arange(num_points), num_chosen)


def pair_statistics(
    mixture: Mixture,
    x: Num[Array, "B ..."],
    point: Int[Array, " P"],
    weight: Float[Array, " P"],
    groups: Groups,
    offset: Array | None,
    params: Any = None,
) -> tuple[Any, Float[Array, ""]]:
    """Sum of weight T(x) over the pairs of each component, leaves lead with K; and the local variables' entropy.

    Args:
        mixture: static description.
        x: raw points; they are centred a block at a time, so that no centred copy of all is made.
        point: the point of each pair.
        weight: responsibility times sample weight of each pair.
        groups: the pairs, grouped.
        offset: the reference point.
        params: what the responsibilities were read out with, leaves lead with K; None where there is nothing.
    """
    padded_point, padded_weight = jnp.append(point, 0), jnp.append(weight, 0)

    def of_block(block: tuple[Array, Array]) -> tuple[Any, Float[Array, ""]]:
        members, k = block
        chosen = centre(x[padded_point[members]], offset)
        weights = padded_weight[members]
        one = jax.tree.map(lambda leaf: leaf[k][None], params)
        return mixture.family.local_statistics(one, chosen, weights[:, None])

    shape, scalar = jax.eval_shape(of_block, (groups.pairs[0], groups.component[0]))
    total = jax.tree.map(
        lambda leaf: jnp.zeros((mixture.num_components, *leaf.shape[1:]), leaf.dtype), shape
    )
    zero = jnp.zeros((), scalar.dtype)

    def one_by_one(groups: Groups) -> tuple[Any, Float[Array, ""]]:
        def add(number: Any, carry: tuple[Any, Array]) -> tuple[Any, Array]:
            total, entropy = carry
            k = groups.component[number]
            block, more = of_block((groups.pairs[number], k))
            total = jax.tree.map(lambda sums, new: sums.at[k].add(new[0]), total, block)
            return total, entropy + more

        return jax.lax.fori_loop(0, groups.num_used, add, (total, zero))

    def at_once(groups: Groups) -> tuple[Any, Float[Array, ""]]:
        size = size_of_block(groups, x, (params, jax.tree.map(lambda leaf: leaf[:1], total)))
        return _sum_of_blocks(of_block, groups, (total, zero), size)

    return by_platform(groups, cpu=one_by_one, default=at_once)


def size_of_block(groups: Groups, x: Array, trees: Any) -> int:
    """Numbers that a block needs: its points, and what `trees` hold of one component."""
    of_component = sum(leaf[0].size for leaf in jax.tree.leaves(trees))
    return groups.pairs.shape[1] * x[0].size + of_component


def unless_symbolic(groups: Groups, function: Callable, otherwise: Callable) -> Callable:
    """A number of blocks that is a symbol (`jax.export`) cannot be cut into batches of them."""
    return otherwise if is_symbolic_dim(groups.pairs.shape[0]) else function


@full_precision()
def _sum_of_blocks(
    of_block: Callable, groups: Groups, start: tuple[Any, Array], size: int
) -> tuple[Any, Array]:
    """Sums over blocks, as many side by side as fit, which are added by a product with ones and zeros.

    Such a product gives the same in every run, other than additions in place, which a GPU does in any order.
    """
    num_components = jax.tree.leaves(start)[0].shape[0]
    num_pairs = groups.pairs.size  # out of range, so that blocks of them add nothing
    num_blocks = groups.pairs.shape[0]
    together = min(num_blocks, blocks_at_once(start[1].dtype, size))
    missing = -num_blocks % together
    pairs = jnp.pad(groups.pairs, ((0, missing), (0, 0)), constant_values=num_pairs)
    component = jnp.pad(groups.component, (0, missing))

    def add(
        carry: tuple[Any, Array], blocks: tuple[Array, Array]
    ) -> tuple[tuple[Any, Array], None]:
        total, entropy = carry
        found, more = jax.vmap(of_block)(blocks)
        own = jax.nn.one_hot(blocks[1], num_components, dtype=entropy.dtype)
        total = jax.tree.map(
            lambda sums, new: sums + jnp.tensordot(own.T, new[:, 0], 1), total, found
        )
        return (total, entropy + jnp.sum(more)), None

    batches = pairs.reshape(-1, together, pairs.shape[1]), component.reshape(-1, together)
    return jax.lax.scan(add, start, batches)[0]


def chosen_statistics(
    mixture: Mixture,
    chosen: Int[Array, "N C"],
    responsibilities: Float[Array, "N C"],
    x: Num[Array, "N ..."],
    weight: Float[Array, " N"],
    offset: Array | None,
    params: Any = None,
) -> Stats:
    """`model.summarize` under responsibilities that are zero but for the chosen columns of each row.

    Args:
        mixture: static description.
        chosen: components of each point.
        responsibilities: those of the chosen components.
        x: raw points.
        weight: sample weights.
        offset: the reference point.
        params: what the responsibilities were read out with, for families with local variables.
    """
    weighted = (responsibilities * weight[:, None]).ravel()
    component, point = pairs_of(chosen)
    groups = group_by_component(component, mixture.num_components)
    statistics, local = pair_statistics(mixture, x, point, weighted, groups, offset, params)
    entropy, log_base = entropy_and_base(mixture, responsibilities, centre(x, offset), weight)
    counts = jnp.zeros(mixture.num_components, weighted.dtype).at[component].add(weighted)
    return Stats(counts, statistics, entropy + local, log_base)


def label_statistics(
    mixture: Mixture,
    labels: Int[Array, " N"],
    x: Num[Array, "N ..."],
    weight: Float[Array, " N"],
    offset: Array | None,
    params: Any = None,
) -> Stats:
    """Statistics of raw points that belong to one component each: cost N D^2 for full covariance, not N K D^2.

    Args:
        mixture: static description.
        labels: component of each point.
        x: raw points.
        weight: sample weights.
        offset: the reference point.
        params: of the read-out, for families with local variables; None where there is nothing to read.
    """
    ones = jnp.ones((labels.shape[0], 1), weight.dtype)
    return chosen_statistics(mixture, labels[:, None], ones, x, weight, offset, params)
