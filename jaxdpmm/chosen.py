"""What a function gives for each point and the few components chosen for it, and for no others.

Read `grouping.py` first: the pairs of a point and a component are put in blocks of one component each. Next file to
read: `inference/local_steps/sparse.py`, or `scoring/nearest.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float, Int, Num

from jaxdpmm.families.kernels import by_platform, side_by_side
from jaxdpmm.grouping import Groups, group_by_component, pairs_of, size_of_block, unless_symbolic

FEW_PAIRS = 8  # per component; fewer fill no block
SMALL = 3  # vectors of the points' size; a component of more is read once for many points
POINTS_AT_ONCE = 512


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
    if _is_pair_by_pair(params, x, chosen):
        return _pair_by_pair(matrix, params, x, chosen)
    return in_blocks(lambda one, members: matrix(one, members)[:, 0], params, x, chosen)


def in_blocks(
    function: Callable[[Any, Array], Num[Array, "S ..."]],
    params: Any,
    x: Num[Array, "N ..."],
    chosen: Int[Array, "N C"],
    block_size: int | None = None,
) -> Num[Array, "N C ..."]:
    """What a function gives for each point and each of its components, by blocks of pairs of one component.

    Args:
        function: of the parameters of one component, leaves lead with 1, and of S points.
        params: of all components, leaves lead with K.
        x: points.
        chosen: components of each point; K for none, whose result means nothing.
        block_size: as of `group_by_component`.
    """
    component, point = pairs_of(chosen)
    groups = group_by_component(component, jax.tree.leaves(params)[0].shape[0], block_size)
    padded = jnp.append(point, 0)

    def of_block(block: tuple[Array, Array]) -> Num[Array, "S ..."]:
        members, k = block
        one = jax.tree.map(lambda leaf: leaf[k][None], params)
        return function(one, x[padded[members]])

    def one_by_one(groups: Groups) -> Num[Array, "M S ..."]:
        def fill(number: Any, blocks: Array) -> Array:
            block = groups.pairs[number], groups.component[number]
            return blocks.at[number].set(of_block(block))

        one = jax.eval_shape(of_block, (groups.pairs[0], groups.component[0]))
        blocks = jnp.zeros((groups.pairs.shape[0], *one.shape), one.dtype)
        return jax.lax.fori_loop(0, groups.num_used, fill, blocks)

    def at_once(groups: Groups) -> Num[Array, "M S ..."]:
        size = size_of_block(groups, x, params)
        return side_by_side(of_block, (groups.pairs, groups.component), size)

    blocks = by_platform(
        groups, cpu=one_by_one, default=unless_symbolic(groups, at_once, one_by_one)
    )
    place = jnp.zeros(point.shape, jnp.int32)
    place = place.at[groups.pairs.ravel()].set(
        jnp.arange(groups.pairs.size, dtype=jnp.int32), mode="drop"
    )
    found = blocks.reshape(-1, *blocks.shape[2:])[place]
    return found.reshape(*chosen.shape, *found.shape[1:])


def _is_pair_by_pair(params: Any, x: Array, chosen: Array) -> bool:
    """Whether small components have so few pairs each that blocks of one component would be mostly padding."""
    leaves = jax.tree.leaves(params)
    size = sum(leaf[0].size for leaf in leaves)
    if is_symbolic_dim(chosen.shape[0]) or size > SMALL * x[0].size:
        return False
    return chosen.size < FEW_PAIRS * leaves[0].shape[0]


def _pair_by_pair(
    matrix: Callable[[Any, Array], Float[Array, "N K"]],
    params: Any,
    x: Num[Array, "N ..."],
    chosen: Int[Array, "N C"],
) -> Float[Array, "N C"]:
    """`chosen_entries` with a component fetched for each pair."""

    def of_pair(point: Array, k: Array) -> Float[Array, ""]:
        return matrix(jax.tree.map(lambda leaf: leaf[k][None], params), point[None])[0, 0]

    def of_point(pair: tuple[Array, Array]) -> Float[Array, " C"]:
        return jax.vmap(of_pair, (None, 0))(*pair)

    return jax.lax.map(of_point, (x, chosen), batch_size=min(len(x), POINTS_AT_ONCE))
