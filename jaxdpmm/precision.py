"""How exactly float32 matrices are multiplied: the policy, and the one place that sets it.

Processors multiply float32 exactly. Accelerators do not unless they are told to: NVIDIA GPUs from the A100 on round
the factors to TF32 (10 bits of mantissa in place of 23), TPUs to bfloat16 (7 bits). That is a relative error of
2^-11 or 2^-8 of the two factors, which is nothing to a neural network, and several nats per point to a density,
whose exponent is a difference of products a thousand times as large.

Full float32 (`full_precision`):

* everything that a `Family` computes, those of users included (`families/base.py` sees to it): E-step, statistics,
  factorisations, log partitions, predictive densities, draws of parameters; except `proposal_matrix`, see below;
* distances that subtract, |x|^2 - 2 x'm + |m|^2: k-means, the Euclidean score and bank, coresets;
* coordinates along principal axes, which densities are computed of; position embeddings, which are made once.

What the platform does by default, TF32 or bfloat16:

* cosines of unit vectors (score and memory bank), of which nothing large is subtracted;
* shortlists, which only rank and are scored exactly afterwards (`proposal_matrix`, `nearest_predictive`);
* the backbone, whose features are trained to bear it.

The choice is JAX's own `jax_default_matmul_precision`, which is recorded in each product when it is traced. **What the
user sets wins**: `with jax.default_matmul_precision("tensorfloat32"): ...`, or the environment variable
JAX_DEFAULT_MATMUL_PRECISION, and nothing here changes it.

Not used here are the algorithms that reach nearly float32's precision by three products of TF32 or six of bfloat16
(`jax.lax.DotAlgorithmPreset`): as a default they turn float64 into float32, and TF32_TF32_F32_X3 does not compile on
CPU, so that one program could not serve both. Where speed on an accelerator matters more,
`jax.default_matmul_precision("TF32_TF32_F32_X3")` (NVIDIA GPUs) or `"BF16_BF16_F32_X6"` (CPU as well) asks for them;
emulated, the former is off by at most twice what float32 is. `tests/unit/test_precision.py` emulates TF32 on a CPU.
Next file to read: `families/base.py`.

References:
    https://docs.jax.dev/en/latest/201/precision.html; https://github.com/jax-ml/jax/issues/18934.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

FULL = "highest"


@contextmanager
def full_precision() -> Iterator[None]:
    """Products traced inside are those of full float32, unless the user has chosen a precision.

    A context, or a decorator of functions: `@full_precision()`.
    """
    if jax.config.jax_default_matmul_precision is not None:  # type: ignore[attr-defined]
        yield
        return
    with jax.default_matmul_precision(FULL):
        yield
