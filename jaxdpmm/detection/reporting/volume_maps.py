"""Maps of whole volumes: scores of slices put together again, in the geometry of the file that the slices came from.

A volume scores what its highest slice scores. The p-value of a volume is the smallest of its slices, times their number
(Bonferroni), so that at most a share r of normal volumes has one of at most r. Read `runs.py` for the maps of single
images, and `lesions.py` for what is marked in a volume.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxdpmm.detection.reporting.lesions import Lesion, lesions_of, smoothed_across, table_bytes
from jaxdpmm.detection.state import Survival
from jaxdpmm.images.medical.nifti import nifti_bytes
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.volumes import VolumeSlice
from jaxdpmm.persist import write_whole
from jaxdpmm.storage.files import name_text, with_suffix_added


class ScoredVolume(NamedTuple):
    """What is told of a volume.

    Attributes:
        volume: its name.
        score: of its highest slice.
        slice: the number of that slice.
        p_value: see above; None without p-values of slices.
        num_slices: that were scored.
        num_lesions: connected anomalous voxels; None without a threshold.
        lesions_ml: volume of all of them.
    """

    volume: str
    score: float
    slice: int
    p_value: float | None
    num_slices: int
    num_lesions: int | None
    lesions_ml: float | None


class ScoredSlice(NamedTuple):
    """One line of the profile of a volume: its slices in their order, of which the score is that of the image."""

    volume: str
    slice: int
    score: float
    p_value: float | None


class VolumeMaps:
    """Writes `<name>.nii.gz` for every volume of several slices, as soon as a slice of another one comes.

    Attributes:
        volumes: those that are finished.
        slices: of these that were scored.
        lesions: of all of these.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        threshold: float | None = None,
        survival: Survival | None = None,
        across: float = 0.0,
    ):
        """Say where to; nothing is written yet.

        Args:
            folder: where the maps go, in folders as the volumes lie below the root.
            root: what the names of records lie in.
            threshold: score from which on a voxel is of a lesion; None for no lesions.
            survival: what pixels of normal images score, for p-values of lesions.
            across: standard deviation of smoothing across slices, in millimetres.
        """
        self._folder, self._root = folder, root
        self._threshold, self._survival, self._across = threshold, survival, across
        self._source: VolumeSlice | None = None
        self._name = ""
        self._values = np.zeros((0, 0, 0), np.float32)
        self._slices: list[tuple[float, int, float | None]] = []
        self.volumes: list[ScoredVolume] = []
        self.slices: list[ScoredSlice] = []
        self.lesions: list[Lesion] = []

    def add(
        self,
        record: ImageRecord,
        pixel_scores: Float[np.ndarray, "H W"],
        score: float = 0.0,
        p_value: float | None = None,
    ) -> None:
        """Take the scores of one image; those of what is no slice of a volume are passed over.

        Args:
            record: the image.
            pixel_scores: one for each of its pixels.
            score: of the image.
            p_value: of the image.
        """
        source = record.source
        if not isinstance(source, VolumeSlice):
            return
        if self._source is None or not source.is_beside(self._source):
            self.finish()
            self._source, self._name = source, self._name_of(record)
            self._values = np.full(source.volume().values.shape[:3], np.nan, np.float32)
            self._slices = []
        plane = np.moveaxis(self._values, source.axis, 0)[source.index]
        image = Image.fromarray(np.asarray(pixel_scores, np.float32))
        plane[:] = image.resize(plane.shape[::-1], Image.Resampling.BILINEAR)
        self._slices.append((score, source.index, p_value))

    def finish(self) -> None:
        """Write the volume begun last; slices that were not scored are not a number."""
        source = self._source
        if source is not None and self._values.shape[source.axis] > 1:
            volume = source.volume()
            sigma = self._across / volume.spacing[source.axis]
            values = smoothed_across(self._values, source.axis, sigma)
            path = self._folder / with_suffix_added(self._name, ".nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, nifti_bytes(values, volume))
            self._note(values, source)
        self._source = None

    def write_tables(self, folder: Path) -> None:
        """Write `volumes.csv`, `slices.csv` and `lesions.csv` of the volumes that are finished, where there are any.

        Args:
            folder: of the run; tables of an earlier run in it are removed.
        """
        for name, kind, rows in (
            ("volumes.csv", ScoredVolume, self.volumes),
            ("slices.csv", ScoredSlice, self.slices),
            ("lesions.csv", Lesion, self.lesions),
        ):
            path = folder / name
            if self.volumes:
                write_whole(path, table_bytes(kind._fields, [row._asdict() for row in rows]))
            else:
                path.unlink(missing_ok=True)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The same for a result in JSON; nothing where there are no volumes."""
        if not self.volumes:
            return {}
        return {
            "volumes": [one._asdict() for one in self.volumes],
            "slices": [one._asdict() for one in self.slices],
            "lesions": [one._asdict() for one in self.lesions],
        }

    def _note(self, values: Float[np.ndarray, "X Y Z"], source: VolumeSlice) -> None:
        """Keep what is told of a volume and its lesions."""
        score, index, _ = max(self._slices, key=lambda one: one[0])
        known = [p_value for _, _, p_value in self._slices if p_value is not None]
        p_value = min(1.0, min(known) * len(known)) if known else None
        number, size = None, None
        if self._threshold is not None:
            found = lesions_of(
                self._name, values, source.volume(), source.axis, self._threshold, self._survival
            )
            number, size = len(found), sum(one.volume_ml for one in found)
            self.lesions += found
        profile = sorted(self._slices, key=lambda one: one[1])
        self.slices += [ScoredSlice(self._name, place, one, p) for one, place, p in profile]
        self.volumes.append(
            ScoredVolume(self._name, score, index, p_value, len(self._slices), number, size)
        )

    def _name_of(self, record: ImageRecord) -> str:
        """Name of a slice without its number."""
        name = name_text(record.path.relative_to(self._root).as_posix())[: -len("-0000")]
        for suffix in (".gz", ".nii", ".dcm"):
            name = name.removesuffix(suffix)
        return name or self._root.resolve().name
