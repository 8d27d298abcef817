"""Records of all images and volumes of one kind in a folder: normal ones, or defects with their masks.

Read `mvtec.py` next.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxdpmm.images import names
from jaxdpmm.images.listing import files_below, folders_in, images_in
from jaxdpmm.images.masks import mask_folder, masks_for
from jaxdpmm.images.names import role_of
from jaxdpmm.images.records import ANOMALOUS, NORMAL, ImageRecord
from jaxdpmm.images.volumes import Unreadable, VolumeSlice, read_volumes, volumes_in


def normal_records(files: Iterable[Path]) -> tuple[ImageRecord, ...]:
    """Records of image files that are normal."""
    return tuple(ImageRecord(file, NORMAL, "good") for file in files)


def normal_in(folder: Path) -> tuple[ImageRecord, ...]:
    """Records of the images in a folder and of the volumes below it, which are normal."""
    return (*normal_records(images_in(folder)), *normal_volumes(folder))


def normal_volumes(folder: Path) -> tuple[ImageRecord, ...]:
    """Records of the slices of the volumes below a folder, which are normal."""
    volumes = _volumes_below(folder, mask_folder(folder))
    return tuple(record for path in volumes for record in read_volumes(path, label=NORMAL))


def records_of_kind(folder: Path, masks: Path | None) -> list[ImageRecord]:
    """Records of a folder of test images and volumes.

    Slices of an anomalous volume are anomalous where its mask marks them. A volume without a mask cannot be read, since
    nobody knows which of its slices are anomalous.

    Args:
        folder: normal by its name, or anomalous, of the kind that it is called.
        masks: the folder that holds one of masks for each kind.

    Raises:
        ValueError: a mask is missing.
    """
    if role_of(folder.name) == names.NORMAL:
        return list(normal_in(folder))
    return records_with_masks(folder, masks and _same_name(masks, folder.name), folder.name)


def records_with_masks(folder: Path, masks: Path | None, kind: str) -> list[ImageRecord]:
    """Records of a folder of anomalous images and volumes, as of `records_of_kind`.

    Args:
        folder: of the images.
        masks: the folder of their masks; None where nobody marked pixels.
        kind: of the defects.

    Raises:
        ValueError: a mask is missing.
    """
    files = images_in(folder)
    pairs = zip(files, masks_for(files, masks), strict=True)
    records = [ImageRecord(file, ANOMALOUS, kind, mask) for file, mask in pairs]
    volumes = _volumes_below(folder, masks)
    for path, mask in zip(volumes, masks_for(volumes, masks), strict=True):
        found = read_volumes(path, label=ANOMALOUS, mask_path=mask)
        records += _told_apart(found) if mask is None else found
    return [r._replace(kind=kind) if r.label == ANOMALOUS else r for r in records]


def _volumes_below(folder: Path, masks: Path | None) -> list[Path]:
    """Volumes below a folder, without those in a folder of masks."""
    volumes = volumes_in(files_below(folder).files)
    return [path for path in volumes if masks is None or not path.is_relative_to(masks)]


def _told_apart(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Anomalous images, with one record that cannot be read for each volume of several slices."""
    records = list(records)
    sizes = Counter(map(_volume_of, records))
    kept = {}
    for record in records:
        path, _ = volume = _volume_of(record)
        if isinstance(record.source, VolumeSlice) and sizes[volume] > 1:
            message = (
                f"an anomalous volume must have a mask that tells which slices are, got none for {path} "
                f"({sizes[volume]} slices); add one, or leave it out."
            )
            record = ImageRecord(path, ANOMALOUS, source=Unreadable(message))
        kept[volume] = record
    return list(kept.values())


def _volume_of(record: ImageRecord) -> tuple[Path, Any]:
    """What is equal for the slices of one volume, and for no other images."""
    source = record.source
    return (source.path, source.places) if isinstance(source, VolumeSlice) else (record.path, None)


def _same_name(folder: Path, name: str) -> Path | None:
    """The folder in another one of that name, in any case."""
    return next((one for one in folders_in(folder) if one.name.casefold() == name.casefold()), None)
