"""Find the images of a data set on disk: a plain folder, or the layout of MVTec AD, VisA, BTAD or BMAD.

A layout becomes records, no image is opened. When a folder has none of them the message tells
what was found there. Another layout is one more file with one function, and one more line in
`open_data_set`. Read `reading.py` next.
"""

from pathlib import Path

from jaxdpmm.images.bmad import is_bmad, read_bmad
from jaxdpmm.images.btad import is_btad, read_btad
from jaxdpmm.images.elpv import read_elpv
from jaxdpmm.images.listing import (
    IMAGE_SUFFIXES,
    check_folder,
    content_of,
    folders_in,
    images_in,
    wrong_layout,
)
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord
from jaxdpmm.images.visa import is_visa, read_visa
from jaxdpmm.images.volumes import read_volume, volumes_in

NAMED_DATA_SETS = {"elpv": read_elpv}


def open_data_set(path_or_name: str | Path) -> DataSet:
    """Data set behind a folder, or behind one of the names in `NAMED_DATA_SETS`.

    A folder with `train/` and `test/` is read as BTAD where normal images lie in `ok/`, as BMAD
    where there is `valid/` or images lie in `img/`, else as MVTec AD; one with `Data/Images/` as
    a category of VisA; any other as a plain folder, whose images all go to `train` (without labels).
    A folder wins over a name of the same spelling.

    Args:
        path_or_name: a folder or "elpv".

    Raises:
        FileNotFoundError: there is no such folder and no such name.
        ValueError: the folder holds no images or its layout is none of the known ones.
    """
    path = Path(path_or_name).expanduser()
    if not path.exists() and str(path_or_name) in NAMED_DATA_SETS:
        return NAMED_DATA_SETS[str(path_or_name)]()
    path = check_folder(path, tuple(NAMED_DATA_SETS))
    for is_layout, read in ((is_visa, read_visa), (is_btad, read_btad), (is_bmad, read_bmad)):
        if is_layout(path):
            return read(path)
    if (path / "train").is_dir() and (path / "test").is_dir():
        return read_mvtec(path)
    if (path / "ground_truth").is_dir() or (path / "test").is_dir():
        raise wrong_layout(path, "MVTec AD", "train/good and test/<kind> beside it")
    categories = [p.name for p in folders_in(path) if (p / "train").is_dir() or is_visa(p)]
    if categories:
        raise ValueError(
            f"path must be one data set, got {path} with {len(categories)} of them "
            f"({', '.join(categories[:5])}); choose one, for example {path / categories[0]}."
        )
    return DataSet(path.resolve().name, read_folder(path), ())


def read_folder(path: str | Path, label: int | None = None) -> tuple[ImageRecord, ...]:
    """Records of all images below a folder, sorted by path.

    Hidden files and files without the suffix of an image are passed over. NIfTI files and folders
    of DICOM files (`.dcm`) count as images slice by slice, see `volumes.read_volume`.

    Args:
        path: a folder; folders in it are searched too.
        label: label for all of them, None when unknown.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images.
    """
    path = check_folder(path, tuple(NAMED_DATA_SETS))
    kind = "good" if label == NORMAL else ""
    records = tuple(ImageRecord(file, label, kind) for file in images_in(path, "**/*"))
    for volume in volumes_in(path):
        records += read_volume(volume, label=label)
    if not records:
        raise ValueError(
            f"path must hold at least one image ({', '.join(sorted(IMAGE_SUFFIXES))}), "
            f"got {path} with {content_of(path)}; give the folder that holds the images."
        )
    return records


def read_mvtec(path: str | Path) -> DataSet:
    """Data set in the layout of MVTec AD (Bergmann et al. 2019), one category.

    `train/good/*`, `test/good/*`, `test/<kind>/*` and, where pixel masks exist,
    `ground_truth/<kind>/<stem>_mask.png` or `<stem>.png`. A kind without a folder in
    `ground_truth/` has image-level labels only.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout is absent or empty, or a mask is missing.
    """
    path = check_folder(path)
    train = tuple(ImageRecord(file, NORMAL, "good") for file in images_in(path / "train" / "good"))
    if not train:
        raise wrong_layout(path, "MVTec AD", "normal images in train/good")
    test = tuple(
        record for folder in folders_in(path / "test") for record in _of_kind(path, folder)
    )
    if not test:
        raise wrong_layout(path, "MVTec AD", "images in test/good and test/<kind>")
    return DataSet(path.resolve().name, train, test)


def _of_kind(root: Path, folder: Path) -> list[ImageRecord]:
    if folder.name == "good":
        return [ImageRecord(file, NORMAL, "good") for file in images_in(folder)]
    masks = root / "ground_truth" / folder.name
    return [
        ImageRecord(file, ANOMALOUS, folder.name, _mask_of(file, masks))
        for file in images_in(folder)
    ]


def _mask_of(image: Path, masks: Path) -> Path | None:
    if not masks.is_dir():
        return None
    for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
        if (masks / name).is_file():
            return masks / name
    raise ValueError(
        f"every image of test/{masks.name} must have a mask in {masks}, got none for {image.name}; "
        f"add {image.stem}_mask.png, or remove the folder to use image-level labels only."
    )
