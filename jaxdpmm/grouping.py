"""Pairs (point, component) put in order: blocks of pairs that share their component.

With few components a point, the work is a list of pairs. Sorted by component and cut into blocks of one component
each, they are matrix products again, so that the families' own matrix functions serve and no family has to know of
sparsity (`jax.lax.ragged_dot` was 20 times slower on CPU). Next file to read: `inference/local_steps/sparse.py`, or
`scoring/nearest.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float, Int, Num

from jaxdpmm.model import Mixture, centre

SMALLEST, LARGEST = 32, 512  # pairs a block


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
        component: of each pair.
        num_components: K.
        block_size: pairs a block; by default some blocks a component, so that neither products are small nor
            padding large.
    """
    num_pairs = component.shape[0]
    if block_size is None:
        block_size = _block_size(num_pairs, num_components)
    num_blocks = -(-num_pairs // block_size) + num_components
    counts = jnp.bincount(component, length=num_components)
    blocks = (counts + block_size - 1) // block_size
    last_block = jnp.cumsum(blocks)
    order = jnp.argsort(component)
    ordered = component[order]
    rank = jnp.arange(num_pairs) - (jnp.cumsum(counts) - counts)[ordered]
    place = (last_block - blocks)[ordered] * block_size + rank
    pairs = jnp.full(num_blocks * block_size, num_pairs).at[place].set(order)
    owner = jnp.searchsorted(last_block, jnp.arange(num_blocks), side="right")
    owner = jnp.minimum(owner, num_components - 1)
    return Groups(pairs.reshape(num_blocks, block_size), owner, last_block[-1])


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


def chosen_entries(
    matrix: Callable[[Any, Array], Float[Array, "N K"]],
    params: Any,
    x: Num[Array, "N ..."],
    chosen: Int[Array, "N C"],
) -> Float[Array, "N C"]:
    """The entries of `matrix(params, x)` in the chosen columns of each row, and no others computed.

    Args:
        matrix: of every point under every component, such as a family's `log_likelihood_matrix`.
        params: of all components, leaves lead with K.
        x: what `matrix` takes.
        chosen: components of each point.
    """
    leaves = jax.tree.leaves(params)
    component, point = pairs_of(chosen)
    groups = group_by_component(component, leaves[0].shape[0])
    padded = jnp.append(point, 0)
    blocks = jnp.zeros(groups.pairs.shape, leaves[0].dtype)

    def fill(number, blocks):
        one = jax.tree.map(lambda leaf: leaf[groups.component[number]][None], params)
        members = x[padded[groups.pairs[number]]]
        return blocks.at[number].set(matrix(one, members)[:, 0])

    blocks = jax.lax.fori_loop(0, groups.num_used, fill, blocks)
    entries = jnp.zeros(point.shape, blocks.dtype)
    entries = entries.at[groups.pairs.ravel()].set(blocks.ravel(), mode="drop")
    return entries.reshape(chosen.shape)


def pair_statistics(
    mixture: Mixture,
    x: Num[Array, "B ..."],
    point: Int[Array, " P"],
    weight: Float[Array, " P"],
    groups: Groups,
    params: Any = None,
    offset: Array | None = None,
) -> tuple[Any, Float[Array, ""]]:
    """Sum of weight T(x) over the pairs of each component, leaves lead with K; and the local variables' entropy.

    Args:
        mixture: static description.
        x: centred points.
        point: the point of each pair.
        weight: responsibility times sample weight of each pair.
        groups: the pairs, grouped.
        params: what the responsibilities were read out with, leaves lead with K; None where there is nothing.
        offset: subtracted from the points of a block; None if they are centred already.
    """
    padded_point, padded_weight = jnp.append(point, 0), jnp.append(weight, 0)

    def of_block(number):
        members = groups.pairs[number]
        chosen = centre(x[padded_point[members]], offset)
        weights = padded_weight[members]
        one = jax.tree.map(lambda leaf: leaf[groups.component[number]][None], params)
        return mixture.family.local_statistics(one, chosen, weights[:, None])

    shape, scalar = jax.eval_shape(of_block, 0)
    total = jax.tree.map(
        lambda leaf: jnp.zeros((mixture.num_components, *leaf.shape[1:]), leaf.dtype), shape
    )

    def add(number, carry):
        total, entropy = carry
        (block, more), k = of_block(number), groups.component[number]
        total = jax.tree.map(lambda sums, new: sums.at[k].add(new[0]), total, block)
        return total, entropy + more

    zero = jnp.zeros((), scalar.dtype)
    return jax.lax.fori_loop(0, groups.num_used, add, (total, zero))
