"""Types of matrix products in JAX, chosen for a whole program when it is compiled.

"library" is what users get: JAX's default but where the library names a precision itself. "float32" and "tf32" ask for
these wherever the library leaves it open, "bfloat16" is the type of the arrays. On a CPU the first three are one.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax

NAMES = {"float32": "highest", "tf32": "tensorfloat32"}


def as_compiled(function: Callable, *args: Any, precision: str = "library") -> Callable[[], Any]:
    """The function on these arguments, compiled ahead; calling it runs nothing but the program."""
    name = NAMES.get(precision)
    context = jax.default_matmul_precision(name) if name else contextlib.nullcontext()
    with context:
        program = jax.jit(function).lower(*args).compile()
    return lambda: program(*args)


def kind_of(precision: str) -> str:
    """Which rate a floor is taken at: float32's for the library's own choice, below which TF32 may go."""
    return "float32" if precision == "library" else precision
