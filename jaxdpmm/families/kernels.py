"""Work of one component after the other, in the shape that suits the platform.

A processor is fastest with one component at a time, whose numbers stay in its cache. A GPU is not: each step of such a
loop is too small for it and has to be started, so there components go side by side, in batched products. `by_platform`
is the seam between the two. The platform is chosen when the program is lowered, as in `../features/attention.py`, so
that one exported file serves all; on a CPU the program is what it would be without the other version.

Side by side means more memory. **At most LARGEST bytes, 256 MB, are held at a time by any array that a default version
adds**: components are taken in blocks of as many as fit (`side_by_side`), of which there may be one if a tile of points
is large. Next file to read: `gaussian_full.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float

LARGEST = 2**28  # bytes
SYMBOLIC = 4096  # points that a program for any number of them is made for, those of a tile in `../scoring/scorer.py`

_version: ContextVar[str | None] = ContextVar("version", default=None)


def by_platform(*args: Any, cpu: Callable, default: Callable) -> Any:
    """`cpu(*args)` in a program for a processor, `default(*args)` in one for anything else; both give the same."""
    version = _version.get()
    if version is not None:
        return {"cpu": cpu, "default": default}[version](*args)
    return jax.lax.platform_dependent(*args, cpu=cpu, default=default)


@contextmanager
def one_version(version: str) -> Iterator[None]:
    """Programs traced inside hold one version only, for converters that know of no platforms, and for tests.

    Args:
        version: "cpu" or "default".
    """
    token = _version.set(version)
    try:
        yield
    finally:
        _version.reset(token)


def over_components(of_component: Callable, components: Any, size: Any) -> Any:
    """What a function gives for each component, stacked along a leading axis K.

    Args:
        of_component: of a tree like `components`, without its leading axis.
        components: leaves lead with K.
        size: numbers that `of_component` holds at a time, for example N times D.
    """
    return by_platform(
        components,
        cpu=partial(jax.lax.map, of_component),
        default=partial(side_by_side, of_component, size=size),
    )


def side_by_side(of_component: Callable, components: Any, size: Any) -> Any:
    """`over_components` in blocks of as many components as LARGEST bytes hold, each block at once."""
    first = jax.tree.leaves(components)[0]
    num_components = first.shape[0]
    block = blocks_at_once(first.dtype, size)
    if block >= num_components:
        return jax.vmap(of_component)(components)
    return jax.lax.map(of_component, components, batch_size=block)


def blocks_at_once(dtype: Any, size: int) -> int:
    """How many blocks of `size` numbers LARGEST bytes hold, at least one."""
    return max(1, LARGEST // (jnp.dtype(dtype).itemsize * size))


def size_of(x: Array) -> int:
    """How many numbers points hold, N times D."""
    num_points = SYMBOLIC if is_symbolic_dim(x.shape[0]) else x.shape[0]
    return num_points * x[0].size


def scatter(
    x: Float[Array, "N D"], weights: Float[Array, "N K"], rows: int
) -> Float[Array, "K D D"]:
    """X' diag(w_k) x of each component.

    A processor leaves out the points that together weigh less than what rounding takes from the sum, which in many
    dimensions are most of them. Elsewhere all points are multiplied at once.

    Args:
        x: points.
        weights: of each point in each component.
        rows: points per block, of those that count; a processor goes without blocks if there are no more points.
    """
    whole = partial(_scatter_of_all, x)
    return by_platform(
        weights.T,
        cpu=partial(
            jax.lax.map, whole if x.shape[0] <= rows else partial(_scatter_of_rows, x, rows)
        ),
        default=partial(side_by_side, whole, size=max(x.size, x.shape[1] ** 2)),
    )


def _scatter_of_all(x: Float[Array, "N D"], weights: Float[Array, " N"]) -> Float[Array, "D D"]:
    return (x * weights[:, None]).T @ x


def _scatter_of_rows(
    x: Float[Array, "N D"], rows: int, weights: Float[Array, " N"]
) -> Float[Array, "D D"]:
    """Scatter over the points of weight, `rows` of them at a time."""
    num_points = x.shape[0]
    negligible = jnp.finfo(weights.dtype).eps / num_points * jnp.max(jnp.abs(weights))
    used = jnp.abs(weights) > negligible
    size = num_points + -num_points % rows
    order = jnp.nonzero(used, size=size, fill_value=num_points)[0]

    def add(number: Any, total: Any) -> Any:
        chosen = jax.lax.dynamic_slice(order, (number * rows,), (rows,))
        points = x.at[chosen].get(mode="fill", fill_value=0)
        weight = weights.at[chosen].get(mode="fill", fill_value=0)
        return total + (points * weight[:, None]).T @ points

    start = jnp.zeros((x.shape[1], x.shape[1]), weights.dtype)
    return jax.lax.fori_loop(0, -(-jnp.sum(used) // rows), add, start)
