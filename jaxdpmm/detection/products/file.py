"""The one file of several products: a detector and a router for each, as model files hold them, side by side.

Read `../stored/state.py` first, which says what is kept of a detector.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy

from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.detection.stored.state import detector_of
from jaxdpmm.persist import FORMAT_VERSION, Model, described, rebuilt, write_whole
from jaxdpmm.storage.descriptions import as_type
from jaxdpmm.storage.outputs import MODEL, check_replaceable
from jaxdpmm.storage.tree_store import TreeFormat, metadata_of, read_tree

PARTS = ("detector", "router")
PRODUCTS_FILE = TreeFormat(
    key="jaxdpmm",
    version=FORMAT_VERSION,
    noun="a model file of several products written by jaxdpmm",
    remedy="give a file that `jaxdpmm fit --products` or ProductDetector.save wrote, or fit again",
    field="products",
)


class _Parts(msgspec.Struct, forbid_unknown_fields=True):
    """What the header says of one product."""

    detector: dict[str, Any]
    router: dict[str, Any]


def write_products(path: str | os.PathLike, products: Mapping[str, Sequence[Model]]) -> None:
    """Write detector and router of each product to one file, whole or not at all.

    Raises:
        FileNotFoundError: the folder does not exist.
        FileExistsError: what lies there is no model file.
    """
    check_replaceable(path, MODEL)
    description: dict[str, Any] = {}
    tensors: dict[str, np.ndarray] = {}
    for number, (name, models) in enumerate(products.items()):
        description[name] = {}
        for part, model in zip(PARTS, models, strict=True):
            description[name][part], arrays = described(model)
            tensors |= {f"{number}/{part}/{key}": array for key, array in arrays.items()}
    write_whole(
        path, safetensors.numpy.save(tensors, metadata_of(PRODUCTS_FILE, description, tensors))
    )


def read_products(
    path: str | os.PathLike,
) -> dict[str, list[tuple[DetectorConfig, DetectorState]]]:
    """Settings and states of detector and router of each product.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of one product.
    """
    description, tensors = read_tree(Path(path), PRODUCTS_FILE)
    with PRODUCTS_FILE.reading(path):
        found = {name: as_type(parts, _Parts) for name, parts in description.items()}
    if not found:
        raise PRODUCTS_FILE.wrong(path, "one of no product")
    return {
        name: [
            detector_of(path, rebuilt(path, getattr(parts, part), _below(tensors, f"{n}/{part}/")))
            for part in PARTS
        ]
        for n, (name, parts) in enumerate(found.items())
    }


def _below(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
