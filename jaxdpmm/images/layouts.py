"""Find the images of a data set on disk: a plain folder, or the layout of MVTec AD.

A layout becomes records, no image is opened. When a folder has neither layout the message tells
what was found there. Another layout is one more function here and one more line in
`open_data_set`. Read `reading.py` next.
"""

from pathlib import Path

from jaxdpmm.images.elpv import read_elpv
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
)
NAMED_DATA_SETS = {"elpv": read_elpv}


def open_data_set(path_or_name: str | Path) -> DataSet:
    """Data set behind a folder, or behind one of the names in `NAMED_DATA_SETS`.

    A folder with `train/` and `test/` is read as MVTec AD, any other as a plain folder, whose
    images all go to `train` (without labels). A folder wins over a name of the same spelling.

    Args:
        path_or_name: a folder or "elpv".

    Raises:
        FileNotFoundError: there is no such folder and no such name.
        ValueError: the folder holds no images or its layout is none of the known ones.
    """
    path = Path(path_or_name).expanduser()
    if not path.exists() and str(path_or_name) in NAMED_DATA_SETS:
        return NAMED_DATA_SETS[str(path_or_name)]()
    _check_folder(path)
    if (path / "train").is_dir() and (path / "test").is_dir():
        return read_mvtec(path)
    if (path / "ground_truth").is_dir() or (path / "test").is_dir():
        raise _wrong_layout(path, "train/good and test/<kind> beside it")
    categories = [p.name for p in _folders(path) if (p / "train").is_dir()]
    if categories:
        raise ValueError(
            f"path must be one data set, got {path} with {len(categories)} of them "
            f"({', '.join(categories[:5])}); choose one, for example {path / categories[0]}."
        )
    return DataSet(path.resolve().name, read_folder(path), ())


def read_folder(path: str | Path, label: int | None = None) -> tuple[ImageRecord, ...]:
    """Records of all images below a folder, sorted by path.

    Hidden files and files without the suffix of an image are passed over.

    Args:
        path: a folder; folders in it are searched too.
        label: label for all of them, None when unknown.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images.
    """
    path = Path(path).expanduser()
    _check_folder(path)
    kind = "good" if label == NORMAL else ""
    records = tuple(ImageRecord(file, label, kind) for file in _images(path, "**/*"))
    if not records:
        raise ValueError(
            f"path must hold at least one image ({', '.join(sorted(IMAGE_SUFFIXES))}), "
            f"got {path} with {_content(path)}; give the folder that holds the images."
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
    path = Path(path).expanduser()
    _check_folder(path)
    train = tuple(
        ImageRecord(file, NORMAL, "good") for file in _images(path / "train" / "good", "*")
    )
    if not train:
        raise _wrong_layout(path, "normal images in train/good")
    test = tuple(record for folder in _folders(path / "test") for record in _of_kind(path, folder))
    if not test:
        raise _wrong_layout(path, "images in test/good and test/<kind>")
    return DataSet(path.resolve().name, train, test)


def _of_kind(root: Path, folder: Path) -> list[ImageRecord]:
    if folder.name == "good":
        return [ImageRecord(file, NORMAL, "good") for file in _images(folder, "*")]
    masks = root / "ground_truth" / folder.name
    return [
        ImageRecord(file, ANOMALOUS, folder.name, _mask_of(file, masks))
        for file in _images(folder, "*")
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


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing there"
        raise FileNotFoundError(
            f"path must be a folder of images or one of {sorted(NAMED_DATA_SETS)}, "
            f"got {path} ({found}); check the spelling."
        )


def _wrong_layout(path: Path, wanted: str) -> ValueError:
    inside = [
        f"{folder.relative_to(path).as_posix()}/ ({_content(folder)})"
        for name in ("train", "test", "ground_truth")
        for folder in [path / name, *_folders(path / name)]
        if folder.is_dir()
    ]
    return ValueError(
        f"path must have the layout of MVTec AD ({wanted}), got {path} with "
        f"{', '.join(inside[:12]) or _content(path)}; rearrange it, or give a folder of images."
    )


def _content(folder: Path) -> str:
    folders, images = _folders(folder), _images(folder, "*")
    others = sum(1 for p in folder.iterdir() if p.is_file()) - len(images)
    return f"{len(folders)} folders, {len(images)} images, {others} other files"


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(path: Path, pattern: str) -> list[Path]:
    return sorted(
        p
        for p in path.glob(pattern)
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
