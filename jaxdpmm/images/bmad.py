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

from jaxdpmm.images.listing import check_folder, folders_in, images_in, wrong_layout
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord


def is_bmad(path: Path) -> bool:
    """Whether a folder says that it has this layout."""
    if not (path / "train").is_dir() or not (path / "test").is_dir():
        return False
    with_images = any((folder / "img").is_dir() for folder in folders_in(path / "test"))
    return with_images or (path / "valid").is_dir() or (path / "test" / "Ungood").is_dir()


def read_bmad(path: str | Path) -> DataSet:
    """One of the six data sets.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout is absent or empty, or a mask is missing.
    """
    path = check_folder(path)
    train, validation = (
        tuple(ImageRecord(file, NORMAL, "good") for file in _files(path / part / "good"))
        for part in ("train", "valid")
    )
    test = tuple(record for folder in folders_in(path / "test") for record in _of_kind(folder))
    if not train or not test:
        wanted = "images in train/good and test/good and test/Ungood, with or without img/"
        raise wrong_layout(path, "BMAD", wanted)
    return DataSet(path.resolve().name, train, test, validation)


def _files(folder: Path) -> list[Path]:
    return images_in(folder / "img" if (folder / "img").is_dir() else folder)


def _of_kind(folder: Path) -> list[ImageRecord]:
    files = _files(folder)
    if folder.name.lower() == "good":
        return [ImageRecord(file, NORMAL, "good") for file in files]
    masks = {file.stem: file for file in images_in(folder / "label")}
    missing = [file.name for file in files if masks and file.stem not in masks]
    if missing:
        raise ValueError(
            f"every image of {folder} must have a mask in {folder / 'label'}, got none for {missing[0]}; add it, or "
            "remove the folder to use image-level labels only."
        )
    return [ImageRecord(file, ANOMALOUS, folder.name, masks.get(file.stem)) for file in files]
