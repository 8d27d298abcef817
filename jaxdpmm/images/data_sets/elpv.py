"""The ELPV solar cells: real electroluminescence images with image-level labels, for the demo.

2,624 grey images of 300 x 300 pixels, each with the probability of a defect as experts judged it
(0, 1/3, 2/3 or 1) and the type of the cell (mono- or polycrystalline). There are no pixel masks.
They come as the wheel `elpv-dataset` and stay in the user's cache; none of them is part of this
project.

Licence of the images: CC BY-NC-SA 4.0, that is for non-commercial use only.

References:
    Buerhop-Lutz et al. (2018), A Benchmark for Visual Identification of Defective Solar Cells in
        Electroluminescence Imagery. EU PVSEC. doi:10.4229/35thEUPVSEC20182018-5CV.3.15
    Deitsch et al. (2019), Automatic classification of defective photovoltaic module cells in
        electroluminescence images. Solar Energy 185. doi:10.1016/j.solener.2019.02.067
    Deitsch et al. (2021), Segmentation of photovoltaic module cells in uncalibrated
        electroluminescence images. Machine Vision and Applications 32.
        doi:10.1007/s00138-021-01191-9
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from jaxdpmm.images.records import ANOMALOUS, NORMAL, DataSet, ImageRecord
from jaxdpmm.storage.wheels import fetch_wheel, unpack_wheel

WHEEL_NAME = "elpv-dataset"
WHEEL_VERSION = "1.0.0.post1"
WHEEL_SHA256 = "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c"
CELL_TYPES = ("mono", "poly")


def read_elpv(
    num_train: int = 240,
    num_test: int = 200,
    *,
    seed: int = 0,
    cell_types: Sequence[str] = CELL_TYPES,
    folder: str | Path | None = None,
) -> DataSet:
    """Solar cells, split into normal cells to learn from and a balanced test set.

    Normal is a defect probability of 0 (1,508 cells), anomalous one of 1 (715 cells); the 401 cells
    in between, on which the experts were unsure, are left out. The order within each class is that
    of the hash of seed and file name, so a split is the same on every machine and a larger split
    contains the smaller one's training cells. Cells of one solar module may fall on both sides: the
    data do not tell which cell came from which module.

    Args:
        num_train: number of normal cells to learn from.
        num_test: number of test cells; half of them (rounded down) are anomalous.
        seed: chooses the split.
        cell_types: which of "mono" and "poly" to use.
        folder: folder with `labels.csv` and `images/`; None fetches the wheel with pip (91 MB).

    Raises:
        ValueError: more cells are asked for than there are, or an unknown cell type.
        FileNotFoundError: the wheel could not be fetched.
    """
    unknown = sorted(set(cell_types) - set(CELL_TYPES))
    if unknown or not cell_types:
        raise ValueError(
            f"cell_types must be among {CELL_TYPES}, got {cell_types}; name one or both."
        )
    records = _read_labels(Path(folder) if folder else _fetched_folder(), cell_types)
    records.sort(key=lambda record: _shuffled(record, seed))
    normal = [record for record in records if record.label == NORMAL]
    anomalous = [record for record in records if record.label == ANOMALOUS]
    num_anomalous = num_test // 2
    num_normal = num_train + num_test - num_anomalous
    if num_train < 1 or num_test < 0 or num_normal > len(normal) or num_anomalous > len(anomalous):
        raise ValueError(
            f"num_train and num_test must fit into {len(normal)} normal and {len(anomalous)} "
            f"anomalous cells, got num_train={num_train} and num_test={num_test}, which take "
            f"{num_normal} and {num_anomalous}; ask for fewer."
        )
    test = sorted(normal[num_train:num_normal] + anomalous[:num_anomalous])
    return DataSet("elpv", tuple(sorted(normal[:num_train])), tuple(test))


def _fetched_folder() -> Path:
    wheel = fetch_wheel(WHEEL_NAME, WHEEL_VERSION, WHEEL_SHA256)
    return unpack_wheel(wheel) / "elpv_dataset" / "data"


def _read_labels(folder: Path, cell_types: Sequence[str]) -> list[ImageRecord]:
    """Records of the cells that are surely normal or surely anomalous."""
    table = folder / "labels.csv"
    if not table.is_file():
        raise FileNotFoundError(
            f"folder must hold labels.csv and images/ of {WHEEL_NAME}, got {folder} without "
            "labels.csv; leave folder out to fetch them."
        )
    records = []
    for line in table.read_text().splitlines():
        name, probability, cell_type = line.split()
        if cell_type in cell_types and float(probability) in (0.0, 1.0):
            label = ANOMALOUS if float(probability) == 1.0 else NORMAL
            kind = "good" if label == NORMAL else f"defective {cell_type}"
            records.append(ImageRecord(folder / name, label, kind))
    return records


def _shuffled(record: ImageRecord, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{record.path.name}".encode()).hexdigest()
