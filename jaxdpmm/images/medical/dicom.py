"""One DICOM file: what its stored values mean, by the rules of pydicom.

Modality and VOI look-up tables, palettes and colour spaces are pydicom's; here stands where to look for them: in the
file, or in the shared and per-frame functional groups of an enhanced one (PS3.3 C.7.6.16). Read `dicom_series.py` next.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.images.medical.intensities import import_medical

COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
GREYS = ("MONOCHROME1", "MONOCHROME2")
TIMES = ("TemporalPositionIndex", "TemporalPositionIdentifier", "AcquisitionNumber", "EchoNumbers")
_GROUPED = (
    *TIMES,
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "PixelAspectRatio"),
    *("PhotometricInterpretation", "BitsStored", "PixelRepresentation"),
)
"""What may stand in the file or in its functional groups, and what pydicom's rules need beside."""


class Frames(NamedTuple):
    """Frames of a file.

    Attributes:
        values: float32, not finite where the file says padding; colours in [0, 1].
        window: what the first of them says, or None.
        curve: as of `Volume`.
    """

    values: Float[np.ndarray, "frames rows columns *C"]
    window: tuple[float, float] | None
    curve: Callable[[np.ndarray], np.ndarray] | None


def attributes_of(dataset: Any, frame: int) -> Any:
    """A pydicom data set with what holds for one frame; empty attributes are left out.

    The per-frame groups win over the shared ones, and those over the file itself.
    """
    found = import_medical("pydicom").Dataset()
    sources = [dataset]
    if shared := dataset.get("SharedFunctionalGroupsSequence"):
        sources += _macros(shared[0])
    if own := dataset.get("PerFrameFunctionalGroupsSequence"):
        sources += _macros(own[frame])
    for source in sources:
        for name in _GROUPED:
            if name in source and source.get(name) not in (None, ""):
                found[name] = source[name]
    if ("RescaleSlope" in found) != ("RescaleIntercept" in found):  # type 1C, at times left empty
        found.RescaleSlope = found.get("RescaleSlope", 1)
        found.RescaleIntercept = found.get("RescaleIntercept", 0)
    found.file_meta = getattr(dataset, "file_meta", None)
    return found


def read_frames(dataset: Any, frames: list[int]) -> Frames:
    """Some frames of a file, in the order given.

    Raises:
        ValueError: its colours are not understood; and whatever pydicom raises at damaged files.
    """
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    stored = np.asarray(dataset.pixel_array)
    if int(dataset.get("NumberOfFrames") or 1) == 1 and stored.ndim < 4:
        stored = stored[None]
    stored = stored[frames]
    if photometric not in GREYS:
        return Frames(_colours(stored, dataset, photometric), None, None)
    pixels = import_medical("pydicom.pixels")
    attributes = [attributes_of(dataset, frame) for frame in frames]
    values = [
        np.asarray(pixels.apply_modality_lut(one, own), np.float32)
        for one, own in zip(stored, attributes, strict=True)
    ]
    found = np.where(_padding(stored, dataset), np.float32(np.nan), np.stack(values))
    return Frames(found, _window(attributes[0]), _curve(attributes[0]))


def _macros(groups: Any) -> list[Any]:
    return [element.value[0] for element in groups if element.VR == "SQ" and len(element.value)]


def _colours(stored: np.ndarray, dataset: Any, photometric: str) -> np.ndarray:
    """Colours in [0, 1]; pydicom has brought those of luminance and chroma to red, green and blue already."""
    if photometric == "PALETTE COLOR":
        colours = import_medical("pydicom.pixels").apply_color_lut(stored, dataset)
        return (colours[..., :3] / np.float32(np.iinfo(colours.dtype).max)).astype(np.float32)
    if photometric not in COLOURS or stored.shape[-1] != 3:
        raise ValueError(f"photometric interpretation {photometric} with shape {stored.shape}")
    return stored.astype(np.float32) / np.float32(2 ** int(dataset.BitsStored) - 1)


def _padding(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """Where the file says that there is no picture (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first in (None, ""):
        return np.zeros(stored.shape, bool)
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(first), int(first if last in (None, "") else last)))
    return (stored >= low) & (stored <= high)


def _window(attributes: Any) -> tuple[float, float] | None:
    """Ends of the window that the file names first; None, with a warning, where its width is below 1 (C.11.2.1.2)."""
    centre, width = attributes.get("WindowCenter"), attributes.get("WindowWidth")
    if centre is None or width is None:
        return None
    middle, whole = (float(np.atleast_1d(value)[0]) for value in (centre, width))
    exact = attributes.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID")
    if not np.isfinite([middle, whole]).all() or not (whole > 0 if exact else whole >= 1):
        warnings.warn(
            f"WindowWidth must be at least 1, got {whole:g}; the window of the file is not used, give one.",
            stacklevel=2,
        )
        return None
    return middle - whole / 2, middle + whole / 2


def _curve(attributes: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """The VOI look-up table or sigmoid of the file, to [0, 1]; None where it has a window or nothing."""
    processing = import_medical("pydicom.pixels.processing")
    tables = attributes.get("VOILUTSequence")
    if tables and "LUTData" in tables[0] and "LUTDescriptor" in tables[0]:
        number, first, bits = (int(n) for n in tables[0].LUTDescriptor)
        last = first + (number or 2**16) - 1

        def looked_up(values: np.ndarray) -> np.ndarray:
            rounded = np.rint(np.clip(values, first, last)).astype(np.int64)
            return processing.apply_voi(rounded, attributes) / (2.0**bits - 1)

        return looked_up
    if attributes.get("VOILUTFunction") != "SIGMOID" or _window(attributes) is None:
        return None
    unit = (
        attributes.copy()
    )  # pydicom gives the range of the stored values: that of one bit is [0, 1]
    unit.BitsStored, unit.PixelRepresentation = 1, 0
    for name in ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"):
        unit.pop(name, None)

    def sigmoid(values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return processing.apply_windowing(values, unit)

    return sigmoid
