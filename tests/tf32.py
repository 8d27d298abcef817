"""Matrix products as an NVIDIA GPU computes them, on a CPU: factors rounded to TF32 wherever a program allows it."""

from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

PRODUCTS = ("dot_general", "conv_general_dilated")
EXPONENT_BITS, MANTISSA_BITS = 8, 10
THREE_PASSES = jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3


def emulated(function: Callable) -> Callable:
    """The function with products that ask for no more than the default in TF32, three-pass ones in three passes."""

    @wraps(function)
    def run(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        program, shape = jax.make_jaxpr(
            lambda *leaves: function(*jax.tree.unflatten(tree, leaves)), return_shape=True
        )(*leaves)
        found = _evaluate(program, *leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return run


def default_products(function: Callable, *args: Any) -> list[str]:
    """The products of a function that are left to the platform, as text."""
    return [str(e) for e in equations(jax.make_jaxpr(function)(*args).jaxpr) if _is_default(e)]


def equations(program: Any) -> Iterator[Any]:
    """Every equation of a program and of the programs in it."""
    for equation in program.eqns:
        yield equation
        for part in jax.tree.leaves(equation.params, is_leaf=_is_program):
            if _is_program(part):
                yield from equations(getattr(part, "jaxpr", part))


def _evaluate(program: Any, *args: Any) -> list[Any]:
    values = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values |= dict(zip(program.jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for equation in program.jaxpr.eqns:
        found = _apply(equation, *map(read, equation.invars))
        values |= dict(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def _apply(equation: Any, *operands: Any) -> list[Any]:
    primitive = equation.primitive
    params = jax.tree.map(_rounded_program, equation.params, is_leaf=_is_program)
    multiply = partial(primitive.bind, **primitive.get_bind_params(params))
    if _is_default(equation):
        found = multiply(*map(_tf32, operands))
    elif primitive.name in PRODUCTS and params["precision"] == THREE_PASSES:
        found = _three_passes(partial(multiply, precision=None), *operands)
    else:
        found = multiply(*operands)
    return found if primitive.multiple_results else [found]


def _rounded_program(part: Any) -> Any:
    """A program within an equation, such as the body of a loop, with its own products rounded."""
    if not _is_program(part):
        return part
    is_closed = isinstance(part, jex.ClosedJaxpr)
    closed = part if is_closed else jex.ClosedJaxpr(part, ())
    shapes = [variable.aval for variable in closed.jaxpr.invars]
    rounded = jax.make_jaxpr(partial(_evaluate, closed))(*map(_like, shapes))
    return rounded if is_closed else rounded.jaxpr


def _like(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def _is_program(part: Any) -> bool:
    return isinstance(part, jex.Jaxpr | jex.ClosedJaxpr)


def _is_default(equation: Any) -> bool:
    """Whether an accelerator may round the factors of this equation."""
    if equation.primitive.name not in PRODUCTS:
        return False
    if equation.outvars[0].aval.dtype != jnp.float32:
        return False
    precision = equation.params["precision"]
    levels = precision if isinstance(precision, tuple) else (precision,)
    return all(
        level in (None, jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGH) for level in levels
    )


def _tf32(x: jax.Array) -> jax.Array:
    return jax.lax.reduce_precision(x, EXPONENT_BITS, MANTISSA_BITS)


def _three_passes(multiply: Callable, left: jax.Array, right: jax.Array) -> jax.Array:
    """High parts times high parts, and the two cross terms."""
    (a, b), (c, d) = ((_tf32(x), _tf32(x - _tf32(x))) for x in (left, right))
    return multiply(a, d) + multiply(b, c) + multiply(a, c)
