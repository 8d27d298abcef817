"""Triangular factors by halves: a Cholesky factor and its inverse at once, and products with the inverse.

Everything but blocks of at most 24 columns is a matrix product, so that a batch of components is factorised at the
speed of products: 256 matrices of 384 columns took 0.5 s on two cores, `jnp.linalg.cholesky` and a triangular solve on
the identity 2.7 s. Next file to read: `gaussian_full.py`.
"""

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

SMALLEST = 24  # columns; LAPACK starts no threads on blocks this small; 48 compile in half the time, but run slower
SMALLEST_PRODUCT = 64  # columns; below, matrix products lose more than the zeros save


def cholesky_and_inverse(
    matrix: Float[Array, "D D"],
) -> tuple[Float[Array, "D D"], Float[Array, "D D"]]:
    """Lower triangular L with L L' = matrix, and L^-1; nan where the matrix is not positive definite.

    With M = [[A, C'], [C, B]]: L_A from A; L_CA = C L_A^-T; L_B from B - L_CA L_CA'; and the block of the
    inverse below the diagonal is -L_B^-1 L_CA L_A^-1.
    """
    dim = matrix.shape[0]
    if dim <= SMALLEST:
        lower = jnp.linalg.cholesky(matrix)
        return lower, solve_triangular(lower, jnp.eye(dim, dtype=matrix.dtype), lower=True)
    half = dim // 2
    upper_left, inverse_left = cholesky_and_inverse(matrix[:half, :half])
    below = matrix[half:, :half] @ inverse_left.T
    lower_right, inverse_right = cholesky_and_inverse(matrix[half:, half:] - below @ below.T)
    inverse_below = -inverse_right @ (below @ inverse_left)
    zero = jnp.zeros((half, dim - half), matrix.dtype)
    return (
        jnp.block([[upper_left, zero], [below, lower_right]]),
        jnp.block([[inverse_left, zero], [inverse_below, inverse_right]]),
    )


def inverse_factor_product(
    matrix: Float[Array, "D D"], upper: Float[Array, "D D"]
) -> Float[Array, "D D"]:
    """L^-T U of an upper triangular U, where L L' = matrix: upper triangular too.

    With halves as above and U = [[U_A, U_C], [0, U_B]]: the last half is that of B - L_CA L_CA' and U_B, the corner is
    L_A^-T (U_C - L_CA' last), so that the larger part of L^-1 is never formed; half the work of L^-1, then a product.
    """
    dim = matrix.shape[0]
    if dim <= SMALLEST:
        return solve_triangular(jnp.linalg.cholesky(matrix), upper, trans="T", lower=True)
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
    """U'^-1 vector, reading U once; LAPACK's routines would have a batch of matrices copied first."""
    dim = upper.shape[0]
    if dim <= SMALLEST:
        return solve_triangular(upper, vector, trans="T", lower=False)
    half = dim // 2
    first = solve_upper_transposed(upper[:half, :half], vector[:half])
    rest = vector[half:] - first @ upper[:half, half:]
    return jnp.concatenate([first, solve_upper_transposed(upper[half:, half:], rest)])


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
