"""The layout of BraTS: a folder for each subject, with a NIfTI file for each kind of image and one of marks.

    BraTS2021_00000/BraTS2021_00000_flair.nii.gz, ..._t1.nii.gz, ..._seg.nii.gz          (2017 to 2021)
    BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz, ...-t1n.nii.gz, ...-seg.nii.gz   (from 2023 on)

Axial slices of FLAIR are taken. Every subject has a tumour, so that slices are told apart: those without a mark are
normal. Of four subjects in five these are learned from; of the fifth, by the hash of its name, all slices are tested
with. So no subject is on both sides. Slices without anything in them are left out.

References:
    Menze et al. (2015), The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS). IEEE TMI 34.
    Baid et al. (2021), The RSNA-ASNR-MICCAI BraTS 2021 Benchmark. arXiv 2107.02314.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from jaxdpmm.images.listing import check_folder, files_in, folders_in, is_nifti
from jaxdpmm.images.masks import stem_of
from jaxdpmm.images.records import NORMAL, DataSet, ImageRecord
from jaxdpmm.images.refusals import wrong_layout
from jaxdpmm.images.volumes import VolumeSlice, load_volume, read_volume

MARKS, IMAGES = "seg", ("flair", "t2f")
TEST_SHARE = 5  # one in so many subjects


def is_brats(path: Path) -> bool:
    """Whether a folder holds folders of subjects and nothing else."""
    folders = folders_in(path)
    return bool(folders) and all(_files_of(folder) is not None for folder in folders)


def read_brats(path: str | Path) -> DataSet:
    """Slices of all subjects.

    Raises:
        FileNotFoundError: there is no such folder.
        ImportError: the extra `medical` is not installed.
        ValueError: a folder is no subject's, there are fewer than two, or a file cannot be read.
    """
    path = check_folder(path)
    subjects = folders_in(path)
    if not is_brats(path) or len(subjects) < 2:
        raise wrong_layout(
            path, "BraTS", "at least two subjects, each with <subject>_flair and <subject>_seg"
        )
    order = sorted(subjects, key=lambda one: hashlib.sha256(os.fsencode(one.name)).digest())
    for_test = set(order[: max(1, len(order) // TEST_SHARE)])
    train: list[ImageRecord] = []
    test: list[ImageRecord] = []
    for folder in subjects:
        slices = _slices(folder)
        if folder in for_test:
            test += [_with_kind(record) for record in slices]
        else:
            train += [record for record in slices if record.label == NORMAL]
    return DataSet(path.resolve().name, tuple(train), tuple(test))


def _files_of(folder: Path) -> tuple[Path, Path] | None:
    """The image and the marks of a subject; None where one is not there."""
    files = {
        stem_of(file).replace("-", "_").rpartition("_")[2]: file
        for file in files_in(folder)
        if is_nifti(file)
    }
    image = next((files[name] for name in IMAGES if name in files), None)
    return None if image is None or MARKS not in files else (image, files[MARKS])


def _slices(folder: Path) -> list[ImageRecord]:
    """Slices of a subject in which there is something."""
    image, marks = _files_of(folder) or (folder, folder)
    volume = load_volume(image).values
    records = read_volume(image, mask_path=marks)
    return [record for record in records if _is_filled(volume, record)]


def _is_filled(volume: np.ndarray, record: ImageRecord) -> bool:
    assert isinstance(record.source, VolumeSlice)
    return bool(np.ptp(np.take(volume, record.source.index, axis=record.source.axis)) > 0)


def _with_kind(record: ImageRecord) -> ImageRecord:
    return record if record.label == NORMAL else record._replace(kind="tumour")
