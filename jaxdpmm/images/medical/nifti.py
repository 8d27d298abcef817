"""NIfTI files: volumes in the directions that their affine tells, and maps written back in those of the file.

Every volume is turned to the nearest of right, anterior and superior (`nibabel.as_closest_canonical`), so that an axis
is the same anatomical direction for all files. Read `intensities.py` first.
"""

import gzip
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxdpmm.images.medical.intensities import Volume, import_medical, unreadable, usual_window

SAME_PLACE = 0.5  # voxels that corners of an image and its mask may lie apart


def load_nifti(path: Path) -> Volume:
    """Volume of a file, its axes turned to right, anterior and superior.

    Raises:
        ValueError: it is damaged, or has not three axes: of several times or channels nobody knows which is meant.
    """
    nibabel = import_medical("nibabel")
    try:
        stored = nibabel.load(path)
        axes = nibabel.io_orientation(stored.affine)
        shape = stored.shape
        if len(shape) >= 3 and set(shape[3:]) <= {1}:
            turned = nibabel.as_closest_canonical(nibabel.squeeze_image(stored))
            values = _numbers(np.asarray(turned.dataobj).reshape(turned.shape[:3]))
    except Exception as error:  # whatever nibabel raises at a file that is damaged
        raise unreadable(path, error) from error
    if len(shape) < 3 or not set(shape[3:]) <= {1}:
        raise ValueError(
            f"a volume must have three axes, got {path} with shape {shape}; choose one channel or time."
        )
    if np.isnan(axes).any():
        raise unreadable(path, ValueError("its affine has a direction without length"))
    across, along, up = (float(size) for size in nibabel.affines.voxel_sizes(turned.affine))
    window = usual_window(values) if values.ndim == 3 else (0.0, 1.0)
    return Volume(values, window, (across, along, up), turned.affine, stored_axes=axes)


def _numbers(values: np.ndarray) -> Float[np.ndarray, "X Y Z *C"]:
    """Intensities, or colours in [0, 1], of which a file has a byte each."""
    if values.dtype.names is not None:
        return np.stack([values[name] for name in "RGB"], axis=3).astype(np.float32) / 255
    if values.dtype.kind == "c":
        raise ValueError("complex numbers; save their magnitude")
    return values.astype(np.float32)


def nifti_bytes(values: Float[np.ndarray, "X Y Z"], volume: Volume) -> bytes:
    """Content of a `.nii.gz` with numbers of a volume, in the directions and with the affine of the file it came from.

    Args:
        values: one for each voxel of `volume.values`.
        volume: where they belong.
    """
    nibabel = import_medical("nibabel")
    affine = np.eye(4) if volume.affine is None else volume.affine
    image = nibabel.Nifti1Image(values.astype(np.float32), affine)
    if volume.stored_axes is not None:
        canonical = nibabel.orientations.axcodes2ornt("RAS")
        image = image.as_reoriented(
            nibabel.orientations.ornt_transform(canonical, volume.stored_axes)
        )
    return gzip.compress(image.to_bytes(), mtime=0)


def marks_of(mask: Volume, path: Path, volume: Volume) -> np.ndarray:
    """Marked voxels of a mask in the directions of a volume.

    Args:
        mask: anomalous where not zero; what is not a number is not marked.
        path: of the mask, for messages.
        volume: what it belongs to.

    Raises:
        ValueError: it has another shape, or lies elsewhere.
    """
    marks = np.nan_to_num(mask.values) != 0
    affine = mask.affine
    if affine is not None and volume.affine is not None:
        orientations = import_medical("nibabel").orientations
        turn = orientations.ornt_transform(
            orientations.io_orientation(affine), orientations.io_orientation(volume.affine)
        )
        affine = affine @ orientations.inv_ornt_aff(turn, marks.shape[:3])
        marks = orientations.apply_orientation(marks, turn)
    shape = volume.values.shape[:3]
    if marks.shape != shape:
        raise ValueError(
            f"a mask must have the shape of its volume, {shape}, got {path} with {marks.shape}; resample it."
        )
    if affine is not None and volume.affine is not None:
        corners = np.array([[*c, 1.0] for c in np.ndindex(2, 2, 2)]) * [
            *(n - 1 for n in shape), 1
        ]  # fmt: skip
        apart = np.abs(np.linalg.solve(volume.affine, (affine - volume.affine) @ corners.T)[:3])
        if apart.max() > SAME_PLACE:
            raise ValueError(
                f"a mask must lie where its volume lies, got {path} whose corners are up to {apart.max():.3g} voxels "
                "away; resample it to the volume."
            )
    return marks
