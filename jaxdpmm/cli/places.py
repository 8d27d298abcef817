"""Where a command reads and where it writes, compared before any work, so that no output takes the place of an input.

Two places are one when they are the same file on the disk: links are followed, hard links and names on disks that do
not tell capitals from small letters count. What may be written over is decided by content (`../storage/outputs.py`). A
link at an output is followed when it is written (`../storage/files.py`), so it is its target that is looked at here.
"""

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdpmm.storage.outputs import RUN_FILES, RUN_FOLDERS, RUN_INDEX, FileKind, check_replaceable

LARGEST_HEADER = 2**26  # bytes; headers of models have some thousands


class Output(NamedTuple):
    """Something that a command writes; made by `new_file`, `run_folder` and `cache_folder`.

    Attributes:
        name: of the option or argument.
        path: where.
        kind: of a file; None for a folder.
        is_run: a folder that gets the files of a run (`detection/reporting/runs.py`).
        replaces: name of the input that it may be, where that is what the command is for.
    """

    name: str
    path: Path
    kind: FileKind | None = None
    is_run: bool = False
    replaces: str = ""


class _Input(NamedTuple):
    """Something that a command reads and that is there."""

    name: str
    path: Path


def new_file(name: str, path: Path | None, kind: FileKind, replaces: str = "") -> Output | None:
    """A file to write; None where it was not asked for."""
    return None if path is None else Output(name, path, kind, replaces=replaces)


def run_folder(name: str, path: Path | None) -> Output | None:
    """The folder of a run to write; None where it was not asked for."""
    return None if path is None else Output(name, path, is_run=True)


def cache_folder(path: Path | None) -> Output | None:
    """The folder of `--cache`; None where it was not asked for."""
    return None if path is None else Output("--cache", path)


def maps_folder(name: str, path: Path | None) -> Output | None:
    """A folder that other files may lie in; None where it was not asked for."""
    return None if path is None else Output(name, path)


def check_places(
    reads: Mapping[str, str | Path | None],
    writes: Sequence[Output | None],
    *,
    weights: str | Path | None = None,
) -> None:
    """Raise unless every output can be written without harm to inputs, to other outputs and to what lies there.

    Args:
        reads: files and folders that the command reads, by the name of the option or argument. Names of data sets,
            and what does not exist, are left to whoever reads them.
        writes: what the command writes.
        weights: folder of a backbone, or its name elsewhere; in the folder nothing may be written.

    Raises:
        ValueError: two places are one, or one lies where another would be overwritten.
        FileExistsError: something else lies where an output should be.
        FileNotFoundError: the folder of an output is not there.
        IsADirectoryError, NotADirectoryError: a folder where a file should be, or the other way round.
        PermissionError: the file to replace is protected against writing.
    """
    outputs = [output for output in writes if output is not None]
    inputs, folders_of_weights = _existing(reads), _existing({"--backbone": weights})
    for output in outputs:
        _check_form(output)
    for output in outputs:
        for given in [*inputs, *folders_of_weights]:
            _check_against_input(output, given)
        for folder in folders_of_weights:
            _check_outside(output, folder, "where weights would be taken for others")
    for number, output in enumerate(outputs):
        for other in outputs[:number]:
            _check_against_output(other, output)
    for output in outputs:
        _check_what_is_there(output)


def weights_of(model: Path) -> str | None:
    """Where a model file says that its backbone is; None for what is no such file, which its reader will tell."""
    header = _header_of(model)
    try:
        parts = header["model"] if "model" in header else header["products"]
        one = parts if "model" in header else next(iter(parts.values()))["detector"]
        return str(one["settings"]["detector"]["backbone"])
    except (KeyError, TypeError, AttributeError, StopIteration):
        return None


def holds_products(model: Path) -> bool:
    """Whether a model file says that it holds several products."""
    return "products" in _header_of(model)


def _header_of(model: Path) -> Mapping[str, Any]:
    """What a model file says of itself; nothing for what is no such file."""
    try:
        with model.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, LARGEST_HEADER)))
        return dict(json.loads(header["__metadata__"]["jaxdpmm"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _existing(paths: Mapping[str, str | Path | None]) -> list[_Input]:
    given = [
        _Input(name, Path(path).expanduser()) for name, path in paths.items() if path is not None
    ]
    return [one for one in given if one.path.exists()]


def _check_form(output: Output) -> None:
    """A file where a file should be, a folder where a folder should be, in a folder that is there."""
    path = Path(os.path.realpath(output.path))
    if (output.kind or output.is_run) and not path.exists() and not path.parent.is_dir():
        raise FileNotFoundError(
            f"the output must lie in an existing folder, got {output.path}, whose folder is not there; create it."
        )
    if output.kind and path.is_dir():
        raise IsADirectoryError(
            f"the output must be a file, got {output.path}, which is a folder; add a name, for example "
            f"{output.path / 'model.safetensors'}."
        )
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not output.kind and not nearest.is_dir():
        raise NotADirectoryError(
            f"the output must be a folder, got {output.path}, which is a file; choose another name."
        )


def _check_against_input(output: Output, given: _Input) -> None:
    if _same(output.path, given.path) and output.replaces != given.name:
        raise ValueError(
            f"{output.name} must not be what the command reads, got {output.path}, which is {given.name} "
            f"({given.path}); choose another name."
        )
    if not output.is_run:
        return
    if given.path.is_dir():
        _check_outside(output, given, "where its pictures would count as images")
    for part in _parts_of_run(output.path):
        if _inside(given.path, part):
            raise ValueError(
                f"{given.name} must lie outside what {output.name} writes over, got {given.path} in {part}; choose "
                f"another folder for {output.name}."
            )


def _check_outside(output: Output, folder: _Input, why: str) -> None:
    if _inside(output.path, folder.path):
        raise ValueError(
            f"{output.name} must lie outside {folder.name}, {why}, got {output.path} in {folder.path}; choose another "
            "folder."
        )


def _check_against_output(one: Output, other: Output) -> None:
    clash = _same(one.path, other.path)
    for output, path in ((one, other.path), (other, one.path)):
        taken = [output.path] if output.kind else _parts_of_run(output.path) * output.is_run
        clash |= any(_inside(path, place) for place in taken)
    if clash:
        raise ValueError(
            f"{one.name} and {other.name} must not write over each other, got {one.path} and {other.path}; choose "
            "another name for one of them."
        )


def _check_what_is_there(output: Output) -> None:
    if output.kind:
        check_replaceable(output.path, output.kind, output.name)
    elif output.is_run:
        index = output.path / RUN_FILES[0]
        check_replaceable(index, RUN_INDEX, f"{index.name} in {output.name}")
        there = [part.name for part in _parts_of_run(output.path) if part.exists()]
        if there and not index.exists():
            raise FileExistsError(
                f"{output.name} must be a new folder or one of a run of jaxdpmm, got {output.path}, which holds "
                f"{there[0]} but no {index.name}; choose another folder, or move {there[0]} away."
            )


def _parts_of_run(folder: Path) -> list[Path]:
    return [folder / name for name in (*RUN_FILES, *RUN_FOLDERS)]


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one place on the disk, there already or not."""
    one, other = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if one.exists() or other.exists():
        return one.exists() and other.exists() and os.path.samefile(one, other)
    # Not there yet: whether the disk tells capitals from small letters is unknown, so such names count as one.
    return _folded(one.name) == _folded(other.name) and _same(one.parent, other.parent)


def _inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or lies in it."""
    path = Path(os.path.realpath(path))
    return any(_same(place, folder) for place in (path, *path.parents))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
