"""The layout of BTAD (BeanTech): `train/ok`, `test/ok`, `test/ko` and masks in `ground_truth/ko`, one product.

References:
    Mishra et al. (2021), VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization. ISIE.
"""

from pathlib import Path

from jaxdpmm.images.listing import check_folder, images_in, wrong_layout
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord


def is_btad(path: Path) -> bool:
    """Whether a folder says that it has this layout."""
    return (path / "train" / "ok").is_dir()


def read_btad(path: str | Path) -> DataSet:
    """One product of BTAD. Images and masks have the same stem; their suffixes differ from product to product.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout is absent or empty, or a mask is missing.
    """
    path = check_folder(path)
    train = tuple(ImageRecord(file, NORMAL, "good") for file in images_in(path / "train" / "ok"))
    normal = [ImageRecord(file, NORMAL, "good") for file in images_in(path / "test" / "ok")]
    anomalous = images_in(path / "test" / "ko")
    if not train or not (normal or anomalous):
        raise wrong_layout(path, "BTAD", "normal images in train/ok, others in test/ok and test/ko")
    masks = {file.stem: file for file in images_in(path / "ground_truth" / "ko")}
    missing = [file.name for file in anomalous if masks and file.stem not in masks]
    if missing:
        raise ValueError(
            f"every image of test/ko must have a mask in {path / 'ground_truth' / 'ko'}, got none for {missing[0]}; "
            "add it, or remove the folder to use image-level labels only."
        )
    found = [ImageRecord(file, ANOMALOUS, "ko", masks.get(file.stem)) for file in anomalous]
    return DataSet(path.resolve().name, train, (*found, *normal))
