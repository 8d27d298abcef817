"""Arithmetic on pytrees: natural parameters, statistics and posteriors are all added leaf by leaf.

Only what `jax.tree` does not offer. Next file to read: `families/base.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp

Tree = Any


def add(left: Tree, right: Tree) -> Tree:
    """Sum of two trees of one structure; leaves of `right` may lack leading axes of `left`."""
    return jax.tree.map(_aligned(jnp.add), left, right)


def subtract(left: Tree, right: Tree) -> Tree:
    """Difference of two trees of one structure; leaves of `right` may lack leading axes."""
    return jax.tree.map(_aligned(jnp.subtract), left, right)


def scale(tree: Tree, factor: Any) -> Tree:
    """Every leaf times `factor`, a scalar."""
    return jax.tree.map(lambda leaf: leaf * jnp.asarray(factor, leaf.dtype), tree)


def blend(old: Tree, new: Tree, rate: Any) -> Tree:
    """(1 - rate) old + rate new, leaf by leaf: one step of an exponential average."""
    return jax.tree.map(lambda a, b: a + jnp.asarray(rate, a.dtype) * (b - a), old, new)


def zeros_like(tree: Tree) -> Tree:
    """A tree of zeros of the same shapes and types; also of a tree of `ShapeDtypeStruct`."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)


def dot(left: Tree, right: Tree) -> jax.Array:
    """Inner product, a scalar: the sum over all leaves of elementwise products."""
    return jnp.sum(
        jnp.stack(
            [jnp.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (left, right)), strict=True)]
        )
    )


def take(tree: Tree, indices: Any) -> Tree:
    """`leaf[indices]` of every leaf: some components out of a tree with leading axis K."""
    return jax.tree.map(lambda leaf: leaf[indices], tree)


def add_compensated(total: Tree, error: Tree, term: Tree) -> tuple[Tree, Tree]:
    """One step of a running sum that loses nothing in float32 (Kahan 1965).

    Args:
        total: the sum so far.
        error: what rounding has taken from it; zeros at the start.
        term: the tree to add.

    Returns:
        The new sum and the new rounding error.
    """
    corrected = jax.tree.map(jnp.subtract, term, error)
    new_total = jax.tree.map(jnp.add, total, corrected)
    new_error = jax.tree.map(lambda n, o, c: (n - o) - c, new_total, total, corrected)
    return new_total, new_error


def _aligned(operation: Any) -> Any:
    def apply(left: Any, right: Any) -> Any:
        missing = jnp.ndim(left) - jnp.ndim(right)
        return operation(left, jnp.reshape(right, (1,) * missing + jnp.shape(right)))

    return apply
