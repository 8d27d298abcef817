"""Checks of arguments that many functions share, so that one mistake has one sentence.

Not here: checks of data (`inference/data/arrays.py`), which look at shapes and values.
"""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import jax
import numpy as np


def check_at_least_one(name: str, value: Any, advice: str, *, wanted: str = "at least 1") -> None:
    """Raise `ValueError` if a count is below 1, `TypeError` if it is no whole number.

    Args:
        name: of the argument.
        value: what came.
        advice: what to do, the last part of the sentence, without a full stop.
        wanted: what the sentence says was expected, where it has a unit or more to say.
    """
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}; {advice}.")
    if value < 1:
        raise ValueError(f"{name} must be {wanted}, got {value}; {advice}.")


def check_choice(
    name: str, value: Any, choices: Iterable[str], advice: str = "choose one of them"
) -> None:
    """Raise `ValueError` if a value is none of the names that an argument can have.

    Args:
        name: of the argument.
        value: what came.
        choices: the names.
        advice: what to do, the last part of the sentence, without a full stop.
    """
    if value not in tuple(choices):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}; {advice}.")


def check_kind(name: str, value: Any, kind: type, advice: str) -> None:
    """Raise `TypeError` if an argument is of another kind, such as one in the place of another.

    Args:
        name: of the argument.
        value: what came.
        kind: the class that was expected.
        advice: what to do, the last part of the sentence, without a full stop.
    """
    if not isinstance(value, kind):
        found = getattr(value, "__name__", type(value).__name__)
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {found}; {advice}.")


def check_key(key: Any) -> None:
    """Raise `TypeError` if a random key is none, such as the seed itself, or is several."""
    dtype, num_axes = getattr(key, "dtype", None), getattr(key, "ndim", None)
    is_typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    is_raw = dtype == np.uint32  # of jax.random.PRNGKey
    if (is_typed and num_axes == 0) or (is_raw and num_axes == 1):
        return
    found = f"an array of shape {key.shape}" if num_axes else repr(key)
    seed = key if isinstance(key, int | np.integer) else 0
    raise TypeError(f"key must be one random key, got {found}; pass key=jax.random.key({seed}).")
