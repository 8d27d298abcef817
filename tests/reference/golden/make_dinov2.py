"""Writes `dinov2.npz`: what the PyTorch models of transformers answer to the random checkpoints.

    python tests/reference/golden/make_dinov2.py

Needs torch and transformers. Neither weights nor images are stored, as numpy makes both again.
"""

import pathlib
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from dinov2_random import VARIANTS, random_pixels, write_checkpoint  # noqa: E402
from test_dinov2_torch import torch_model, torch_tokens  # noqa: E402

HEIGHT, WIDTH = 112, 154
LAYERS = (1, 3)
STORED = ("plain", "registers", "swiglu", "registers-swiglu")


def main() -> None:
    """Run every variant in torch and store its tokens."""
    answers = {}
    with tempfile.TemporaryDirectory() as scratch:
        for variant in STORED:
            folder = write_checkpoint(pathlib.Path(scratch) / variant, VARIANTS[variant])
            tokens = torch_tokens(torch_model(folder), random_pixels(HEIGHT, WIDTH), LAYERS)
            answers |= {
                f"{variant}-{layer}": array for layer, array in zip(LAYERS, tokens, strict=True)
            }
    np.savez_compressed(HERE / "dinov2.npz", **answers)
    print(f"{HERE / 'dinov2.npz'}: {(HERE / 'dinov2.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
