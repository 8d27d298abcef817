"""Named arrays and a description of them in one safetensors file, with a digest of both; no pickle, no code.

What model files (`persist.py`) and checkpoints (`inference/checkpoint.py`) have in common. The description is JSON
under one key of the file's header, since safetensors writes several keys in random order. A reader looks at the
sizes first (safetensors: the header's length and the place of every array lie within the file), then at types, then
at the digest, and only then at what the description says. Next file to read: `persist.py`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import msgspec
import numpy as np
import safetensors

from jaxdpmm.storage.descriptions import as_type, parse_json, shown

DTYPES = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64")
"""Types of arrays that NumPy has; BF16 once JAX is imported."""

MAX_AXES = 16


class TreeFormat(NamedTuple):
    """What tells one kind of file from another, and what its sentences say.

    Attributes:
        key: where in the header of a safetensors file the description stands.
        version: of the format.
        noun: what the file must be, for example "a model file written by jaxdpmm".
        remedy: what to do with a file that is something else.
        field: under which the description stands, with the digest beside it; None: its fields are beside the digest.
    """

    key: str
    version: int
    noun: str
    remedy: str
    field: str | None = None

    def wrong(self, path: Any, found: Any) -> ValueError:
        """The sentence for a file that is not what it must be."""
        return ValueError(f"{path} must be {self.noun}, got {found}; {self.remedy}.")

    @contextmanager
    def reading(self, path: Any) -> Iterator[None]:
        """Make a sentence of the reason that is raised within."""
        try:
            yield
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise self.wrong(path, f"one whose header does not fit ({reason})") from error


class _Digested(msgspec.Struct):
    format_version: int
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def metadata_of(
    kind: TreeFormat, description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> dict[str, str]:
    """Metadata for `safetensors.numpy.save`; equal descriptions and arrays give equal metadata.

    Raises:
        TypeError: the description is not JSON.
        ValueError: it holds a number that is not finite.
    """
    body = {kind.field: description} if kind.field else description
    digest = _digest(description, tensors)
    header = {"format_version": kind.version, "sha256": digest, **body}
    return {kind.key: json.dumps(header, allow_nan=False)}


def read_tree(path: Path, kind: TreeFormat) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a file that is whole and of its kind; the description's own fields are not looked at.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, altered, of another format version or something else.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(f"path must be {kind.noun}, got {path} ({found}); check the path.")
    try:
        metadata, tensors = read_tensors(path)
    except ValueError as error:
        raise kind.wrong(path, f"{_nature(path)} ({error})") from error
    if kind.key not in metadata:
        raise kind.wrong(path, "a safetensors file of another program, which is something else")
    with kind.reading(path):
        header = parse_json(metadata[kind.key])
        digested = as_type(header, _Digested)
    if digested.format_version != kind.version:
        raise ValueError(
            f"{path} must have format version {kind.version}, got {digested.format_version}; read it with the "
            f"version of jaxdpmm that wrote it, or {kind.remedy}."
        )
    with kind.reading(path):
        description = _described(header, kind)
    if _digest(description, tensors) != digested.sha256:
        raise kind.wrong(path, "a file that was altered (its SHA-256 does not match)")
    return description, tensors


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Metadata and arrays of any safetensors file.

    Raises:
        ValueError: it is none, is cut short, or holds arrays that NumPy does not know; the message is the reason alone.
        OSError: it cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            for name in names:
                _check_known(name, file.get_slice(name))
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise ValueError(" ".join(str(error).split())) from error


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree under the names of their places, such as `posterior/components/first`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _described(header: dict[str, Any], kind: TreeFormat) -> dict[str, Any]:
    """The description within a header; nothing may stand beside it that the digest does not cover."""
    body = {name: header[name] for name in header if name not in _Digested.__struct_fields__}
    if kind.field is None:
        return body
    if set(body) != {kind.field} or not isinstance(body[kind.field], dict):
        raise ValueError(f"fields {shown(sorted(body))} instead of {kind.field!r} alone")
    return body[kind.field]


def _check_known(name: str, array: Any) -> None:
    kind, shape = array.get_dtype(), array.get_shape()
    if kind not in DTYPES or len(shape) > MAX_AXES or any(size >= 2**48 for size in shape):
        raise ValueError(f"array {shown(name)} of type {kind} and shape {shown(shape)}")


def _nature(path: Path) -> str:
    """What a file is that safetensors cannot read; whole ones start with the length of their header and a brace."""
    size = path.stat().st_size
    if not size:
        return "an empty file, cut short or something else"
    with path.open("rb") as file:
        known = file.read(9)[8:] == b"{"
    return f"one of {size} bytes that is cut short or damaged" if known else "something else"


def _digest(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the description and of every array with its name, type and shape."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {tensor.dtype} {tensors[name].shape}\n".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
