"""Compiled programs: found again by later calls, and no more of them than a stated number.

JAX finds a program by the identity of its function and the shapes of its arguments, and keeps it, some megabytes, as
long as the function lives. So a closure made at each call compiles at each call, and arrays that it closes over become
constants of the program; and data of 200 different sizes leave 200 programs. Here are the remedies: `fixed` gives one
function for equal settings, and `jitted` the same compiled, with data as arguments; `padded_size` rounds numbers of
rows up to few; and `bounded` forgets programs, where shapes cannot be rounded. Next file to read: `scoring/scorer.py`.
"""

from collections.abc import Callable
from functools import lru_cache, partial, wraps
from typing import Any

import jax
import numpy as np

SMALLEST_SIZE = 16
MOST_FUNCTIONS = 128
MOST_PROGRAMS = 32


class _Fixed(partial[Any]):
    """A partial that is pickled as the call of `fixed` that made it, and so is one object in every process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return fixed, (self.func, *self.args)


@lru_cache(maxsize=4 * MOST_FUNCTIONS)  # several per algorithm
def fixed(function: Callable[..., Any], *settings: Any) -> Callable[..., Any]:
    """`function(*settings, ...)`, not compiled: the same object for equal functions and settings; it can be pickled.

    Args:
        function: pure, defined at the level of a module.
        settings: its first arguments, which can be hashed.
    """
    return _Fixed(function, *settings)


@lru_cache(maxsize=MOST_FUNCTIONS)
def jitted(function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
    """`function(*static, ...)` compiled: the same object for equal functions and settings.

    Args:
        function: pure, defined at the level of a module; another closure would be another function.
        static: its first arguments, settings that can be hashed.
    """
    return jax.jit(fixed(function, *static))


def bounded(
    function: Callable[..., Any],
    num_static: int = 0,
    most: int = MOST_PROGRAMS,
    donated: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """`function` compiled, with at most `most` programs at a time: the one not used for longest is forgotten.

    Args:
        function: pure.
        num_static: how many of its first arguments are settings that can be hashed, not arrays.
        most: for how many combinations of settings and shapes it is kept compiled.
        donated: which of the other arguments, counted from 0, the result may overwrite.

    Returns:
        The compiled function, which takes arguments by position. Its `program.cache_info()` tells how many are kept.
    """

    @lru_cache(maxsize=most)
    def program(static: tuple[Any, ...], form: Any) -> Callable[..., Any]:
        del form  # a compiled function of its own for each
        return jax.jit(partial(function, *static), donate_argnums=donated)

    @wraps(function)
    def call(*args: Any) -> Any:
        data = args[num_static:]
        leaves, tree = jax.tree.flatten(data)
        form = tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
        return program(args[:num_static], (tree, form))(*data)

    call.program = program  # type: ignore[attr-defined]
    return call


def padded_size(number: int) -> int:
    """The next larger of few sizes: 16, 20, 24, 28, 32, 40, ..., four per doubling, at most a quarter more.

    >>> [padded_size(number) for number in (1, 17, 33, 1024, 1369)]
    [16, 20, 40, 1024, 1536]
    """
    if number <= SMALLEST_SIZE:
        return SMALLEST_SIZE
    step = 1 << ((number - 1).bit_length() - 3)
    return -(-number // step) * step


def reshaped(x: Any, *shape: int) -> Any:
    """`x.reshape(shape)`, of NumPy or JAX arrays; on a device that is a program for each shape, hence `bounded`.

    JAX itself keeps such programs, of every operation outside `jax.jit`, for thousands of shapes.
    """
    return _reshaped(shape, x) if isinstance(x, jax.Array) else x.reshape(shape)


_reshaped = bounded(lambda shape, x: x.reshape(shape), 1)
