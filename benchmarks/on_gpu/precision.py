"""Types of matrix products in JAX, chosen for a whole program when it is compiled.

"library" is what users get: JAX's default but where the library asks for more. "float32" and "tf32" are asked for
everywhere, as users do with `jax.default_matmul_precision`, "tf32x3" likewise: three products of TF32, which GPUs alone
have. "bfloat16" is the type of the arrays. On a CPU the first three are one.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax

NAMES = {"float32": "highest", "tf32": "tensorfloat32", "tf32x3": "TF32_TF32_F32_X3"}


def asked_for(precision: str) -> contextlib.AbstractContextManager:
    """A context in which programs are traced with these products."""
    name = NAMES.get(precision)
    return jax.default_matmul_precision(name) if name else contextlib.nullcontext()


def as_compiled(function: Callable, *args: Any, precision: str = "library") -> Callable[[], Any]:
    """The function on these arguments, compiled ahead; calling it runs nothing but the program."""
    with asked_for(precision):
        program = jax.jit(function).lower(*args).compile()
    return lambda: program(*args)


def kind_of(precision: str) -> str:
    """Which rate a floor is taken at: float32's for the library's own choice, below which TF32 may go."""
    return precision if precision in ("tf32", "bfloat16") else "float32"
