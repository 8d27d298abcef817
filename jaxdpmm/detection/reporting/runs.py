"""The folder of a run: what `jaxdpmm score` and `evaluate` leave for a report, complete without the images' own files.

    run.json         which model on which data, figures, and of each image its score, label and files
    maps/*.npy       scores, float32, one per pixel of the original
    previews/*.jpg   the image, its longer side at most 512 pixels
    masks/*.png      truly anomalous pixels, where somebody marked them
    atlas/, components/    what the model's components stand for, see `atlas.py`

Not here: how a page is made of it. Next file to read: `report.py`.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.evaluate import true_mask
from jaxdpmm.detection.products.detector import ProductDetector
from jaxdpmm.detection.reporting.atlas import (
    AtlasEntry,
    components_entry,
    largest_components,
    shares_of,
)
from jaxdpmm.detection.reporting.encoded import jpeg_of, npy_of, png_of_mask
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.images.depth import see
from jaxdpmm.persist import write_whole
from jaxdpmm.storage.files import name_text, with_suffix_added
from jaxdpmm.storage.outputs import RUN_INDEX, check_replaceable

INDEX = "run.json"
FORMAT_VERSION = 1
PREVIEW_SIDE = 512


class RunImage(NamedTuple):
    """One image of a run.

    Attributes:
        name: its path below the folder of images, with slashes.
        score: of the whole image.
        label: 0 normal, 1 anomalous, None unknown.
        kind: of defect, "good" for a normal image, "" when unknown.
        preview: file of the image, smaller.
        map: file of its scores.
        mask: file of the truly anomalous pixels, or None.
        components: file of the component of each patch, or None.
        grid_box: top, left, bottom and right of all patches, as shares of the image; None without components.
    """

    name: str
    score: float
    label: int | None
    kind: str
    preview: Path
    map: Path
    mask: Path | None
    components: Path | None = None
    grid_box: tuple[float, float, float, float] | None = None


NUM_SUSPECTED = 20  # training images that the page lists


class Run(NamedTuple):
    """What was found in the folder of a run.

    Attributes:
        about: "model", "data", "colour_limits", "threshold" (from which score on an image is anomalous, or None),
            "figures" (what `evaluate --json` writes, or None), "shares" (of the training patches, by component).
        images: in the order in which they were scored.
        atlas: the largest components, largest first; none where the training images were gone.
    """

    about: dict[str, Any]
    images: tuple[RunImage, ...]
    atlas: tuple[AtlasEntry, ...] = ()


class RunWriter:
    """Writes a run image by image; the index names them with `finish`.

    An index without images is written at once, so that the folder is known for a run whatever becomes of this one.
    """

    def __init__(
        self,
        folder: Path,
        detector: Detector | ProductDetector,
        *,
        model: str,
        data: str,
        rate: float = 0.05,
    ):
        """Make the folder.

        Args:
            folder: of the run; the folder that it lies in exists.
            detector: that makes the scores.
            model: where it came from, for the page's head.
            data: the name of the data, for the page's title.
            rate: false positive rate of the threshold.

        Raises:
            FileExistsError: the folder has the index of something else.
        """
        check_replaceable(folder / INDEX, RUN_INDEX)
        self._folder = folder
        self._entries: list[dict[str, Any]] = []
        # Components and training images of several products are of many mixtures, and are not shown
        alone = None if isinstance(detector, ProductDetector) else detector
        atypical = () if alone is None else alone.state.training_images[:NUM_SUSPECTED]
        self._about: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "model": model,
            "data": data,
            "colour_limits": list(detector.colour_limits),
            "threshold": _threshold(detector, rate),
            "figures": None,
            "shares": [] if alone is None else shares_of(alone),
            "atlas": [],
            "training_images": [one._asdict() for one in atypical],
        }
        folder.mkdir(exist_ok=True)
        if not (folder / INDEX).exists():
            self.finish()
        self._about["atlas"] = [
            self._atlas_entry(component, crops)
            for component, crops in (() if alone is None else largest_components(alone))
        ]

    def add(
        self,
        name: str,
        scored: ScoredImage,
        image: Float[np.ndarray, "H W 3"],
        pixel_scores: Float[np.ndarray, "H W"],
    ) -> None:
        """Write the files of one image.

        Args:
            name: its path below the folder of images; names differ.
            scored: record and score.
            image: RGB in [0, 1].
            pixel_scores: one per pixel.

        Raises:
            ValueError: the mask does not fit the image.
        """
        name = name_text(name)
        mask = true_mask(scored)
        entry: dict[str, Any] = {
            "name": name,
            "score": scored.score,
            "label": scored.record.label,
            "kind": scored.record.kind,
            "preview": with_suffix_added(f"previews/{name}", ".jpg"),
            "map": with_suffix_added(f"maps/{name}", ".npy"),
            "mask": None,
            "components": None,
        }
        if mask is not None and mask.any():
            entry["mask"] = with_suffix_added(f"masks/{name}", ".png")
        self._write(entry["preview"], jpeg_of(image, PREVIEW_SIDE))
        self._write(entry["map"], npy_of(pixel_scores.astype(np.float32)))
        if mask is not None and entry["mask"]:
            self._write(entry["mask"], png_of_mask(mask))
        if scored.components is not None:
            place, content = components_entry(scored)
            entry |= {"components": with_suffix_added(f"components/{name}", ".npy")} | place
            self._write(entry["components"], content)
        self._entries.append(entry)

    def finish(
        self, figures: Mapping[str, Any] | None = None, *, num_images: int | None = None
    ) -> None:
        """Write the index of the images so far; nothing is computed here, so that it can be done at any time.

        Args:
            figures: what `evaluate --json` writes.
            num_images: leave out those behind the first so many.
        """
        about = {**self._about, "figures": None if figures is None else dict(figures)}
        content = json.dumps({**about, "images": self._entries[:num_images]}, indent=1)
        write_whole(self._folder / INDEX, (content + "\n").encode())

    def _atlas_entry(self, component: int, crops: Sequence[bytes]) -> dict[str, Any]:
        """Write the crops of a component; what the index says of it."""
        names = [f"atlas/{component}-{number}.jpg" for number in range(len(crops))]
        for name, content in zip(names, crops, strict=True):
            self._write(name, content)
        share = self._about["shares"][component]
        return {"component": component, "share": share, "crops": names}

    def _write(self, name: Any, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)


def write_run(
    folder: Path,
    detector: Detector | ProductDetector,
    images: Sequence[ScoredImage],
    *,
    model: str,
    data: str,
    figures: Mapping[str, Any] | None = None,
) -> None:
    """A whole run at once, for scores that are in memory already; the arguments are those of `RunWriter` and `finish`.

    Images are named by what their paths do not have in common; of equal names all but the first get a number.
    """
    writer = RunWriter(folder, detector, model=model, data=data)
    root = Path(os.path.commonpath([image.record.path.parent for image in images]))
    seen: Counter[str] = Counter()
    for image in images:
        name = image.record.path.relative_to(root).as_posix()
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name}-{seen[name]}"
        pixel_scores = image.pixel_scores(detector.config.sigma)
        pixels = see(image.record, detector.config.value_range).pixels
        writer.add(name, image, pixels, pixel_scores)
    writer.finish(figures)


def read_run(folder: Path) -> Run:
    """The index of a run.

    Raises:
        FileNotFoundError: no such folder, no index in it, or one of its files is gone.
        ValueError: the index is no JSON, of another version, or empty.
    """
    path = folder / INDEX
    if not path.is_file():
        found = "a folder without run.json" if folder.is_dir() else "no folder"
        raise FileNotFoundError(
            f"run must be a folder that `jaxdpmm score --output` or `jaxdpmm evaluate --output` wrote, got "
            f"{folder} ({found}); give that folder."
        )
    about = _parsed(path)
    entries = about.pop("images")
    images = tuple(RunImage(**{**entry, **_files(folder, entry)}) for entry in entries)
    atlas = tuple(
        AtlasEntry(one["component"], one["share"], tuple(folder / crop for crop in one["crops"]))
        for one in about.pop("atlas", ())
    )
    _check_files(crop for entry in atlas for crop in entry.crops)
    return Run(about, images, atlas)


def _threshold(detector: Detector | ProductDetector, rate: float) -> float | None:
    """Score from which on an image is called anomalous; None where too few normal images were held out to say."""
    if isinstance(detector, ProductDetector) or detector.calibration is None:
        return None
    try:
        return detector.threshold(rate)
    except ValueError:
        return None


def _parsed(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text())
        version, number = about["format_version"], len(about["images"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be the index that jaxdpmm wrote, got something else or half of it; score again."
        ) from error
    if version != FORMAT_VERSION or number == 0:
        raise ValueError(
            f"{path} must be of format version {FORMAT_VERSION} with at least one image, got version {version} with "
            f"{number} images; score again."
        )
    return about


def _files(folder: Path, entry: Mapping[str, Any]) -> dict[str, Path | None]:
    names = ("preview", "map", "mask", "components")  # runs of before have no components
    files = {name: entry[name] and folder / entry[name] for name in names if name in entry}
    _check_files(path for path in files.values() if path is not None)
    return files


def _check_files(paths: Iterable[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"run must hold all files of its index, got none at {path}; copy the whole folder, or score again."
            )
