"""Bicubic resizing of position embeddings, equal to PyTorch's.

A DINOv2 checkpoint holds one position embedding per patch of its native grid (37 x 37 for 518
pixels); other image sizes need them resized. `jax.image` cannot do it as PyTorch does: its cubic
has a = -0.5 and renormalises at the border, PyTorch's has a = -0.75 and repeats the border, unless
it antialiases.

Not a general image resize: images are resized where they are read (`jaxdpmm.images`). Read next:
`vision_transformer.py`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.precision import full_precision


def resize_matrix(
    num_in: int, num_out: int, *, antialias: bool
) -> Float[np.ndarray, "{num_out} {num_in}"]:
    """The bicubic interpolation along one axis as a matrix.

    Row i holds the weights of the input samples in output sample i. Sample i lies at
    (i + 1/2) num_in / num_out - 1/2 of the input (`align_corners=False`). Every row sums to one.

    Args:
        num_in: Length of the axis before.
        num_out: Length of the axis after.
        antialias: Widen the kernel when shrinking, drop samples outside the input and renormalise
            (a = -1/2); otherwise four samples with the border repeated (a = -3/4).

    Returns:
        float32 array of shape (num_out, num_in).

    References:
        Keys (1981), Cubic convolution interpolation for digital image processing, eq. 4 with free
        a; `torch.nn.functional.interpolate(mode="bicubic")`.
    """
    step = num_in / num_out
    a, width = (-0.5, max(step, 1.0)) if antialias else (-0.75, 1.0)
    centres = (np.arange(num_out) + 0.5) * step - 0.5
    reach = int(np.ceil(2 * width)) + 1
    samples = np.floor(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)
    weights = _cubic_kernel((samples - centres[:, None]) / width, a)
    if antialias:
        weights = np.where((samples >= 0) & (samples < num_in), weights, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((num_out, num_in))
    np.add.at(matrix, (np.arange(num_out)[:, None], np.clip(samples, 0, num_in - 1)), weights)
    return matrix.astype(np.float32)


@full_precision()
def resize_position_embeddings(
    embeddings: Float[Array, "1 T D"], height: int, width: int, *, antialias: bool
) -> Float[Array, "1 P D"]:
    """Position embeddings of a square native grid, resized to another grid.

    Args:
        embeddings: Class token first, then the side x side patches row by row: T = 1 + side * side.
        height: Rows of the wanted patch grid.
        width: Columns of the wanted patch grid.
        antialias: See `resize_matrix`; the register variants of DINOv2 antialias, the plain ones do
            not.

    Returns:
        Array of shape (1, 1 + height * width, D); the class token's row is unchanged. The native
        grid comes back as it is, as in PyTorch (antialiasing would be the identity, up to
        rounding).
    """
    side = round((embeddings.shape[1] - 1) ** 0.5)
    if (height, width) == (side, side):
        return embeddings
    grid = embeddings[0, 1:].reshape(side, side, -1)
    rows = resize_matrix(side, height, antialias=antialias)
    columns = resize_matrix(side, width, antialias=antialias)
    grid = jnp.einsum("hi,ijd,wj->hwd", rows, grid, columns)
    return jnp.concatenate([embeddings[:, :1], grid.reshape(1, height * width, -1)], axis=1)


def _cubic_kernel(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
