"""Which DICOM files and frames make a volume together, by their series, size, direction and position.

Frames are never stacked by chance: other directions are other volumes, positions that occur several times are as many
volumes (times, echoes), and a gap ends one. Radiographs are images of their own. Read `dicom.py` first.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdpmm.images.medical.dicom import TIMES, attributes_of, read_frames
from jaxdpmm.images.medical.intensities import Volume, import_medical, unreadable, usual_window

NO_SLICES = frozenset(
    ("CR", "DX", "MG", "IO", "PX", "RG", "RF", "XA", "US", "ES", "GM", "SM", "XC", "OP", "OPT")
)
"""Modalities whose files are pictures of their own (PS3.3 C.7.3.1.1.1), unless they tell where they lie."""
NO_SLICES_UID = "1.2.840.10008.5.1.4.1.1."
NO_SLICES_CLASSES = frozenset(["1", "3", "6", "7", "12", "77"])
NO_PICTURES = frozenset(("SEG", "RTDOSE", "REG", "PR", "KO", "SR", "RTSTRUCT", "RTPLAN", "M3D"))
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
GAP = 1.5  # median steps
_LARGEST_IN_HEADER = 2**16  # bytes; what is longer is left on the disk until it is wanted


class Place(NamedTuple):
    """One frame of a file, and where it lies.

    Attributes:
        file: the file.
        frame: which of its frames.
        group: what frames of one volume have in common.
        plane: directions of rows and columns, six numbers, or None.
        corner: of the first pixel in millimetres, or None.
        spacing: between rows and between columns.
        order: what sorts frames of one position, and frames without any.
        inverted: MONOCHROME1.
        uid: of the object.
    """

    file: Path
    frame: int
    group: tuple
    plane: tuple[float, ...] | None
    corner: tuple[float, ...] | None
    spacing: tuple[float, float]
    order: tuple
    inverted: bool
    uid: str

    @property
    def height(self) -> float:
        """Along the normal of its plane."""
        return float(_normal(self.plane or ()) @ np.asarray(self.corner))


class Listing(NamedTuple):
    """Files looked through.

    Attributes:
        stacks: frames of each volume in their order.
        damaged: files that no header could be read of, and what is wrong.
        left_out: why files are no part of a picture, with their numbers.
    """

    stacks: list[tuple[Place, ...]]
    damaged: list[tuple[Path, ValueError]]
    left_out: Counter[str]


def list_series(files: Iterable[Path]) -> Listing:
    """Volumes of DICOM files, by their headers alone, in the order of their first files."""
    pydicom = import_medical("pydicom")
    groups: dict[tuple, list[Place]] = defaultdict(list)
    found = Listing([], [], Counter())
    seen: set[str] = set()
    for file in files:
        try:
            dataset = pydicom.dcmread(file, defer_size=_LARGEST_IN_HEADER)
            reason = _reason(dataset, seen)
            places = [] if reason else _places(dataset, file)
        except Exception as error:  # whatever pydicom raises at damaged files
            found.damaged.append((file, unreadable(file, error)))
            continue
        if reason:
            found.left_out[reason] += 1
        for place in places:
            groups[place.group].append(place)
    for group in groups.values():
        try:
            found.stacks.extend(_split(group))
        except ValueError as error:
            found.damaged.append((min(place.file for place in group), error))
    found.stacks.sort(key=lambda stack: min((place.file, place.frame) for place in stack))
    return found


def load_stack(places: Sequence[Place]) -> Volume:
    """Volume of the frames of a stack.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    pydicom = import_medical("pydicom")
    parts: list[np.ndarray] = []
    of_file: dict[Path, list[int]] = defaultdict(list)
    for place in places:
        of_file[place.file].append(place.frame)
    window = curve = None
    try:
        for file, frames in of_file.items():
            found = read_frames(pydicom.dcmread(file), frames)
            parts.append(found.values)
            if file == places[0].file:
                window, curve = found.window, found.curve
        values = np.concatenate(parts).swapaxes(0, 1).swapaxes(1, 2)
    except Exception as error:
        raise unreadable(file, error) from error
    rows, columns = places[0].spacing
    step, affine = _geometry(places)
    return Volume(
        values,
        (0.0, 1.0) if values.ndim == 4 else window or usual_window(values),
        (rows, columns, step),
        affine,
        places[0].inverted,
        curve,
    )


def _reason(dataset: Any, seen: set[str]) -> str | None:
    """Why an object is no part of a picture; None where it may be one."""
    if not any(name in dataset for name in PIXELS):
        return "without pixels"
    if dataset.get("Modality") in NO_PICTURES:
        return f"of modality {dataset.Modality}"
    uid = str(dataset.get("SOPInstanceUID") or "")
    if uid and uid in seen:
        return "copies"
    seen.add(uid)
    return None


