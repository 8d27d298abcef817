"""What a volume is, whatever file it comes from, and how its intensities become grey.

Read `nifti.py`, `dicom.py` and `dicom_series.py` for the files, `../volumes.py` for slices as images.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

QUANTILES = (0.005, 0.995)
SQUARE = 0.02  # pixels whose sides differ by less count as square


class Volume(NamedTuple):
    """Intensities of a volume.

    Attributes:
        values: float32, in Hounsfield units where the file knows them, not finite outside of the picture; with a last
            axis of three for colours, which are in [0, 1].
        window: the intensities that become black and white.
        spacing: millimetres between voxels along each axis.
        affine: voxel indices to millimetres right, anterior and superior, (4, 4); None where the file does not know.
        inverted: white is the smallest intensity (MONOCHROME1).
        curve: intensities to grey in [0, 1], where the file has another way than a window; None where it has not.
        stored_axes: for each axis which one of the file it is and 1 or -1 for its direction, as in
            `nibabel.orientations`; None where nothing was turned.
    """

    values: Float[np.ndarray, "X Y Z *C"]
    window: tuple[float, float]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    affine: np.ndarray | None = None
    inverted: bool = False
    curve: Callable[[np.ndarray], np.ndarray] | None = None
    stored_axes: np.ndarray | None = None


def usual_window(values: np.ndarray) -> tuple[float, float]:
    """The 0.5 % and 99.5 % quantiles of the intensities that are finite."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.quantile(finite, QUANTILES)
    return float(low), float(high) if high > low else float(low) + 1.0


def grey_of(
    values: Float[np.ndarray, "H W *C"], volume: Volume, window: tuple[float, float] | None = None
) -> Float[np.ndarray, "H W *C"]:
    """Grey in [0, 1] of a slice of a volume; black outside of the picture. Colours are left as they are.

    White and black change places after the window (DICOM PS3.3 C.7.6.3.1.2).

    Args:
        values: the slice.
        volume: where it comes from.
        window: intensities that become black and white, in place of what the volume says.
    """
    if values.ndim == 3:
        return values
    outside = ~np.isfinite(values)
    inside = np.where(outside, 0, values)
    if window is None and volume.curve is not None:
        grey = volume.curve(inside)
    else:
        low, high = window or volume.window
        grey = np.clip((inside - low) / (high - low), 0, 1)
    grey = 1 - grey if volume.inverted else grey
    return np.where(outside, 0, grey).astype(np.float32)


def square_size(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Height and width that a slice has when its pixels are made square, as fine as the finer side."""
    finest = min(spacing)
    if max(spacing) <= finest * (1 + SQUARE):
        return shape
    height, width = (max(1, round(n * s / finest)) for n, s in zip(shape, spacing, strict=True))
    return height, width


def import_medical(name: str) -> Any:
    """A module of the extra `medical`.

    Raises:
        ImportError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"volumes need the package {name}, which is not installed; install the extra: "
            'pip install "jaxdpmm[medical]".'
        ) from None


def unreadable(path: Path, error: Exception) -> ValueError:
    """One sentence about a file that is damaged or of another kind."""
    text = " ".join(str(error).split()) or type(error).__name__
    return ValueError(
        f"path must be a whole NIfTI or DICOM volume, got {path} ({text}); replace it or leave it out."
    )
