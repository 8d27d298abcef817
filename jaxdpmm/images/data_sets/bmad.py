"""The layouts of BMAD, six medical data sets: with masks (brain, liver, RESC) or without (chest, OCT2017, histology).

    train/good/[img/]*        valid/good/[img/]*   valid/Ungood/[img/]*   valid/Ungood/label/*
                              test/good/[img/]*    test/Ungood/[img/]*    test/Ungood/label/*

`img/` may be there or not in each folder, as the six differ. Normal images of `valid/` become `DataSet.validation`; its
anomalous ones are not used, since no threshold here looks at anomalies. Masks are anomalous wherever they are not zero:
those of BraTS and RESC are grey levels written through a colour map, of which 255 is only one.

References:
    Bao et al. (2024), BMAD: Benchmarks for Medical Anomaly Detection. CVPR Workshops. arXiv 2306.11876.
"""

from pathlib import Path

from jaxdpmm.images import names
from jaxdpmm.images.data_sets.kinds import normal_in, records_with_masks
from jaxdpmm.images.listing import check_folder, folder_of, folders_in
from jaxdpmm.images.masks import mask_folder
from jaxdpmm.images.names import role_of
from jaxdpmm.images.records import DataSet, ImageRecord
from jaxdpmm.images.refusals import wrong_layout


def is_bmad(path: Path) -> bool:
    """Whether a folder says that it has this layout."""
    test = folder_of(path, names.TEST)
    if folder_of(path, names.TRAIN) is None or test is None or mask_folder(path) is not None:
        return False
    inside = folders_in(test)
    with_images = any((folder / "img").is_dir() for folder in inside)
    return with_images or (path / "valid").is_dir() or any(f.name == "Ungood" for f in inside)


def read_bmad(path: str | Path) -> DataSet:
    """One of the six data sets.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout is absent or empty, or a mask is missing.
    """
    path = check_folder(path)
    train, validation = (_normal(path, role) for role in (names.TRAIN, names.VALIDATION))
    kinds = folders_in(folder_of(path, names.TEST) or path / "test")
    test = tuple(record for folder in kinds for record in _of_kind(folder))
    if not train or not test:
        wanted = "images in train/good and test/good and test/Ungood, with or without img/"
        raise wrong_layout(path, "BMAD", wanted)
    return DataSet(path.resolve().name, train, test, validation)


def _normal(path: Path, role: str) -> tuple[ImageRecord, ...]:
    part = folder_of(path, role)
    folder = part and folder_of(part, names.NORMAL)
    return () if folder is None else normal_in(_images(folder))


def _images(folder: Path) -> Path:
    return folder / "img" if (folder / "img").is_dir() else folder


def _of_kind(folder: Path) -> tuple[ImageRecord, ...]:
    if role_of(folder.name) == names.NORMAL:
        return normal_in(_images(folder))
    return tuple(records_with_masks(_images(folder), mask_folder(folder), folder.name))
