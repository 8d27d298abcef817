"""The layout of DAGM 2007, one class: `Train/*`, `Test/*`, and in each `Label/<stem>_label.*` for images with a defect.

An image without a label is normal. Anomalous images of `Train/` are neither learned from nor tested with.

References:
    Wieler and Hahn (2007), Weakly Supervised Learning for Industrial Optical Inspection. DAGM symposium.
"""

from pathlib import Path

from jaxdpmm.images import names
from jaxdpmm.images.data_sets.kinds import normal_records
from jaxdpmm.images.listing import check_folder, folder_of, images_in
from jaxdpmm.images.masks import mask_folder, masks_there
from jaxdpmm.images.records import ANOMALOUS, DataSet, ImageRecord
from jaxdpmm.images.refusals import wrong_layout

KIND = "defect"


def is_dagm(path: Path) -> bool:
    """Whether a folder says that it has this layout: images with labels in both parts."""
    parts = [folder_of(path, role) for role in (names.TRAIN, names.TEST)]
    return all(part is not None and images_in(part) and mask_folder(part) for part in parts)


def read_dagm(path: str | Path) -> DataSet:
    """One class of DAGM.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout is absent or empty.
    """
    path = check_folder(path)
    (train, _), (normal, anomalous) = (_parted(path, role) for role in (names.TRAIN, names.TEST))
    if not train or not (normal or anomalous):
        raise wrong_layout(
            path, "DAGM", "images in Train and Test, labels in Train/Label and Test/Label"
        )
    return DataSet(
        path.resolve().name, normal_records(train), (*anomalous, *normal_records(normal))
    )


def _parted(path: Path, role: str) -> tuple[list[Path], list[ImageRecord]]:
    """Normal images of a part, and records of those that have a label."""
    part = folder_of(path, role)
    labels = part and mask_folder(part)
    if part is None or labels is None:
        return [], []
    files = images_in(part)
    images = list(zip(files, masks_there(files, labels), strict=True))
    normal = [file for file, mask in images if mask is None]
    return normal, [ImageRecord(file, ANOMALOUS, KIND, mask) for file, mask in images if mask]
