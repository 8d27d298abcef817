"""Find the images of a data set on disk: a plain folder, or one of the layouts that have a file of their own here.

A layout becomes records, no image is opened. When a folder has none of them the message tells
what was found there. Another layout is one more file with two functions, and one more line in
`LAYOUTS`. Read `reading.py` next.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from jaxdpmm.images.data_sets.bmad import is_bmad, read_bmad
from jaxdpmm.images.data_sets.brats import is_brats, read_brats
from jaxdpmm.images.data_sets.dagm import is_dagm, read_dagm
from jaxdpmm.images.data_sets.elpv import read_elpv
from jaxdpmm.images.data_sets.folder_layout import is_folder_layout, read_folder_layout
from jaxdpmm.images.data_sets.kaputt import is_kaputt, read_kaputt
from jaxdpmm.images.data_sets.kolektor import is_kolektor, read_kolektor
from jaxdpmm.images.data_sets.mvtec import is_mvtec, read_mvtec
from jaxdpmm.images.data_sets.real_iad import is_real_iad, read_real_iad
from jaxdpmm.images.data_sets.visa import is_visa, read_visa
from jaxdpmm.images.feature_arrays import is_feature_file
from jaxdpmm.images.feature_files import with_features
from jaxdpmm.images.listing import (
    check_folder,
    content_of,
    files_below,
    folders_in,
    image_suffixes,
    is_file,
    is_image,
    tell_left_out,
)
from jaxdpmm.images.masks import masks_below
from jaxdpmm.images.names import role_of
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord
from jaxdpmm.images.refusals import check_all_normal, wrong_layout
from jaxdpmm.images.volumes import VolumeSlice, is_volume, read_volumes, volumes_in

NAMED_DATA_SETS = {"elpv": read_elpv}
Layout = tuple[Callable[[Path], bool], Callable[[Path], DataSet]]
LAYOUTS: tuple[Layout, ...] = (
    (is_visa, read_visa),
    (is_real_iad, read_real_iad),
    (is_kolektor, read_kolektor),
    (is_kaputt, read_kaputt),
    (is_brats, read_brats),
    (is_dagm, read_dagm),
    (is_bmad, read_bmad),
    (is_mvtec, read_mvtec),
    (is_folder_layout, read_folder_layout),
)
"""The first whose names are found wins."""


def open_data_set(path_or_name: str | Path) -> DataSet:
    """Data set behind a folder, behind one of the names in `NAMED_DATA_SETS`, or in a file of features.

    Known layouts are those of VisA, Real-IAD, KolektorSDD2, Kaputt, BraTS, DAGM, BMAD, MVTec AD with its kin
    (`data_sets/mvtec.py`), and normal images beside others in folders of usual names (`data_sets/folder_layout.py`);
    names of folders count in any case. One warning
    tells of images that a layout does not use. Any other folder is a plain one, whose images all go to `train` (without
    labels), unless a name in it says that not all of them are normal. A folder wins over a name of the same spelling.
    Files of features may stand in place of images, see `feature_files.py`.

    Args:
        path_or_name: a folder, "elpv", or a file of features of several normal images.

    Raises:
        FileNotFoundError: there is no such folder and no such name.
        ValueError: the folder holds no images, its layout is none of the known ones though names in it say test, mask
            or anomalous, or it holds several data sets.
    """
    path = Path(path_or_name).expanduser()
    if is_file(path) and is_feature_file(path):
        return DataSet(path.stem, read_images(path), ())
    if not path.exists() and str(path_or_name) in NAMED_DATA_SETS:
        return NAMED_DATA_SETS[str(path_or_name)]()
    path = check_folder(path, tuple(NAMED_DATA_SETS))
    for is_layout, read in LAYOUTS:
        if is_layout(path):
            data_set = read(path)
            _tell_unused(path, data_set)
            parts = (data_set.train, data_set.test, data_set.validation)
            return DataSet(data_set.name, *map(with_features, parts))
    if (path / "ground_truth").is_dir() or (path / "test").is_dir():
        raise wrong_layout(path, "MVTec AD", "train/good and test/<kind> beside it")
    categories = [folder.name for folder in _data_sets_in(path)]
    if categories:
        raise ValueError(
            f"path must be one data set, got {path} with {len(categories)} of them "
            f"({', '.join(categories[:5])}); choose one, for example {path / categories[0]}, or learn all of them as "
            "products with `jaxdpmm fit --products`."
        )
    return DataSet(path.resolve().name, read_normal_folder(path), ())


def open_anomalies(path: str | Path) -> tuple[ImageRecord, ...]:
    """Anomalous images: those of the test images of a data set in a known layout, with their masks, or a whole folder.

    Args:
        path: a folder or one image.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no anomalous image.
    """
    path = Path(path).expanduser()
    if path.is_dir() and is_data_set(path):
        found = tuple(one for one in open_data_set(path).test if one.label == ANOMALOUS)
        if not found:
            raise ValueError(
                f"path must be a data set with anomalous test images, got {path} without one; give a folder of them."
            )
        return found
    return read_images(path)


def open_unlabelled(path: str | Path) -> tuple[ImageRecord, ...]:
    """Images that may be normal or not: the test images of a data set in a known layout, or a whole folder.

    Args:
        path: a folder or one image.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, or no test images.
    """
    path = Path(path).expanduser()
    if not path.is_dir() or not is_data_set(path):
        return read_images(path)
    found = open_data_set(path).test
    if not found:
        raise ValueError(
            f"path must be a data set with test images, got {path} without one; give a folder of images."
        )
    return found


def open_products(path: str | Path) -> dict[str, DataSet]:
    """The data set of each product in a folder, by the name of its folder.

    Folders without images, such as tables of splits, are passed over.

    Args:
        path: folder of folders, each a data set as `open_data_set` takes it.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: fewer than two of them, or one that is no data set.
    """
    path = check_folder(path)
    folders = _data_sets_in(path) or [
        folder for folder in folders_in(path) if any(map(is_image, files_below(folder).files))
    ]
    if len(folders) < 2 or is_data_set(path):
        found = "which is one data set" if is_data_set(path) else f"with {content_of(path)}"
        raise ValueError(
            f"path must hold a folder for each of several products, got {path}, {found}; give the folder above, or "
            "leave out --products for one product."
        )
    return {folder.name: open_data_set(folder) for folder in folders}


def is_data_set(path: Path) -> bool:
    """Whether a folder is one data set in a known layout."""
    return any(is_layout(path) for is_layout, _ in LAYOUTS)


def read_folder(path: str | Path, label: int | None = None) -> tuple[ImageRecord, ...]:
    """Records of all images below a folder, sorted by path, whatever its layout is.

    Hidden files, masks by their names, and files without the suffix of an image are left out; linked folders are
    followed. One warning says what was left out of each kind. NIfTI files and folders of DICOM files count as images
    slice by slice, see `volumes.read_volumes`. To learn from a folder use `read_normal_folder`.

    Args:
        path: a folder; folders in it are searched too.
        label: label for all of them, None when unknown.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images.
    """
    path = check_folder(path, tuple(NAMED_DATA_SETS))
    return _records(path, label, only_normal=False)


def read_normal_folder(path: str | Path, label: int | None = None) -> tuple[ImageRecord, ...]:
    """Records of a folder of normal images, as `read_folder`, to learn or to take thresholds from.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, or a name in it says test, validation, mask or anomalous.
    """
    path = check_folder(path, tuple(NAMED_DATA_SETS))
    return _records(path, label, only_normal=True)


def read_images(path: str | Path) -> tuple[ImageRecord, ...]:
    """Records of one image, of the slices of one NIfTI or DICOM file, or of all that lies below a folder.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a folder holds no images.
    """
    path = Path(path).expanduser()
    if is_volume(path):
        return read_volumes(path)
    return with_features((ImageRecord(path),)) if is_file(path) else read_folder(path)


def _tell_unused(path: Path, data_set: DataSet) -> None:
    """Warn of what lies below a data set and is not used by its layout."""
    found = files_below(path)
    records = (*data_set.train, *data_set.validation, *data_set.test)
    read = {place for record in records for place in _places_of(record)}
    real_folder = cache(os.path.realpath)  # links may lead to one file by several ways
    real = {os.path.join(real_folder(place.parent), place.name) for place in read}
    of_volumes = {file for files in volumes_in(found.files).values() for file in files}
    pictures = [file for file in found.files if is_image(file) or file in of_volumes]
    known = set(masks_below(path, pictures))
    unused = [
        file
        for file in pictures
        if file not in known
        and real.isdisjoint((folder := real_folder(file.parent), os.path.join(folder, file.name)))
    ]
    links = tuple(
        link for link in found.repeated if not any(place.is_relative_to(link) for place in read)
    )
    others = sorted(set(found.files).difference(pictures))
    tell_left_out(path, found._replace(repeated=links), others, unused=unused)


def _places_of(record: ImageRecord) -> list[Path]:
    """Files and folders that a record reads."""
    source = record.source
    places = [record.path, record.mask_path]
    if isinstance(source, VolumeSlice):
        places = [source.path, source.mask_path, *(place.file for place in source.places)]
    return [place for place in places if place is not None]


def _records(path: Path, label: int | None, only_normal: bool) -> tuple[ImageRecord, ...]:
    found = files_below(path)
    volumes = volumes_in(found.files)
    of_volumes = {file for files in volumes.values() for file in files}
    images = [file for file in found.files if is_image(file)]
    if only_normal:
        check_all_normal(path, [*images, *of_volumes])
    masks = set(masks_below(path, [*images, *of_volumes]))
    kind = "good" if label == NORMAL else ""
    records = tuple(ImageRecord(file, label, kind) for file in images if file not in masks)
    for volume, files in volumes.items():
        if not masks.intersection(files):
            records += read_volumes(volume, label=label)
    if not records:
        raise ValueError(
            f"path must hold at least one image ({', '.join(sorted(image_suffixes()))}), "
            f"got {path} with {content_of(path)}; give the folder that holds the images."
        )
    known = of_volumes | set(images)
    tell_left_out(
        path, found, [file for file in found.files if file not in known], masks=sorted(masks)
    )
    return with_features(records)


def _data_sets_in(path: Path) -> list[Path]:
    return [
        folder
        for folder in folders_in(path)
        if not role_of(folder.name) and ((folder / "train").is_dir() or is_data_set(folder))
    ]
