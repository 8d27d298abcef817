"""Pixels as the bytes of image files, small enough for the folder of a run."""

import io

import numpy as np
from jaxtyping import Bool, Float


def jpeg_of(pixels: Float[np.ndarray, "H W 3"], side: int) -> bytes:
    """A JPEG file of RGB in [0, 1], its longer side at most `side` pixels."""
    from PIL import Image

    picture = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def png_of_mask(mask: Bool[np.ndarray, "H W"]) -> bytes:
    """A PNG file of one bit per pixel."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask)).save(buffer, format="PNG")
    return buffer.getvalue()


def npy_of(array: np.ndarray) -> bytes:
    """A file of NumPy."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
