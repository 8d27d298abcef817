"""The layouts of MVTec AD, MVTec LOCO AD, MVTec AD 2 and BTAD, one category each, names of folders in any case.

    train/good/*    test/good/*    test/<kind>/*    ground_truth/<kind>/<stem>_mask.png or <stem>.png
    validation/good/*                               ground_truth/<kind>/<stem>/*                       (LOCO)
    validation/good/*    test_public/{good,bad}/*   test_public/ground_truth/bad/<stem>_mask.png       (AD 2)
    validation/{good,bad}/* and no test/            a test part by another name
    train/ok/*      test/ok/*      test/ko/*        ground_truth/ko/<stem>.*                           (BTAD)

A kind without a folder in `ground_truth/` has image-level labels only. The test images of AD 2 without labels
(`test_private`, `test_private_mixed`) are not taken.

References:
    Bergmann et al. (2019), MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection. CVPR.
    Bergmann et al. (2022), Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection. IJCV.
    Heckler-Kram et al. (2025), The MVTec AD 2 Dataset. arXiv 2503.21622.
    Mishra et al. (2021), VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization. ISIE.
"""

from pathlib import Path

from jaxdpmm.images import names
from jaxdpmm.images.data_sets.kinds import normal_in, records_of_kind
from jaxdpmm.images.listing import check_folder, folder_of, folders_in
from jaxdpmm.images.masks import mask_folder
from jaxdpmm.images.names import words
from jaxdpmm.images.records import DataSet, ImageRecord
from jaxdpmm.images.refusals import wrong_layout

AD_2_TEST = "test_public"
NO_KINDS = (
    "images",
    "image",
    "img",
    "imgs",
    "data",
    "all",
)  # of defects, so normal or not is unknown


def is_mvtec(path: Path) -> bool:
    """Whether a folder has parts to learn from and to test with."""
    return folder_of(path, names.TRAIN) is not None and _test_folder(path) is not None


def read_mvtec(path: str | Path) -> DataSet:
    """One category of MVTec AD, LOCO or AD 2, or one product of BTAD.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout is absent or empty, or a mask is missing.
    """
    path = check_folder(path)
    layout, wanted = _layout_of(path)
    train = _normal(folder_of(path, names.TRAIN))
    if not train:
        raise wrong_layout(path, layout, f"normal images in {wanted[0]}")
    test_folder = _test_folder(path) or path / "test"
    inner = mask_folder(test_folder)
    kinds = [folder for folder in folders_in(test_folder) if folder != inner]
    masks = inner or mask_folder(path)
    test = tuple(record for folder in kinds for record in records_of_kind(folder, masks))
    if not test or any(words(folder.name) in NO_KINDS for folder in kinds):
        raise wrong_layout(path, layout, f"images in {wanted[1]}")
    validation = folder_of(path, names.VALIDATION)
    further = () if validation == test_folder else _normal(validation)
    return DataSet(path.resolve().name, train, test, further)


def _normal(part: Path | None) -> tuple[ImageRecord, ...]:
    """Records of what is normal in a part of a data set, from its folder `good`, `ok`, `normal` or the like."""
    folder = part and folder_of(part, names.NORMAL)
    return () if folder is None else normal_in(folder)


def _layout_of(path: Path) -> tuple[str, tuple[str, str]]:
    """Name of the layout that a folder comes nearest to, and what it wants of train and test, for messages."""
    if (path / "train" / "ok").is_dir():
        return "BTAD", ("train/ok", "test/ok and test/ko")
    if (path / AD_2_TEST).is_dir():
        return "MVTec AD 2", ("train/good", "test_public/good and test_public/bad")
    return "MVTec AD", ("train/good", "test/good and test/<kind>")


def _test_folder(path: Path) -> Path | None:
    """Of images with labels; the validation part where it alone holds anomalous ones."""
    if (path / AD_2_TEST).is_dir():
        return path / AD_2_TEST
    test, validation = (folder_of(path, role) for role in (names.TEST, names.VALIDATION))
    if test is None and validation is not None and folder_of(validation, names.ANOMALOUS):
        return validation
    return test
