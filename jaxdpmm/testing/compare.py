"""What the checks share: a call that ends in a sentence, and trees compared leaf by leaf.

Not here: what is checked, which is in the files beside. Next file to read: `family.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def called(error: type[AssertionError], what: str, function: Callable, *arguments: Any) -> Any:
    """The value of a function that must be compilable, or `error` with a sentence why there is none."""
    try:
        return function(*arguments)
    except Exception as cause:
        reason = next(iter(str(cause).splitlines()), "no message")
        raise error(
            f"{what} must run under jax.jit, got {type(cause).__name__}: {reason}"
        ) from cause


def form(tree: Any) -> tuple[Any, list]:
    """Structure, and shape and type of each leaf: what a compiled program depends on."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype, leaf.aval.weak_type) for leaf in leaves]


def difference(expected: Any, found: Any) -> str:
    """The first leaf in whose form two trees differ, in words."""
    left, right = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (expected, found))
    for path in [*left, *right]:
        forms = [
            str(leaf.aval) if leaf is not None else "nothing"
            for leaf in (left.get(path), right.get(path))
        ]
        if forms[0] != forms[1]:
            return f"{forms[1]} in place of {forms[0]} at {jax.tree_util.keystr(path)}"
    return "another structure"


def equal(left: Any, right: Any) -> bool:
    """Whether two trees of one form have the same bits."""
    return _all_leaves(lambda a, b: np.array_equal(a, b, equal_nan=True), left, right)


def close(left: Any, right: Any, tolerance: float) -> bool:
    """Whether two trees of one form differ by `tolerance` at most, absolute or relative."""

    def near(a: np.ndarray, b: np.ndarray) -> bool:
        return np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)

    return _all_leaves(near, left, right)


def _all_leaves(compare: Callable, left: Any, right: Any) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(compare(_data(a), _data(b)) for a, b in pairs)


def _data(leaf: Array) -> np.ndarray:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)
