"""Slices of DICOM series and NIfTI volumes as images, through one window of intensities for a whole volume.

A slice is never stretched to its own range: what is bright must be bright in all slices. Without a window the one that
a DICOM file names is taken, else the 0.5 % to 99.5 % quantiles of the volume (MRI has no unit); for CT give one in
Hounsfield units, for example `window=(-160, 240)` for soft tissue. Slices of one patient are alike: keep them on one
side of every split. Needs the extra `medical` (pydicom, nibabel), imported on first use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.images.reading import to_rgb
from jaxdpmm.images.records import ANOMALOUS, NORMAL, ImageRecord

NIFTI_SUFFIXES = (".nii", ".nii.gz")
QUANTILES = (0.005, 0.995)
_KEPT_VOLUMES = 4  # threads read slices of neighbouring volumes at the same time


class Volume(NamedTuple):
    """Intensities of a volume.

    Attributes:
        values: float32, in Hounsfield units where the file knows them.
        window: the intensities that become black and white.
    """

    values: Float[np.ndarray, "X Y Z"]
    window: tuple[float, float]


@dataclass(frozen=True)
class VolumeSlice:
    """A `Source`: one slice of a volume.

    Attributes:
        path: a NIfTI file, a DICOM file or a folder of them.
        axis: 0, 1 or 2, across which the volume is cut.
        index: which slice.
        window: intensities that become black and white, or None for the volume's own.
        mask_path: a volume of the same shape, anomalous where not zero, or None.
    """

    path: Path
    axis: int
    index: int
    window: tuple[float, float] | None = None
    mask_path: Path | None = None

    def pixels(self) -> np.ndarray:
        """Float32 grey in [0, 1], three times."""
        volume = _cached(self.path)
        low, high = self.window or volume.window
        values = np.take(volume.values, self.index, axis=self.axis)
        return to_rgb(np.clip((values - low) / (high - low), 0, 1).astype(np.float32), self.path)

    def mask(self) -> np.ndarray | None:
        """Anomalous pixels."""
        if self.mask_path is None:
            return None
        return np.take(_cached(self.mask_path).values, self.index, axis=self.axis) != 0


def read_volume(
    path: str | Path,
    *,
    mask_path: str | Path | None = None,
    axis: int = 2,
    window: tuple[float, float] | None = None,
    label: int | None = None,
) -> tuple[ImageRecord, ...]:
    """Records of all slices of a volume.

    Args:
        path: a NIfTI file, a DICOM file of one or several frames, or a folder with the DICOM files of one series.
        mask_path: a volume of the same shape, anomalous where not zero; slices with a mark in it are anomalous.
        axis: across which to cut; of a DICOM series the last is the one along which its files were taken.
        window: intensities that become black and white.
        label: of all slices, where there is no mask.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the extra `medical` is not installed.
        ValueError: no volume, a mask of another shape, or a window that is not ascending.
    """
    path = Path(path).expanduser()
    if axis not in (0, 1, 2) or (window is not None and not window[0] < window[1]):
        raise ValueError(
            f"axis must be 0, 1 or 2 and window ascending, got {axis} and {window}; for CT of soft tissue use "
            "window=(-160, 240)."
        )
    volume = _cached(path)
    marks = None
    if mask_path is not None:
        mask_path = Path(mask_path).expanduser()
        marks = _cached(mask_path).values
        if marks.shape != volume.values.shape:
            raise ValueError(
                f"a mask must have the shape of its volume, {volume.values.shape}, got {mask_path} with {marks.shape}; "
                "resample it."
            )
    records = []
    for index in range(volume.values.shape[axis]):
        own = label
        if marks is not None:
            own = ANOMALOUS if np.take(marks, index, axis=axis).any() else NORMAL
        kind = {NORMAL: "good", ANOMALOUS: "anomalous", None: ""}[own]
        source = VolumeSlice(path, axis, index, window, mask_path)
        name = (
            path / f"{index:04d}" if path.is_dir() else path.with_name(f"{path.name}-{index:04d}")
        )
        records.append(ImageRecord(name, own, kind, None, source))
    return tuple(records)


def volumes_in(files: Sequence[Path]) -> list[Path]:
    """NIfTI files among files, and folders that hold DICOM files by their suffix `.dcm`, sorted by path."""
    nifti = {p for p in files if p.name.lower().endswith(NIFTI_SUFFIXES)}
    return sorted(nifti | {p.parent for p in files if p.suffix.lower() == ".dcm"})


def load_volume(path: str | Path) -> Volume:
    """Intensities and window of a volume (see `read_volume`)."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"path must be a NIfTI or DICOM file or a folder of DICOM files, got {path} (nothing there); check it."
        )
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return _load_nifti(path)
    return _load_dicom(path)


