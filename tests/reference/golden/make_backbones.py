"""Writes `dinov2.npz` and `dinov3.npz`: what the PyTorch models of transformers answer to the random checkpoints.

    python tests/reference/golden/make_backbones.py

Needs torch and transformers. Neither weights nor images are stored, as numpy makes both again.
"""

import pathlib
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import test_dinov2_torch  # noqa: E402
import test_dinov3_torch  # noqa: E402
from dinov2_random import (  # noqa: E402
    DINOV3_VARIANTS,
    VARIANTS,
    random_pixels,
    write_checkpoint,
)

LAYERS = (1, 3)
STORED = ("plain", "registers", "swiglu", "registers-swiglu")


def main() -> None:
    """Run every variant in torch and store its tokens."""
    store("dinov2.npz", {name: VARIANTS[name] for name in STORED}, (112, 154), test_dinov2_torch)
    store("dinov3.npz", DINOV3_VARIANTS, (48, 80), test_dinov3_torch)


def store(file: str, variants: dict[str, dict], size: tuple[int, int], oracle) -> None:
    """The tokens of these variants for one image, after two layers."""
    answers = {}
    with tempfile.TemporaryDirectory() as scratch:
        for variant, values in variants.items():
            folder = write_checkpoint(pathlib.Path(scratch) / variant, values)
            model = oracle.torch_model(folder)
            tokens = oracle.torch_tokens(model, random_pixels(*size), LAYERS)
            answers |= {
                f"{variant}-{layer}": array for layer, array in zip(LAYERS, tokens, strict=True)
            }
    np.savez_compressed(HERE / file, **answers)
    print(f"{HERE / file}: {(HERE / file).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
