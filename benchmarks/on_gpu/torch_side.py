"""Torch on the device that JAX uses: the same arrays, the same types, the same clock.

Read `torch_scoring.py` and `torch_fits.py` next.
"""

from typing import Any

import jax
import numpy as np
from harness import num_cores

NAMES = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}


def device() -> str:
    """Name in torch of the device that JAX computes on."""
    import torch

    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"


def shared(array: jax.Array) -> Any:
    """The same memory as a tensor; copied through the host only where the two sides are on different devices."""
    import torch

    on_gpu = jax.default_backend() == "gpu"
    if on_gpu == (device() == "cuda"):
        return torch.from_dlpack(jax.block_until_ready(array))
    return torch.from_numpy(np.array(array))


def set_precision(precision: str) -> None:
    """Type inside products of float32 tensors: "highest" is float32, "high" TF32."""
    import torch

    torch.set_num_threads(num_cores())  # as many as JAX has; of no account on a GPU
    torch.set_float32_matmul_precision(NAMES[precision])


def compiled(function: Any) -> Any:
    """A function or module through `torch.compile`, for the shapes of its first call and not for those of others."""
    import torch

    torch.compiler.reset()  # a second shape of one function would make its compiled form general, and slower
    return torch.compile(function, dynamic=False)


def wait(result: Any) -> None:
    """Block until everything that torch was asked for is done."""
    import torch

    del result
    if device() == "cuda":
        torch.cuda.synchronize()
