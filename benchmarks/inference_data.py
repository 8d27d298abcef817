"""Features to time scores with, and whether there is memory for them. Read `inference.py` first."""

import os

import jax
import numpy as np

DIM = 384
SPECTRUM = 0.75  # standard deviations along the axes fall with this power: 64 hold nine tenths, as in patch features


def random_features(number: int, seed: int) -> np.ndarray:
    """Unit-norm float32 features near 200 centres, of few dimensions in the main, made a piece at a time."""
    random = np.random.default_rng(seed)
    spread = np.arange(1, DIM + 1, dtype=np.float32) ** np.float32(-SPECTRUM)
    centres = np.random.default_rng(0).standard_normal((200, DIM), np.float32)
    rows = np.empty((number, DIM), np.float32)
    for start in range(0, number, 10**5):
        piece = rows[start : start + 10**5]
        piece[:] = centres[random.integers(200, size=len(piece))]
        piece += 0.5 * random.standard_normal(piece.shape, np.float32)
        piece *= spread
        piece /= np.linalg.norm(piece, axis=1, keepdims=True)
    return rows


def check_memory(needed: int, drawn: bool = False) -> None:
    """Refuse what would not fit into the free memory, of the host or of the accelerator, whichever is less.

    Args:
        needed: bytes.
        drawn: whether the data are made on the device, so that an accelerator's memory alone counts.

    Raises:
        MemoryError: it does not.
    """
    host = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    stats = jax.devices()[0].memory_stats() or {}
    free = stats.get("bytes_limit", host) - stats.get("bytes_in_use", 0)
    free = free if drawn else min(host, free)
    if needed > free:
        raise MemoryError(f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")
