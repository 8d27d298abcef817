"""Maps of whole volumes: scores of slices put together again, in the geometry of the file that the slices came from.

Read `runs.py` for the maps of single images.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxdpmm.images.medical.nifti import nifti_bytes
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.volumes import VolumeSlice
from jaxdpmm.persist import write_whole
from jaxdpmm.storage.files import name_text, with_suffix_added


class VolumeMaps:
    """Writes `<name>.nii.gz` for every volume of several slices, as soon as a slice of another one comes."""

    def __init__(self, folder: Path, root: Path):
        """Say where to; nothing is written yet.

        Args:
            folder: where the maps go, in folders as the volumes lie below the root.
            root: what the names of records lie in.
        """
        self._folder, self._root = folder, root
        self._source: VolumeSlice | None = None
        self._name = ""
        self._values = np.zeros((0, 0, 0), np.float32)

    def add(self, record: ImageRecord, pixel_scores: Float[np.ndarray, "H W"]) -> None:
        """Take the scores of one image; those of what is no slice of a volume are passed over.

        Args:
            record: the image.
            pixel_scores: one for each of its pixels.
        """
        source = record.source
        if not isinstance(source, VolumeSlice):
            return
        if self._source is None or not source.is_beside(self._source):
            self.finish()
            self._source, self._name = source, self._name_of(record)
            self._values = np.full(source.volume().values.shape[:3], np.nan, np.float32)
        plane = np.moveaxis(self._values, source.axis, 0)[source.index]
        image = Image.fromarray(np.asarray(pixel_scores, np.float32))
        plane[:] = image.resize(plane.shape[::-1], Image.Resampling.BILINEAR)

    def finish(self) -> None:
        """Write the volume begun last; slices that were not scored are not a number."""
        if self._source is not None and self._values.shape[self._source.axis] > 1:
            path = self._folder / with_suffix_added(self._name, ".nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, nifti_bytes(self._values, self._source.volume()))
        self._source = None

    def _name_of(self, record: ImageRecord) -> str:
        """Name of a slice without its number."""
        name = name_text(record.path.relative_to(self._root).as_posix())[: -len("-0000")]
        for suffix in (".gz", ".nii", ".dcm"):
            name = name.removesuffix(suffix)
        return name or self._root.resolve().name
