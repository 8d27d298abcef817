"""The Flax backbones against stored answers of PyTorch, so that parity is tested without torch too.

The stored files are made by `golden/make_backbones.py`.
"""

import pathlib

import jax
import numpy as np
import pytest
from dinov2_random import DINOV3_VARIANTS, VARIANTS, random_pixels, write_checkpoint

from jaxdpmm.features import VisionTransformer, load_backbone

pytestmark = pytest.mark.optimised

GOLDEN = pathlib.Path(__file__).parent / "golden"
CASES = [
    *(("dinov2.npz", VARIANTS, name, (112, 154)) for name in VARIANTS if "without" not in name),
    *(("dinov3.npz", DINOV3_VARIANTS, name, (48, 80)) for name in DINOV3_VARIANTS),
]


@pytest.mark.parametrize(
    ("file", "variants", "variant", "size"), CASES, ids=[name for _, _, name, _ in CASES]
)
def test_stored_answers_of_torch(tmp_path, file, variants, variant, size):
    backbone = load_backbone(write_checkpoint(tmp_path, variants[variant]))
    network, golden = VisionTransformer(backbone.config), np.load(GOLDEN / file)
    run = jax.jit(lambda params, x: network.apply({"params": params}, x, (1, 3)))
    for layer, tokens in zip((1, 3), run(backbone.params, random_pixels(*size)), strict=True):
        expected = golden[f"{variant}-{layer}"]
        assert np.std(expected) > 0.5  # a real answer, not zeros
        np.testing.assert_allclose(tokens, expected, rtol=0, atol=1e-4)