_cached = lru_cache(maxsize=_KEPT_VOLUMES)(load_volume)


def _load_nifti(path: Path) -> Volume:
    nibabel = _import("nibabel")
    try:
        values = np.asarray(nibabel.load(path).dataobj, np.float32)
    except Exception as error:  # whatever nibabel raises at a file that is damaged
        raise _unreadable(path, error) from error
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise ValueError(
            f"a volume must have three axes, got {path} with shape {values.shape}; choose one channel or time."
        )
    return Volume(values, _usual_window(values))


def _load_dicom(path: Path) -> Volume:
    pydicom = _import("pydicom")
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    try:
        datasets = [pydicom.dcmread(file) for file in files if not file.name.startswith(".")]
        datasets = sorted(datasets, key=_position)
        series = {str(dataset.get("SeriesInstanceUID", "")) for dataset in datasets}
        slices = [_intensities(dataset) for dataset in datasets]
        values = np.concatenate(slices, axis=2)
    except Exception as error:  # pydicom's own errors, and shapes that do not go together
        raise _unreadable(path, error) from error
    if len(series) > 1:
        raise ValueError(
            f"path must hold the files of one DICOM series, got {path} with {len(series)}; sort them into folders."
        )
    return Volume(values, _named_window(datasets[0]) or _usual_window(values))


def _intensities(dataset: Any) -> Float[np.ndarray, "X Y Z"]:
    """Stored values x slope + intercept, bright where the picture is bright; frames last."""
    values = np.asarray(dataset.pixel_array, np.float32)
    values = values[:, :, None] if values.ndim == 2 else np.moveaxis(values, 0, 2)
    values = values * np.float32(dataset.get("RescaleSlope", 1)) + np.float32(
        dataset.get("RescaleIntercept", 0)
    )
    if dataset.get("PhotometricInterpretation", "") == "MONOCHROME1":  # black is the largest value
        bits = 2.0 ** int(dataset.BitsStored) - 1
        values = np.float32(bits) - values
    return values


def _position(dataset: Any) -> tuple[float, int]:
    """Where a slice lies along the normal of its plane, else its number."""
    number = int(dataset.get("InstanceNumber") or 0)
    position, plane = dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient")
    if position is None or plane is None:
        return 0.0, number
    across, down = np.asarray(plane, float).reshape(2, 3)
    return float(np.cross(across, down) @ np.asarray(position, float)), number


def _named_window(dataset: Any) -> tuple[float, float] | None:
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is None or width is None or dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        return None
    middle, half = (float(np.atleast_1d(value)[0]) for value in (centre, width))
    return middle - half / 2, middle + half / 2


def _usual_window(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, QUANTILES)
    return float(low), float(high) if high > low else float(low) + 1.0


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"volumes need the package {name}, which is not installed; install the extra: "
            'pip install "jaxdpmm[medical]".'
        ) from None


def _unreadable(path: Path, error: Exception) -> ValueError:
    text = " ".join(str(error).split()) or type(error).__name__
    return ValueError(
        f"path must be a whole NIfTI or DICOM volume, got {path} ({text}); replace it or leave it out."
    )
