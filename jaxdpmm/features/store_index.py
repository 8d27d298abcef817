"""The index of a feature store, `index.json`: what it must hold before anything is made of it.

    format_version  1
    dtype, dim      of all points; dim is null before the first one
    settings        what the maker said of them
    complete        whether the maker closed the store
    shards          file, num_points, sha256 of the values, names: [name, number of points], in order
    sha256          of all of the above; stores of earlier versions have none

Next file to read: `store.py`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

INDEX = "index.json"
FORMAT_VERSION = 1
DTYPES = ("float32", "float16")
_DIGEST = "sha256"


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a store, finished or not.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or of another format version.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"path must be a feature store, got {folder} without {INDEX}; write one with FeatureWriter."
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        version, digest = index["format_version"], index.pop(_DIGEST, None)
        altered = digest not in (None, _digest(index))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _bad_index(path, "something else") from None
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have format version {FORMAT_VERSION}, got {str(version)[:100]}; read it with the version of "
            "jaxdpmm that wrote it, or extract again."
        )
    if altered:
        raise _bad_index(path, "an altered one (its SHA-256 does not match)")
    if (wrong := _fault(index)) is not None:
        raise _bad_index(path, f"one with {wrong}")
    return index


def index_text(index: Mapping[str, Any]) -> str:
    """The text of an index, with its digest."""
    return json.dumps({**index, _DIGEST: _digest(index)}, indent=1)


def count_points(index: Mapping[str, Any]) -> int:
    """Points in the shards of an index."""
    return sum(shard["num_points"] for shard in index["shards"])


def names_of(index: Mapping[str, Any]) -> set[str]:
    """Names of everything in the shards of an index."""
    return {name for shard in index["shards"] for name, _ in shard["names"] if name}


def check_shards(folder: Path, index: Mapping[str, Any]) -> None:
    """Look whether all shards are there and long enough.

    Raises:
        FileNotFoundError: a shard is missing.
        ValueError: a shard is cut short.
    """
    for shard in index["shards"]:
        path = folder / shard["file"]
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} must hold all shards of its index, got none of the name {shard['file']}; restore it or "
                "extract the features again."
            )
        nbytes = shard["num_points"] * index["dim"] * np.dtype(index["dtype"]).itemsize
        if path.stat().st_size < nbytes:
            raise ValueError(
                f"{path} must hold {shard['num_points']} points, got a file cut short ({path.stat().st_size} bytes); "
                "restore it or extract the features again."
            )


def _fault(index: Mapping[str, Any]) -> str | None:
    """What is wrong with an index, or None."""
    shards, dim = index.get("shards"), index.get("dim")
    faults = {
        "dtype": index.get("dtype") not in DTYPES,
        "dim": not (_is_count(dim) or (dim is None and shards == [])),
        "settings": not isinstance(index.get("settings"), dict),
        "complete": not isinstance(index.get("complete"), bool),
        "shards": not isinstance(shards, list),
    }
    wrong = [f"{name} = {str(index.get(name))[:100]!r}" for name, found in faults.items() if found]
    if wrong:
        return wrong[0]
    number = next((i for i, shard in enumerate(shards or []) if not _is_shard(shard)), None)
    return None if number is None else f"something else in place of shard {number}"


def _is_shard(shard: Any) -> bool:
    if not isinstance(shard, dict) or not _is_count(shard.get("num_points")):
        return False
    names = shard.get("names")
    return (
        isinstance(shard.get("file"), str)
        and re.fullmatch(r"features-[0-9]{5,9}\.safetensors", shard["file"]) is not None
        and isinstance(shard.get("sha256"), str)
        and re.fullmatch("[0-9a-f]{64}", shard["sha256"]) is not None
        and isinstance(names, list)
        and all(is_named_run(entry) for entry in names)
        and sum(entry[1] for entry in names) == shard["num_points"]
    )


def is_named_run(entry: Any) -> bool:
    """Whether something is [name, number of points]."""
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and _is_count(entry[1])
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _digest(index: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _bad_index(path: Path, found: str) -> ValueError:
    return ValueError(
        f"{path} must be the index of a feature store, got {found}; restore it or extract again."
    )
