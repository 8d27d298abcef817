"""What may be written over: nothing but an earlier file of the same kind, told by its content and not by its name.

Each kind of file that this library writes carries a mark of its own, so a new model may take the place of an old one,
and never that of an image, a table or somebody's notes. An empty file counts as free (`mktemp` makes one).
Not here: which outputs and inputs of a command are one file (`cli/places.py`), and how a file is written
(`files.py`).
"""

import mmap
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MARK = "jaxdpmm"
ONNX_GRAPH = "jaxdpmm_scorer"  # name of the graph in an ONNX file
RUN_FILES = ("run.json", "scores.csv", "volumes.csv", "slices.csv", "lesions.csv")
RUN_FOLDERS = ("maps", "previews", "masks", "overlays", "atlas", "components")
_HEAD_BYTES = 4096


class FileKind(NamedTuple):
    """One kind of file that this library writes.

    Attributes:
        name: for messages, with its article.
        recognises: whether a file, not empty, is of this kind.
    """

    name: str
    recognises: Callable[[Path], bool]


def check_replaceable(path: str | os.PathLike, kind: FileKind, argument: str = "path") -> None:
    """Raise unless a file may be written there.

    Args:
        path: the file to write; a link stands for what it points to.
        kind: of the file to write.
        argument: what the user calls `path`, for the message.

    Raises:
        FileExistsError: there is something of another kind.
        IsADirectoryError: there is a folder.
        PermissionError: the file that is there is protected against writing.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{argument} must be a file, got {path}, which is a folder; add a name, for example {path / 'output'}."
        )
    if not path.exists():
        return
    if not path.is_file() or (path.stat().st_size and not _recognised(path, kind)):
        raise FileExistsError(
            f"{argument} must be a new file or {kind.name}, got {path}, which is something else; choose another name, "
            "or remove what is there."
        )
    if not os.access(path, os.W_OK):
        raise PermissionError(
            f"{argument} must be a file that may be changed, got {path}, which is protected against writing; choose "
            "another name, or change its mode."
        )


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run that this library wrote (`detection/reporting/runs.py`)."""
    index = folder / RUN_FILES[0]
    return index.is_file() and _recognised(index, RUN_INDEX)


def _recognised(path: Path, kind: FileKind) -> bool:
    try:
        return kind.recognises(path)
    except OSError:  # what cannot be read is not ours
        return False


def _head_matches(pattern: bytes) -> Callable[[Path], bool]:
    """Whether the beginning of a file matches a regular expression."""
    compiled = re.compile(pattern, re.DOTALL)

    def recognises(path: Path) -> bool:
        with path.open("rb") as file:
            return compiled.match(file.read(_HEAD_BYTES)) is not None

    return recognises


def _is_scorer(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {"about.json", "scorer.bin"} <= set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        # No archive, or one of a version of zip that Python does not read.
        return False


def _is_onnx_scorer(path: Path) -> bool:
    """A message of protocol buffers that begins with the version of ONNX and holds the name of our graph."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content[:1] == b"\x08" and content.find(ONNX_GRAPH.encode()) > 0


MODEL = FileKind(
    "a model file of jaxdpmm", _head_matches(rb'.{8}\s*\{"__metadata__":\s*\{"jaxdpmm":')
)
SCORER = FileKind("a scorer that jaxdpmm exported", _is_scorer)
ONNX_SCORER = FileKind("an ONNX scorer that jaxdpmm exported", _is_onnx_scorer)
RESULT = FileKind(
    "a result that jaxdpmm wrote as JSON", _head_matches(rb'\s*\{\s*"written_by":\s*"jaxdpmm')
)
PAGE = FileKind(
    "a report of jaxdpmm",
    _head_matches(rb'\s*<!doctype html>.*<meta name="generator" content="jaxdpmm'),
)
PICTURE = FileKind(
    "a picture that jaxdpmm drew", _head_matches(rb"\x89PNG\r\n\x1a\n.*tEXtSoftware\x00jaxdpmm")
)
RUN_INDEX = FileKind(
    "the index of a run of jaxdpmm", _head_matches(rb'\s*\{\s*"format_version":\s*\d+,\s*"model":')
)
