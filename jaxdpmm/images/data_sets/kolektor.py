"""The layout of KolektorSDD2: `train/<number>.png`, `test/<number>.png`, and beside each `<number>_GT.png`.

Every image has a mask, and one without a mark in it is normal; so the masks are opened here. Anomalous images of
`train/` are neither learned from nor tested with.

References:
    Bozic, Tabernik and Skocaj (2021), Mixed supervision for surface-defect detection: from weakly to fully supervised
        learning. Computers in Industry 129.
"""

from pathlib import Path

from jaxdpmm.images.data_sets.kinds import normal_records
from jaxdpmm.images.listing import check_folder, images_in
from jaxdpmm.images.masks import stem_of
from jaxdpmm.images.reading import load_mask
from jaxdpmm.images.records import ANOMALOUS, DataSet, ImageRecord
from jaxdpmm.images.refusals import wrong_layout

PARTS = ("train", "test")
MARK = "_gt"  # at the end of the name of a mask, in small letters
KIND = "defect"


def is_kolektor(path: Path) -> bool:
    """Whether a folder says that it has this layout: every image of both parts with its mask beside it."""
    return all((path / part).is_dir() and _is_paired(path / part) for part in PARTS)


def read_kolektor(path: str | Path) -> DataSet:
    """The data set, or any other in its layout.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: an image has no mask, a mask cannot be read, or there is no normal image to learn from.
    """
    path = check_folder(path)
    if not is_kolektor(path):
        raise wrong_layout(
            path, "KolektorSDD2", "train/<number>.png and train/<number>_GT.png, and test"
        )
    (train, _), (normal, anomalous) = (_parted(path / part) for part in PARTS)
    if not train:
        raise wrong_layout(path, "KolektorSDD2", "images in train whose masks have no mark")
    return DataSet(
        path.resolve().name, normal_records(train), (*anomalous, *normal_records(normal))
    )


def _pairs(folder: Path) -> list[tuple[Path, Path | None]]:
    """Images of a part, each with the mask beside it."""
    files = images_in(folder)
    masks = {stem_of(file).removesuffix(MARK): file for file in files if _is_mask(file)}
    return [(file, masks.get(stem_of(file))) for file in files if not _is_mask(file)]


def _is_mask(file: Path) -> bool:
    return stem_of(file).endswith(MARK)


def _is_paired(folder: Path) -> bool:
    pairs = _pairs(folder)
    return bool(pairs) and all(mask is not None for _, mask in pairs)


def _parted(folder: Path) -> tuple[list[Path], list[ImageRecord]]:
    """Normal images of a part, and records of the others."""
    normal, anomalous = [], []
    for image, mask in _pairs(folder):
        if mask is not None and load_mask(mask).any():
            anomalous.append(ImageRecord(image, ANOMALOUS, KIND, mask))
        else:
            normal.append(image)
    return normal, anomalous
