"""What points are: an array of numbers in the family's shape, finite, and in the type to compute in.

The user's boundary: everything that takes points checks them here, with one sentence each, so that nothing has to be
checked inside a compiled step. Next file to read: `inference/data/arrays.py`, for where batches of them come from.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdpmm.families import Likelihood


def is_array(x: Any) -> bool:
    """Whether rows can be sliced out of `x` as it is."""
    has_parts = all(hasattr(x, name) for name in ("shape", "__getitem__"))
    return has_parts and isinstance(getattr(x, "dtype", None), np.dtype)


def compute_type(dtype: np.dtype) -> np.dtype:
    """The type to compute in: that of floating data, but of 32 bits at least, else JAX's default."""
    if dtype.kind == "f":
        wanted: Any = np.promote_types(dtype, np.float32)
    else:
        wanted = np.float32 if dtype == jnp.bfloat16 else float
    return np.dtype(jax.dtypes.canonicalize_dtype(wanted))


def in_compute_type(x: Any, dtype: np.dtype | None = None) -> Any:
    """Floating points in `dtype`, by default in `compute_type`; whole numbers stay what they are."""
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    return x if x.dtype.kind in "iub" else x.astype(dtype or compute_type(x.dtype), copy=False)


def check_points(x: Any, family: Likelihood) -> Any:
    """The points as an array of the family's shape.

    Raises:
        ValueError: wrong shape or no points, with what to do.
        TypeError: not numbers.
    """
    array = x if is_array(x) else np.asarray(x)
    if array.dtype.kind not in "fiub" and array.dtype != jnp.bfloat16:
        raise TypeError(
            f"x must be an array of numbers, got dtype {array.dtype}; convert it with np.asarray(x, float)."
        )
    shape = family.point_shape
    num_axes = len(array.shape)
    if num_axes == 0 or (shape is not None and array.shape[1:] != shape):
        expected = "(N, ...)" if shape is None else f"({', '.join(('N', *map(str, shape)))})"
        hint = "add a leading axis for the points."
        if num_axes == 2 and shape is not None and len(shape) == 1:
            hint = f"build the family with dim={array.shape[1]} or use features of that dimension."
        raise ValueError(
            f"x must have shape {expected} to match {family}, got {array.shape}; {hint}"
        )
    if array.shape[0] == 0:
        raise ValueError(
            f"x must hold at least one point, got shape {array.shape}; pass some data."
        )
    return array


def check_finite(x: np.ndarray | jax.Array, start: int = 0) -> None:
    """Nothing, or a sentence about the first point that is not finite or so large that its square is not.

    Args:
        x: points, (B, ...).
        start: number of the first of them, for the message.

    Raises:
        ValueError: nan, infinite or far too large values.
    """
    if x.dtype.kind in "iub" or not x.size:
        return
    array = np.asarray(x)
    largest, limit = max(float(array.max()), -float(array.min())), _largest(array.dtype)
    if largest <= limit:
        return
    rows = array.reshape(len(array), -1)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        first = start + int(np.argmin(finite))
        raise ValueError(
            f"x must be finite, got nan or infinity in {int((~finite).sum())} of {len(finite)} points, "
            f"first in point {first}; remove or repair them."
        )
    first = start + int(np.argmax((np.abs(rows) > limit).any(axis=1)))
    raise ValueError(
        f"x must be at most {limit:.0e} in size, so that {array.dtype} holds sums of its squares, got {largest:.3g}, "
        f"first in point {first}; remove such points, or scale the features."
    )


def _largest(dtype: np.dtype) -> float:
    """The largest number of which a million squares can be summed."""
    return 1e-3 * float(np.sqrt(np.finfo(dtype).max))
