"""The layout of Kaputt: tables in Parquet of images of items in trays, each with what is defective about it.

    query-train.parquet, query-validation.parquet, query-test.parquet     or in a folder datasets/
    kaputt-release/<subset>/query-data/crop/<capture>.jpg, image/ beside  or query-crop/data/<subset>/query-data/crop/

A row names its files in "query_image" (the whole tray, 2048 x 2048) and "query_crop" (the item), and says "defect",
"defect_types" and "item_material". Masks outline items, not defects, so that there are image-level figures only.
Undamaged images of "train" are learned from, those of "validation" are for thresholds, and all of "test" are scored.
The reference images, up to three of each item and not all of them undamaged, are not used.

References:
    Hoefer et al. (2025), Kaputt: A Large-Scale Dataset for Visual Defect Detection. ICCV. arXiv 2510.05903.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdpmm.images.listing import check_folder
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord

SUBSETS = ("train", "validation", "test")
TABLES = (".", "datasets")
CROP, WHOLE = "crop", "image"
COLUMNS = ("defect", "defect_types", "item_material")


def is_kaputt(path: Path) -> bool:
    """Whether a folder has the table of the images to learn from."""
    return _folder_of_tables(path) is not None


def read_kaputt(
    path: str | Path, *, part: str | None = None, material: str | None = None
) -> DataSet:
    """All items, split as their tables say.

    Args:
        path: folder of the download, unpacked.
        part: "crop" for images of items, "image" for those of whole trays; None for crops where they are unpacked.
        material: only items of it, for example "cardboard"; None for all.

    Raises:
        FileNotFoundError: there is no such folder, no table, or an image of a table is missing.
        ValueError: a table is none of this layout, or has no image of the material.
        ImportError: pyarrow, which reads the tables, is not installed.
    """
    path = check_folder(path).resolve()
    tables = {name: _rows(path, name) for name in SUBSETS}
    if material is not None:
        tables = {
            name: [row for row in rows if row["item_material"] == material]
            for name, rows in tables.items()
        }
    if not tables["train"] or not tables["test"]:
        raise ValueError(
            f"path must have images of Kaputt to learn from and to test, got {path} with {len(tables['train'])} and "
            f"{len(tables['test'])}{f' of {material}' if material else ''}; give the tables of the download, or "
            "another material."
        )
    first = tables["train"][0]
    if part is None:
        part = CROP if _place_of(path, first, CROP).is_file() else WHOLE
    train, validation, test = (
        tuple(_record(path, row, part) for row in tables[name]) for name in SUBSETS
    )
    return DataSet(path.name, _undamaged(train), test, _undamaged(validation))


def _undamaged(records: tuple[ImageRecord, ...]) -> tuple[ImageRecord, ...]:
    return tuple(record for record in records if record.label == NORMAL)


def _folder_of_tables(path: Path) -> Path | None:
    places = (path / place for place in TABLES)
    return next((place for place in places if (place / "query-train.parquet").is_file()), None)


def _rows(path: Path, name: str) -> list[dict[str, Any]]:
    """Rows of the table of a subset."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ImportError(
            "tables of Kaputt need pyarrow, which is not installed; install it with: pip install 'jaxdpmm[parquet]'."
        ) from error
    file = (_folder_of_tables(path) or path) / f"query-{name}.parquet"
    if not file.is_file():
        raise FileNotFoundError(
            f"Kaputt needs the table {file.name}, got nothing at {file}; copy it there from the download."
        )
    columns = [*COLUMNS, f"query_{CROP}", f"query_{WHOLE}"]
    try:
        return list(parquet.read_table(file, columns=columns).to_pylist())
    except (ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"{file} must be a table of Kaputt with the columns {', '.join(columns)}, got one that is not "
            f"({' '.join(str(error).split())[:200]}); give the one of the download."
        ) from error


def _place_of(path: Path, row: Mapping[str, Any], part: str) -> Path:
    """Where a row's file lies: below the folder itself, or below that of its archive."""
    name = str(row[f"query_{part}"])
    places = (path / name, path / f"query-{part}" / name)
    return next((place for place in places if place.is_file()), places[0])


def _record(path: Path, row: Mapping[str, Any], part: str) -> ImageRecord:
    place = _place_of(path, row, part)
    if not place.is_file():
        raise FileNotFoundError(
            f"every image of Kaputt's tables must be there, got nothing at {place}; unpack all archives of the "
            f"download with {part} in their names."
        )
    if not row["defect"]:
        return ImageRecord(place, NORMAL, "good")
    return ImageRecord(place, ANOMALOUS, row["defect_types"] or "defect")