def _places(dataset: Any, file: Path) -> list[Place]:
    number = int(dataset.get("NumberOfFrames") or 1)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    alone = number > 1 or _is_picture(dataset)
    kind = (
        str(dataset.get("SeriesInstanceUID", "")),
        *(dataset.get(name) for name in ("Rows", "Columns", "SamplesPerPixel")),
        inverted,
    )
    places = []
    for frame in range(number):
        own = attributes_of(dataset, frame)
        plane, corner = (
            _numbers(own, "ImageOrientationPatient", 6),
            _numbers(own, "ImagePositionPatient", 3),
        )
        if plane is None or corner is None or not np.linalg.norm(_normal(plane)) > 0:
            plane = corner = None
        direction = None if plane is None else tuple(np.round(plane, 3) + 0.0)
        group = (*kind, direction, file if number > 1 or (alone and plane is None) else None)
        times = (float(own.get(name) or 0) for name in TIMES)
        order = (*times, int(dataset.get("InstanceNumber") or 0), str(file), frame)
        uid = str(dataset.get("SOPInstanceUID") or "")
        places.append(Place(file, frame, group, plane, corner, _spacing(own), order, inverted, uid))
    return places


def _is_picture(dataset: Any) -> bool:
    if dataset.get("Modality"):
        return dataset.Modality in NO_SLICES
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    return kind.startswith(NO_SLICES_UID) and kind[len(NO_SLICES_UID) :].split(".")[0] in (
        NO_SLICES_CLASSES
    )


def _split(group: list[Place]) -> list[tuple[Place, ...]]:
    """Volumes of frames of one direction: one for each time that a position occurs, and none with a gap."""
    frames = sorted(group, key=lambda place: place.order)
    if frames[0].plane is None:
        return [tuple(frames)]
    stacks = []
    for one in _times(frames):
        ordered = sorted(one, key=lambda place: place.height)
        steps = np.diff([place.height for place in ordered])
        gaps = (
            np.flatnonzero(steps > GAP * np.median(steps)) + 1 if len(steps) else np.zeros(0, int)
        )
        ends = [0, *gaps, len(ordered)]
        stacks += [tuple(ordered[i:j]) for i, j in itertools.pairwise(ends)]
    return stacks


def _times(frames: list[Place]) -> list[list[Place]]:
    """Frames of equal positions taken apart: by what the file calls their time, else by their order.

    Raises:
        ValueError: some positions occur more often than others, and nothing tells which belong together.
    """
    if _distinct(frames) or len({_rounded(place) for place in frames}) == 1:  # the latter is a film
        return [frames]
    for number in range(len(TIMES)):
        parts: dict[float, list[Place]] = defaultdict(list)
        for place in frames:
            parts[place.order[number]].append(place)
        if all(map(_distinct, parts.values())):
            return [parts[time] for time in sorted(parts)]
    at: dict[float, list[Place]] = defaultdict(list)
    for place in frames:
        at[_rounded(place)].append(place)
    counts = {len(places) for places in at.values()}
    if len(counts) > 1:
        raise ValueError(
            f"slices of a volume must lie at positions of their own, got {frames[0].file} of a series with "
            f"{min(counts)} to {max(counts)} at one position; sort its times into folders."
        )
    return [[places[number] for places in at.values()] for number in range(counts.pop())]


def _distinct(frames: list[Place]) -> bool:
    return len({_rounded(place) for place in frames}) == len(frames)


def _rounded(place: Place) -> float:
    return round(place.height, 2) + 0.0


def _geometry(places: Sequence[Place]) -> tuple[float, np.ndarray | None]:
    """Distance of neighbouring slices, and voxel indices (row, column, slice) to millimetres in NIfTI's directions."""
    first, last = places[0], places[-1]
    if first.plane is None or first.corner is None:
        return 1.0, None
    across, down = np.asarray(first.plane).reshape(2, 3)
    between = (np.asarray(last.corner) - first.corner) / max(len(places) - 1, 1)
    step = float(np.linalg.norm(between)) or 1.0
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = down * first.spacing[0], across * first.spacing[1]
    affine[:3, 2] = between if between.any() else _normal(first.plane) * step
    affine[:3, 3] = first.corner
    return step, np.diag(
        [-1.0, -1.0, 1.0, 1.0]
    ) @ affine  # left and posterior to right and anterior


def _normal(plane: Sequence[float]) -> np.ndarray:
    across, down = np.asarray(plane, float).reshape(2, 3)
    return np.cross(across, down)


def _numbers(attributes: Any, name: str, count: int) -> tuple[float, ...] | None:
    values = attributes.get(name)
    if values is None or np.size(values) != count:
        return None
    return tuple(float(value) for value in values)


def _spacing(attributes: Any) -> tuple[float, float]:
    """Millimetres between rows and between columns; their ratio alone where that is all there is."""
    for name in ("PixelSpacing", "PixelAspectRatio"):
        found = _numbers(attributes, name, 2)
        if found is not None and min(found) > 0 and np.isfinite(found).all():
            return found[0], found[1]
    return 1.0, 1.0
