"""Triangular factors by halves: a Cholesky factor and its inverse at once, and products with the inverse.

Everything but blocks of at most 24 columns is a matrix product, so that a batch of components is factorised at the
speed of products: 256 matrices of 384 columns took 0.5 s on two cores, `jnp.linalg.cholesky` and a triangular solve on
the identity 2.7 s.

The blocks themselves are factorised by a loop over their columns on a CPU and by LAPACK's relatives elsewhere. On a CPU
JAX hands a batch of LAPACK calls to the pool of threads that it runs on and waits for the pool: as many such calls at
once as the pool has threads wait for ever. Hence the rule: no module but this one factorises or solves in compiled
code, and this one never calls LAPACK there. Next file to read: `gaussian_full.py`.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jaxdpmm.precision import full_precision

SMALLEST = 24  # columns; 12 compile in twice the time, 48 run slower by a third
SMALLEST_PRODUCT = 64  # columns; below, matrix products lose more than the zeros save
SMALLEST_SOLVE = 64  # columns; a loop over them costs less than to compile more halves


@jax.custom_jvp
def cholesky_and_inverse(
    matrix: Float[Array, "D D"],
) -> tuple[Float[Array, "D D"], Float[Array, "D D"]]:
    """Lower triangular L with L L' = matrix, and L^-1; nan where the matrix is not positive definite.

    With M = [[A, C'], [C, B]]: L_A from A; L_CA = C L_A^-T; L_B from B - L_CA L_CA'; and the block of the
    inverse below the diagonal is -L_B^-1 L_CA L_A^-1.

    Args:
        matrix: symmetric.
    """
    return _by_halves(matrix)


@cholesky_and_inverse.defjvp
@full_precision()  # it is traced when somebody differentiates, which may be outside of every family
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple:
    """DL = L F and d(L^-1) = -F L^-1, F the lower triangle of L^-1 dM L^-T with half of its diagonal.

    References:
        Murray (2016), Differentiation of the Cholesky decomposition, equation 8.
    """
    lower, inverse = cholesky_and_inverse(*primals)
    change = 0.5 * (tangents[0] + tangents[0].T)
    half = jnp.tril(inverse @ change @ inverse.T)
    half = half - 0.5 * jnp.diag(jnp.diagonal(half))
    return (lower, inverse), (lower @ half, -half @ inverse)


def inverse_factor_product(
    matrix: Float[Array, "D D"], upper: Float[Array, "D D"]
) -> Float[Array, "D D"]:
    """L^-T U of an upper triangular U, where L L' = matrix: upper triangular too.

    With halves as above and U = [[U_A, U_C], [0, U_B]]: the last half is that of B - L_CA L_CA' and U_B, the corner is
    L_A^-T (U_C - L_CA' last), so that the larger part of L^-1 is never formed; half the work of L^-1, then a product.
    """
    dim = matrix.shape[0]
    if dim <= SMALLEST:
        return cholesky_and_inverse(matrix)[1].T @ upper
    half = dim // 2
    inverse = cholesky_and_inverse(matrix[:half, :half])[1].T
    below = matrix[half:, :half] @ inverse
    last = inverse_factor_product(matrix[half:, half:] - below @ below.T, upper[half:, half:])
    corner = inverse @ (upper[:half, half:] - below.T @ last)
    first = _upper_product(inverse, upper[:half, :half])
    return join_upper(first, corner, last)


def solve_upper_transposed(
    upper: Float[Array, "D D"], vector: Float[Array, " D"]
) -> Float[Array, " D"]:
    """U'^-1 vector, reading U once."""
    dim = upper.shape[0]
    if dim <= SMALLEST_SOLVE:
        return jax.lax.platform_dependent(
            upper, vector, cpu=_solve_by_rows, default=_solve_by_library
        )
    half = dim // 2
    first = solve_upper_transposed(upper[:half, :half], vector[:half])
    rest = vector[half:] - first @ upper[:half, half:]
    return jnp.concatenate([first, solve_upper_transposed(upper[half:, half:], rest)])


def inverse_of_upper_transposed(upper: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """U'^-1, lower triangular."""
    columns = jnp.eye(upper.shape[0], dtype=upper.dtype)
    return jax.vmap(solve_upper_transposed, (None, 1), 1)(upper, columns)


def join_upper(
    first: Float[Array, "A A"], corner: Float[Array, "A B"], last: Float[Array, "B B"]
) -> Float[Array, "D D"]:
    """[[first, corner], [0, last]]."""
    zero = jnp.zeros(corner.shape[::-1], corner.dtype)
    return jnp.block([[first, corner], [zero, last]])


def _upper_product(left: Float[Array, "D D"], right: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """Product of two upper triangular matrices."""
    dim = left.shape[0]
    if dim <= SMALLEST_PRODUCT:
        return left @ right
    half = dim // 2
    corner = left[:half, :half] @ right[:half, half:] + left[:half, half:] @ right[half:, half:]
    first = _upper_product(left[:half, :half], right[:half, :half])
    return join_upper(first, corner, _upper_product(left[half:, half:], right[half:, half:]))


def _by_halves(matrix: Float[Array, "D D"]) -> tuple[Float[Array, "D D"], Float[Array, "D D"]]:
    dim = matrix.shape[0]
    if dim <= SMALLEST:
        return jax.lax.platform_dependent(matrix, cpu=_by_columns, default=_by_library)
    half = dim // 2
    upper_left, inverse_left = _by_halves(matrix[:half, :half])
    below = matrix[half:, :half] @ inverse_left.T
    lower_right, inverse_right = _by_halves(matrix[half:, half:] - below @ below.T)
    inverse_below = -inverse_right @ (below @ inverse_left)
    zero = jnp.zeros((half, dim - half), matrix.dtype)
    return (
        jnp.block([[upper_left, zero], [below, lower_right]]),
        jnp.block([[inverse_left, zero], [inverse_below, inverse_right]]),
    )


def _by_columns(matrix: Float[Array, "D D"]) -> tuple[Float[Array, "D D"], Float[Array, "D D"]]:
    """Gaussian elimination of [matrix, I] with rows scaled by the root of their pivot: [L', L^-1] is left.

    Every element of the block is updated in every step, which a CPU does faster than it would find out which need be.
    """
    dim = matrix.shape[0]
    rows = jnp.arange(dim)

    def eliminate(step: Array, table: Array) -> Array:
        row = jax.lax.dynamic_index_in_dim(table, step, keepdims=False)
        scaled = row / jnp.sqrt(jax.lax.dynamic_index_in_dim(row, step, keepdims=False))
        # By symmetry the column below the pivot is the row beside it.
        factor = jnp.where(rows > step, scaled[:dim], 0)
        table = table - factor[:, None] * scaled[None]
        return jax.lax.dynamic_update_index_in_dim(table, scaled, step, 0)

    table = jnp.concatenate([matrix, jnp.eye(dim, dtype=matrix.dtype)], axis=1)
    table = jax.lax.fori_loop(0, dim, eliminate, table)
    return jnp.triu(table[:, :dim]).T, jnp.tril(table[:, dim:])


def _by_library(matrix: Float[Array, "D D"]) -> tuple[Float[Array, "D D"], Float[Array, "D D"]]:
    lower = jnp.linalg.cholesky(matrix)
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    return lower, solve_triangular(lower, identity, lower=True)


def _solve_by_rows(upper: Float[Array, "D D"], vector: Float[Array, " D"]) -> Float[Array, " D"]:
    """Forward substitution: each entry found is taken from those after it."""

    def substitute(step: Array, left: Array) -> Array:
        row = jax.lax.dynamic_index_in_dim(upper, step, keepdims=False)
        found = left[step] / row[step]
        return jnp.where(places > step, left - found * row, jnp.where(places == step, found, left))

    places = jnp.arange(len(vector))
    return jax.lax.fori_loop(0, len(vector), substitute, vector)


def _solve_by_library(upper: Float[Array, "D D"], vector: Float[Array, " D"]) -> Float[Array, " D"]:
    return solve_triangular(upper, vector, trans="T", lower=False)
