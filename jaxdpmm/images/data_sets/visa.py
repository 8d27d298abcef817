"""The layout of VisA: `<category>/Data/Images/{Normal,Anomaly}` and a table that says who belongs to which split.

The table is `split_csv/1cls.csv` beside the categories, with the columns object, split, label, image and mask; paths
in it are relative to the folder that holds the categories. Masks number the kinds of defects, anomalous where not zero.

References:
    Zou et al. (2022), SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation. ECCV.
"""

import csv
from pathlib import Path

from jaxdpmm.images.listing import check_folder
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord
from jaxdpmm.images.refusals import wrong_layout

TABLE = Path("split_csv") / "1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")


def is_visa(path: Path) -> bool:
    """Whether a folder says that it is a category of VisA."""
    return (path / "Data" / "Images").is_dir()


def read_visa(path: str | Path, table: str | Path | None = None) -> DataSet:
    """One category of VisA, split as its table says.

    Args:
        path: folder of the category, for example `VisA/candle`.
        table: the csv; None for `split_csv/1cls.csv` beside the category.

    Raises:
        FileNotFoundError: there is no such folder, no table, or an image of the table is missing.
        ValueError: the table has other columns, or nothing of this category.
    """
    path = check_folder(path)
    if not is_visa(path):
        raise wrong_layout(path, "VisA", "Data/Images/Normal and Data/Images/Anomaly")
    root = path.resolve().parent
    table = Path(table) if table else root / TABLE
    rows = [row for row in _rows(table) if row["object"] == path.resolve().name]
    parts = {
        split: tuple(sorted(_record(root, row) for row in rows if row["split"] == split))
        for split in ("train", "test")
    }
    if not parts["train"] or not parts["test"]:
        raise ValueError(
            f"{table} must hold rows of the splits train and test for {path.resolve().name!r}, got "
            f"{len(parts['train'])} and {len(parts['test'])}; give the table of VisA's one-class setting."
        )
    return DataSet(path.resolve().name, parts["train"], parts["test"])


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise FileNotFoundError(
            f"VisA needs the table {TABLE} beside its categories, got nothing at {table}; copy it there from the "
            "download."
        )
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise ValueError(
                f"{table} must have the columns {', '.join(COLUMNS)}, got {', '.join(reader.fieldnames or ())}; give "
                "the table of VisA."
            )
        return list(reader)


def _record(root: Path, row: dict[str, str]) -> ImageRecord:
    image = root / row["image"]
    mask = root / row["mask"] if row["mask"] else None
    for file in (image, mask):
        if file is not None and not file.is_file():
            raise FileNotFoundError(
                f"every file of VisA's table must be there, got nothing at {file}; unpack the download again."
            )
    if row["label"] == "normal":
        return ImageRecord(image, NORMAL, "good")
    return ImageRecord(image, ANOMALOUS, row["label"], mask)
