"""The layout of Real-IAD, one category: `OK/` and `NG/`, with a table in JSON of who is learned from and who is tested.

    realiad_1024/audiojack/OK/S0001/*.jpg          realiad_1024/audiojack/NG/<defect>/S0001/*.jpg and *.png
    realiad_jsons/realiad_jsons/audiojack.json     or realiad_jsons/audiojack.json, or audiojack.json beside the folder

The table has "meta", with "normal_class", and "train" and "test", each a list of images with "image_path" and
"mask_path" within the category and "anomaly_class". Images of several cameras are images of their own. Anomalous images
that a table of another split, such as `realiad_jsons_fuiad_0.1`, has among those of "train" are learned from like the
others: that is what these splits are for, see `DetectorConfig.contamination`.

References:
    Wang et al. (2024), Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile Industrial Anomaly
        Detection. CVPR.
"""

import json
from pathlib import Path
from typing import Any

from jaxdpmm.images.listing import check_folder
from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord

NORMAL_CLASS = "OK"
PLACES = ("realiad_jsons/realiad_jsons", "realiad_jsons", ".")


def is_real_iad(path: Path) -> bool:
    """Whether a folder is a category that has a table."""
    return (path / NORMAL_CLASS).is_dir() and _table_of(path) is not None


def read_real_iad(path: str | Path, table: str | Path | None = None) -> DataSet:
    """One category, split as its table says.

    Args:
        path: folder of the category, for example `realiad_1024/audiojack`.
        table: the JSON file; None for the first of the places above.

    Raises:
        FileNotFoundError: there is no such folder, no table, or an image of the table is missing.
        ValueError: the table is no JSON, or is none of this layout.
    """
    path = check_folder(path).resolve()
    file = Path(table) if table else _table_of(path)
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"Real-IAD needs the table {path.name}.json of realiad_jsons, got nothing at "
            f"{file or path.parent / PLACES[0]}; copy it there from the download."
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        normal = content["meta"].get("normal_class", NORMAL_CLASS)
        parts = [tuple(_record(path, row, normal) for row in content[p]) for p in ("train", "test")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} must be a table of Real-IAD with meta, train and test, got one that is not ({error}); give the "
            "one of the download."
        ) from error
    if not all(parts):
        raise ValueError(
            f"{file} must have images in train and test, got {len(parts[0])} and {len(parts[1])}; give the one of the "
            "download."
        )
    learned = tuple(
        record._replace(label=NORMAL, kind="good", mask_path=None) for record in parts[0]
    )
    return DataSet(path.name, learned, parts[1])


def _table_of(path: Path) -> Path | None:
    path = path.resolve()
    places = [root / place / f"{path.name}.json" for root in path.parents[:2] for place in PLACES]
    return next((place for place in places if place.is_file()), None)


def _record(path: Path, row: dict[str, Any], normal: str) -> ImageRecord:
    kind = str(row["anomaly_class"])
    image, mask = path / row["image_path"], row.get("mask_path")
    for file in (image, mask and path / mask):
        if file and not file.is_file():
            raise FileNotFoundError(
                f"every file of Real-IAD's table must be there, got nothing at {file}; unpack the download again."
            )
    if kind == normal:
        return ImageRecord(image, NORMAL, "good")
    return ImageRecord(image, ANOMALOUS, kind, path / mask if mask else None)
