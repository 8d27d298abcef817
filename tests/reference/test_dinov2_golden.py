"""The Flax DINOv2 against stored answers of PyTorch, so that parity is tested without torch too.

The stored file is made by `golden/make_dinov2.py`.
"""

import pathlib

import jax
import numpy as np
import pytest
from dinov2_random import VARIANTS, random_pixels, write_checkpoint

from jaxdpmm.features import Dinov2, load_backbone

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "dinov2.npz")


@pytest.mark.parametrize("variant", ["plain", "registers", "swiglu", "registers-swiglu"])
def test_stored_answers_of_torch(tmp_path, variant):
    backbone = load_backbone(write_checkpoint(tmp_path, VARIANTS[variant]))
    run = jax.jit(lambda params, x: Dinov2(backbone.config).apply({"params": params}, x, (1, 3)))
    for layer, tokens in zip((1, 3), run(backbone.params, random_pixels(112, 154)), strict=True):
        expected = GOLDEN[f"{variant}-{layer}"]
        assert np.std(expected) > 0.5  # a real answer, not zeros
        np.testing.assert_allclose(tokens, expected, rtol=0, atol=1e-4)
