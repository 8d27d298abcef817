"""The layout that anomalib calls Folder: normal images in one folder, others beside it, masks in a third.

    good/*    <kind>/*    mask/<kind>/* (or mask/* where there is one kind)    good_test/* or test_good/*

The folder of normal images goes by any usual name. Without a folder of normal images for the test, a fifth of the
normal images is kept for it, as anomalib does: those whose names have the smallest hashes, so that adding images moves
none of the others; volumes are learned from. Every other folder is a kind of defect.

References:
    Akcay et al. (2022), Anomalib: A Deep Learning Library for Anomaly Detection. ICIP. (Its data module `Folder`.)
"""

import hashlib
import os
from pathlib import Path

from jaxdpmm.images import names
from jaxdpmm.images.data_sets.kinds import (
    normal_records,
    normal_volumes,
    records_of_kind,
    records_with_masks,
)
from jaxdpmm.images.listing import check_folder, folders_in, images_in
from jaxdpmm.images.masks import mask_folder
from jaxdpmm.images.names import role_of, words
from jaxdpmm.images.records import DataSet, ImageRecord
from jaxdpmm.images.refusals import wrong_layout

TEST_SHARE = 5  # one in so many normal images


def is_folder_layout(path: Path) -> bool:
    """Whether a folder holds normal images in folders, by their names, others beside them, and nothing else."""
    normal, _, kinds = _parts(path)
    return bool(normal) and bool(kinds) and not images_in(path) and not _has_other_parts(path)


def read_folder_layout(path: str | Path) -> DataSet:
    """Normal images, and others beside them, in the layout above.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout is absent or empty, or a mask is missing.
    """
    path = check_folder(path)
    normal, for_test, kinds = _parts(path)
    if not is_folder_layout(path):
        raise wrong_layout(
            path, "a folder of normal images and others beside it", "good and <kind>"
        )
    files = [file for folder in normal for file in images_in(folder)]
    kept = [file for folder in for_test for file in images_in(folder)] or _drawn(files)
    train = normal_records([file for file in files if file not in set(kept)])
    test = [record for folder in kinds for record in _of_kind(path, folder, len(kinds) == 1)]
    volumes = [record for folder in normal for record in normal_volumes(folder)]
    return DataSet(path.resolve().name, (*train, *volumes), (*test, *normal_records(kept)))


def _parts(path: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Folders of normal images to learn from, of normal images for the test, and of the others, masks left out."""
    normal: list[Path] = []
    for_test: list[Path] = []
    kinds: list[Path] = []
    for folder in folders_in(path):
        role = role_of(folder.name)
        if not images_in(folder) or role == names.MASK:
            continue
        if _is_normal_test(folder.name):
            for_test.append(folder)
        else:
            (normal if role == names.NORMAL else kinds).append(folder)
    return normal, for_test, kinds


def _is_normal_test(name: str) -> bool:
    parts = words(name).split("_")
    rest = "_".join(part for part in parts if part != "test")
    return "test" in parts and role_of(rest) == names.NORMAL


def _has_other_parts(path: Path) -> bool:
    """Whether there is a folder to learn from, to validate or to test with, so that it is another layout."""
    parts = (names.TRAIN, names.VALIDATION, names.TEST)
    return any(role_of(f.name) in parts and not _is_normal_test(f.name) for f in folders_in(path))


def _drawn(files: list[Path]) -> list[Path]:
    """A fifth of the files, rounded down, by the hash of their names."""
    order = sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.name)).digest())
    return sorted(order[: len(files) // TEST_SHARE])


def _of_kind(path: Path, folder: Path, is_only: bool) -> list[ImageRecord]:
    masks = mask_folder(path)
    if masks is not None and is_only and images_in(masks):
        return records_with_masks(folder, masks, folder.name)
    return records_of_kind(folder, masks)
