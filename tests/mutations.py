"""Ways to damage a file or to make it hostile, drawn by a seeded generator: of bytes, of JSON, of safetensors.

`mutate` changes one file of a folder that is held in memory (name -> bytes). A mutation is *honest* when whoever made
it computed the digests anew, so that only a look at the values can find it.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

Files = dict[str, bytes]

DEEP = "@@deep@@"
VALUES = (
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**63, 10**30, 0.5, -0.5, 1e308, float("nan")),
    *(float("inf"), "", "x", "../x", "/etc/passwd", "a\nb", "\x00", "é", "x" * 10_000, "N", "1"),
    *([], {}, [[]], [1, 2], ["a"], {"a": 1}, {"": {}}, DEEP, "9" * 50),
)
DTYPES = ("float32", "float64", "float16", "int32", "uint8", "bool", "int64")
NUMBERS = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e30, -1e30, 1e-30)


class Mutation(NamedTuple):
    """What was done.

    Attributes:
        files: the folder afterwards.
        what: for the message of a test that fails.
        honest: whether digests are right.
    """

    files: Files
    what: str
    honest: bool


class Tensors(NamedTuple):
    """A safetensors file taken apart; metadata that is JSON as its value."""

    metadata: dict[str, Any]
    arrays: dict[str, np.ndarray]


def choose(random: np.random.Generator, values: Any) -> Any:
    """One of some values."""
    return values[int(random.integers(len(values)))]


def mutate_bytes(random: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """Bits turned, bytes lost, repeated, overwritten or added; or another length of a safetensors header."""
    changed, size = bytearray(content), len(content)
    kind = choose(
        random, ("bit", "bits", "cut", "head", "zeros", "more", "length", "twice", "lost")
    )
    place = int(random.integers(max(size, 1)))
    if kind in ("bit", "bits") and size:
        for spot in random.integers(size, size=1 if kind == "bit" else 8):
            changed[spot] ^= 1 << int(random.integers(8))
    elif kind == "cut":
        del changed[place:]
    elif kind == "head":
        del changed[: place + 1]
    elif kind == "zeros":
        changed[place : place + 16] = bytes(len(changed[place : place + 16]))
    elif kind == "more":
        changed += random.bytes(int(random.integers(1, 50)))
    elif kind == "length":
        changed[:8] = struct.pack("<Q", int(choose(random, (0, 1, 10, size, 10**8, 2**40, 2**62))))
    elif kind == "twice":
        changed[place:place] = changed[place : place + 32]
    else:
        del changed[place : place + int(random.integers(1, 32))]
    return bytes(changed), f"{kind} at {place}"


def mutate_json(random: np.random.Generator, value: Any) -> tuple[Any, str]:
    """A copy of a JSON value in which one thing is another, gone, renamed, new, nudged or in another's place."""
    value = json.loads(json.dumps(value))
    path, parent, key = choose(random, list(_places(value)))
    kind = choose(random, ("value", "value", "nudge", "nudge", "delete", "rename", "add", "swap"))
    if kind == "nudge":
        parent[key] = _nudged(random, parent[key])
    elif kind == "delete":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[choose(random, ("x", "", key + "s", key.upper(), "__class__"))] = parent.pop(key)
    elif kind == "add" and isinstance(parent, dict):
        parent[choose(random, ("extra", "__class__", "", "dim", "rank"))] = choose(random, VALUES)
    elif kind == "swap":
        _, other, name = choose(random, list(_places(value)))
        first, second = json.loads(json.dumps([parent[key], other[name]]))
        parent[key] = second
        if name in other if isinstance(other, dict) else True:
            other[name] = first
    else:
        parent[key] = choose(random, VALUES)
    return value, f"{kind} {path}"


def mutate_arrays(
    random: np.random.Generator, arrays: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], str]:
    """Arrays missing, renamed, new, swapped, of another shape or type, or with other values."""
    arrays = {name: np.array(array) for name, array in arrays.items()}
    names = sorted(arrays)
    name, other = choose(random, names), choose(random, names)
    kind = choose(
        random, ("delete", "rename", "add", "swap", "shape", "type", "value", "value", "bit")
    )
    array = arrays[name]
    if kind == "delete":
        del arrays[name]
    elif kind == "rename":
        arrays[choose(random, ("x", name + "/x", "a\nb", "../x"))] = arrays.pop(name)
    elif kind == "add":
        arrays[choose(random, ("extra", "arrays/extra", "prior/offset/x"))] = np.zeros(3)
    elif kind == "swap":
        arrays[name], arrays[other] = arrays[other], array
    elif kind == "shape":
        shapes = ((-1,), (1, -1), (-1, 1), (*array.shape, 1), (1, *array.shape))
        arrays[name] = array.reshape(choose(random, shapes))
        if choose(random, (True, False)):
            arrays[name] = arrays[name][: max(len(arrays[name]) - 1, 0)]
    elif kind == "type":
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(choose(random, DTYPES))
    elif array.size:
        _mutate_values(random, array, kind)
    return arrays, f"{kind} {name!r}"


def read_tensors(content: bytes) -> Tensors:
    """A safetensors file taken apart."""
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    parsed = {
        key: json.loads(text) if text.startswith("{") else text for key, text in metadata.items()
    }
    return Tensors(parsed, safetensors.numpy.load(content))


def write_tensors(tensors: Tensors) -> bytes:
    """Put together again."""
    metadata = {
        key: value if isinstance(value, str) else json_text(value)
        for key, value in tensors.metadata.items()
    }
    arrays = {name: np.array(array, order="C") for name, array in tensors.arrays.items()}
    return safetensors.numpy.save(arrays, metadata or None)


def json_text(value: Any) -> str:
    """JSON, and what is none: NaN, infinity, and nesting that no recursive writer could make."""
    return json.dumps(value).replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000)


def digest_of(description: Any, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of description and arrays as model files and checkpoints have it, written anew from the format."""
    digest = sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def unzipped(content: bytes) -> Files:
    """The files of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: Files) -> bytes:
    """A zip archive with right checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def in_file(
    files: Files, name: str, change: Callable[[bytes], tuple[bytes, str]], honest: bool = False
) -> Mutation:
    """One file of a folder changed by a function of its content."""
    content, what = change(files[name])
    return Mutation({**files, name: content}, f"{name}: {what}", honest)


def _mutate_values(random: np.random.Generator, array: np.ndarray, kind: str) -> None:
    """Change one number of an array in place."""
    spot = int(random.integers(array.size))
    if kind == "bit" or array.dtype.kind != "f":
        raw = array.reshape(-1).view(np.uint8)
        raw[int(random.integers(raw.size))] ^= 1 << int(random.integers(8))
    else:
        array.reshape(-1)[spot] = choose(random, NUMBERS)


def _nudged(random: np.random.Generator, value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return choose(random, (value + 1, value - 1, -value, 10 * value, float(value)))
    if isinstance(value, float):
        return choose(random, (value * 1.001, -value, value + 1, round(value)))
    if isinstance(value, str):
        return choose(random, (value + "x", value[1:], value.upper(), value[::-1]))
    if isinstance(value, list):
        return choose(random, (value + value[:1], value[:-1], value[::-1], [value]))
    return [value]


def _places(value: Any, path: str = "$"):
    """Path, container and key of everything within a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in entries:
        yield f"{path}.{key}", value, key
        if isinstance(child, dict | list):
            yield from _places(child, f"{path}.{key}")
