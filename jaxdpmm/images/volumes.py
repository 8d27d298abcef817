"""Slices of DICOM series and NIfTI volumes as images, through one window of intensities for a whole volume.

A slice is never stretched to its own range: what is bright must be bright in all slices. Without a window the one that
a DICOM file names is taken, else the 0.5 % to 99.5 % quantiles of the volume (MRI has no unit); for CT give one in
Hounsfield units, for example `window=(-160, 240)` for soft tissue. Slices of one patient are alike: keep them on one
side of every split. Needs the extra `medical` (pydicom, nibabel), imported on first use.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from jaxdpmm.images.listing import files_in, is_companion, is_dicom, is_image, is_nifti
from jaxdpmm.images.medical.dicom_series import Listing, Place, list_series, load_stack
from jaxdpmm.images.medical.intensities import Volume, grey_of, square_size, unreadable
from jaxdpmm.images.medical.nifti import load_nifti, marks_of
from jaxdpmm.images.reading import to_rgb
from jaxdpmm.images.records import ANOMALOUS, NORMAL, ImageRecord
from jaxdpmm.images.transforms import resize

_KEPT_VOLUMES = 4  # threads read slices of neighbouring volumes at the same time


@dataclass(frozen=True)
class VolumeSlice:
    """A `Source`: one slice of a volume, with square pixels.

    Attributes:
        path: a NIfTI file, a DICOM file or a folder of them.
        axis: 0, 1 or 2, across which the volume is cut.
        index: which slice.
        window: intensities that become black and white, or None for the volume's own.
        mask_path: a volume of the same shape, anomalous where not zero, or None.
        places: frames of DICOM files that make the volume; empty for all that lies at the path.
    """

    path: Path
    axis: int
    index: int
    window: tuple[float, float] | None = None
    mask_path: Path | None = None
    places: tuple[Place, ...] = ()

    def volume(self) -> Volume:
        """The whole volume."""
        return _cached(self.path, self.places)

    def is_beside(self, other: "VolumeSlice") -> bool:
        """Whether two slices are of one volume, cut across one axis."""
        keys = [(one.path, one.axis, one.places) for one in (self, other)]
        return keys[0] == keys[1]

    def pixels(self) -> np.ndarray:
        """Float32 RGB in [0, 1]; grey is repeated three times."""
        volume = self.volume()
        values = np.take(volume.values, self.index, axis=self.axis)
        image = to_rgb(grey_of(values, volume, self.window), self.path)
        return resize(image, self._size(volume))

    def mask(self) -> np.ndarray | None:
        """Anomalous pixels."""
        if self.mask_path is None:
            return None
        volume = self.volume()
        marks = marks_of(_cached(self.mask_path), self.mask_path, volume)
        return _nearest(np.take(marks, self.index, axis=self.axis), self._size(volume))

    def _size(self, volume: Volume) -> tuple[int, int]:
        height, width = np.delete(volume.values.shape[:3], self.axis)
        rows, columns = np.delete(volume.spacing, self.axis)
        return square_size((int(height), int(width)), (float(rows), float(columns)))


@dataclass(frozen=True)
class Unreadable:
    """A `Source` of a volume that cannot be read, so that it is skipped or raised like an image that cannot."""

    message: str

    def pixels(self) -> np.ndarray:
        """Nothing.

        Raises:
            ValueError: always.
        """
        raise ValueError(self.message)

    def mask(self) -> None:
        """Nothing."""


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
        path: a NIfTI file of three axes, a DICOM file of one or several frames, or a folder with the DICOM files of one
            series.
        mask_path: a volume of the same shape, anomalous where not zero; slices with a mark in it are anomalous. Its
            axes may have other directions, as its affine says.
        axis: across which to cut. Of a NIfTI file 0 gives sagittal, 1 coronal and 2 axial slices, however it is stored;
            of a DICOM series 0 goes down the rows, 1 along them, and 2 is the one along which its files were taken.
        window: intensities that become black and white; colours have none.
        label: of all slices, where there is no mask.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the extra `medical` is not installed.
        ValueError: no volume, several of them, a mask of another shape or place, or a window that is not ascending.
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
        marks = marks_of(_cached(mask_path), mask_path, volume)
    records = []
    for index in range(volume.values.shape[axis]):
        own = label
        if marks is not None:
            own = ANOMALOUS if np.take(marks, index, axis=axis).any() else NORMAL
        source = VolumeSlice(path, axis, index, window, mask_path)
        records.append(ImageRecord(_name(path, index), own, _kind(own), None, source))
    return tuple(records)


def read_volumes(
    path: str | Path, *, label: int | None = None, mask_path: Path | None = None
) -> tuple[ImageRecord, ...]:
    """Records of all slices of all volumes of a NIfTI file, a DICOM file or a folder of DICOM files.

    Files of a folder are sorted into volumes by series, direction, time and position; a radiograph is one image. A
    volume that cannot be read is one record, which is skipped or raised when its pixels are wanted.

    Args:
        path: what `read_volume` takes; folders in a folder are not searched.
        label: of all slices, where there is no mask.
        mask_path: a volume, where the path has one volume too (see `read_volume`); None for no mask.
    """
    path = Path(path).expanduser()
    if is_nifti(path) or mask_path is not None:
        try:
            return read_volume(path, label=label, mask_path=mask_path)
        except ValueError as error:
            return (_bad(path, error, label),)
    listing = _listed(path)
    if listing.left_out:
        reasons = ", ".join(f"{number} {why}" for why, number in listing.left_out.items())
        warnings.warn(
            f"{path}: leaves out DICOM objects that are no pictures ({reasons}); nothing to do.",
            stacklevel=2,
        )
    records = [_bad(file, error, label) for file, error in listing.damaged]
    for number, places in enumerate(listing.stacks):
        try:
            if len(places) > 1:  # once for all of its slices, before each of them fails
                _cached(path, places)
        except ValueError as error:
            records.append(_bad(places[0].file, error, label))
            continue
        for index in range(len(places)):
            source = VolumeSlice(path, 2, index, places=places)
            if len(places) == 1:
                name = _name_of_single(places[0], listing)
            else:
                name = _name(path, index, number if len(listing.stacks) > 1 else None)
            records.append(ImageRecord(name, label, _kind(label), None, source))
    return tuple(records)


def volumes_in(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """NIfTI files and folders that hold DICOM files, by path, with the files of each.

    DICOM files are known by the suffix `.dcm` or by their content.
    """
    found: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        if is_nifti(file):
            found[file].append(file)
        elif not is_image(file) and not is_companion(file) and is_dicom(file):
            found[file.parent].append(file)
    return {path: found[path] for path in sorted(found)}


def is_volume(path: Path) -> bool:
    """Whether a file is NIfTI by its suffix or DICOM by its suffix or content."""
    return path.is_file() and (is_nifti(path) or is_dicom(path))


def load_volume(path: str | Path) -> Volume:
    """Intensities and window of a volume (see `read_volume`), kept until its files change."""
    return _cached(Path(path))


def _cached(path: Path, places: tuple[Place, ...] = ()) -> Volume:
    if not path.exists():
        raise FileNotFoundError(
            f"path must be a NIfTI or DICOM file or a folder of DICOM files, got {path} (nothing there); check it."
        )
    files = {place.file for place in places} or {path, *(files_in(path) if path.is_dir() else ())}
    stamps = tuple(sorted((str(file), *_stamp(file)) for file in files))
    return _loaded(path, places, stamps)


@lru_cache(maxsize=_KEPT_VOLUMES)
def _loaded(path: Path, places: tuple[Place, ...], stamps: tuple) -> Volume:
    if is_nifti(path):
        return load_nifti(path)
    return load_stack(places or _only_stack(path))


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:  # whoever reads it says so
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _listed(path: Path) -> Listing:
    """DICOM files at a path; of a folder those alone that are."""
    return list_series([p for p in files_in(path) if is_dicom(p)] if path.is_dir() else [path])


def _only_stack(path: Path) -> tuple[Place, ...]:
    listing = _listed(path)
    if listing.damaged:
        raise listing.damaged[0][1]
    series = {place.group[0] for places in listing.stacks for place in places}
    if len(series) > 1:
        raise ValueError(
            f"path must hold the files of one DICOM series, got {path} with {len(series)}; sort them into folders."
        )
    if not listing.stacks:
        raise unreadable(path, ValueError("no DICOM file with pixels"))
    if len(listing.stacks) > 1:
        sizes = ", ".join(str(len(places)) for places in listing.stacks[:8])
        raise ValueError(
            f"path must hold one volume, got {path} with {len(listing.stacks)} by direction, position and time (of "
            f"{sizes} slices); use read_volumes or sort them into folders."
        )
    return listing.stacks[0]


def _name(path: Path, index: int, volume: int | None = None) -> Path:
    """What a slice is called: in its folder, or beside its file."""
    number = f"{index:04d}" if volume is None else f"{volume:03d}-{index:04d}"
    return path / number if path.is_dir() else path.with_name(f"{path.name}-{number}")


def _name_of_single(place: Place, listing: Listing) -> Path:
    """A picture of one file goes by its name."""
    shared = sum(other.file == place.file for stack in listing.stacks for other in stack) > 1
    return place.file.with_name(f"{place.file.name}-{place.frame:04d}") if shared else place.file


def _bad(path: Path, error: ValueError, label: int | None) -> ImageRecord:
    return ImageRecord(path, label, _kind(label), None, Unreadable(str(error)))


def _kind(label: int | None) -> str:
    return {NORMAL: "good", ANOMALOUS: "anomalous", None: ""}[label]


def _nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
