"""Reading a scorer that `export.py` wrote: what is in the archive is checked before JAX is given any of it.

An exported scorer is a program, and JAX trusts what it deserialises: one altered bit in it can end the process. So the
SHA-256 of the program stands in `about.json`, and a damaged file is refused before JAX sees it. (Files without one, of
jaxdpmm 0.1.0, rest on the checksums of zip.) Against somebody who makes a program of ill will and computes its digest
there is no check: load scorers from whom you would take a program, and model files (`persist.py`) from anybody.
"""

import importlib.util
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import msgspec
import numpy as np
from jax import export
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxdpmm.scoring import in_tiles
from jaxdpmm.storage.descriptions import as_type, parse_json

FORMAT_VERSION = 1
ABOUT, SCORER = "about.json", "scorer.bin"
KNOWN_PLATFORMS = ("cpu", "cuda", "tpu", "rocm")
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_BYTES = {ABOUT: 2**20, SCORER: 2**31}  # unpacked; flatbuffers end at 2 GiB

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class About(msgspec.Struct, forbid_unknown_fields=True):
    """What `about.json` says; `shape` is that of the features, of any number of points."""

    format_version: int
    library_version: str
    jax_version: str
    family: str
    num_components: Annotated[int, msgspec.Meta(ge=1)]
    score: str
    shape: tuple[Literal["N"], Annotated[int, msgspec.Meta(ge=1)]]
    dtype: Literal["float32"]
    platforms: list[Literal["cpu", "cuda", "tpu", "rocm"]]
    sha256: Sha256 | None = None


def load_scorer(path: str | os.PathLike) -> Callable[[ArrayLike], Float[np.ndarray, " N"]]:
    """A function from features (N, D) to scores (N,), from a file that `export_scorer` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut short, altered, something else, or for other platforms than this process runs on. The
            function raises it for features of another shape.
        ImportError: flatbuffers, which JAX reads such files with, is not installed.
    """
    check_flatbuffers()
    about, content = _read(Path(path))
    _check_platform(path, about.platforms)
    compiled = jax.jit(_program(path, about, content))
    dim = about.shape[1]

    def score(features: ArrayLike) -> Float[np.ndarray, " N"]:
        x = np.asarray(features, np.float32)
        if x.ndim != 2 or x.shape[1] != dim:
            raise ValueError(
                f"features must have shape (N, {dim}) to match {path}, got {x.shape}; use the features that the model "
                "was fitted to."
            )
        return in_tiles(lambda _, tile: compiled(tile), (), x)

    return score


def check_flatbuffers() -> None:
    """Raise `ImportError` where flatbuffers, which JAX reads and writes programs with, is not installed."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError(
            "exported scorers need flatbuffers, which is not installed; install it with: pip install 'jaxdpmm[export]'."
        )


def _program(path: Any, about: About, content: bytes) -> Callable:
    try:
        exported = export.deserialize(bytearray(content))
        (features,), (result,) = exported.in_avals, exported.out_avals
    except (
        Exception
    ) as error:  # whatever flatbuffers, MLIR or NumPy raise at content of another kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _wrong(path, f"one whose program JAX cannot read ({reason[:200]})") from error
    if features.shape[1:] != about.shape[1:] or features.dtype != about.dtype or result.ndim != 1:
        raise _wrong(path, "one whose program takes other features than its description says")
    return exported.call


def _read(path: Path) -> tuple[About, bytes]:
    """What is in a file that is whole and ours."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(
            f"path must be a file that `jaxdpmm export` wrote, got {path} ({found}); check the path."
        )
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    try:
        with zipfile.ZipFile(path) as archive:
            packed, content = _member(archive, ABOUT), _member(archive, SCORER)
    except KeyError as error:
        raise _wrong(path, "another zip archive") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        what = "one that is cut short or altered" if is_zip else "something else"
        raise _wrong(path, f"{what} ({error})") from error
    about = _described(path, packed)
    if about.sha256 is not None and sha256(content).hexdigest() != about.sha256:
        raise _wrong(path, "one that is cut short or altered (its SHA-256 does not match)")
    return about, content


def _described(path: Path, packed: bytes) -> About:
    try:
        values = as_type(parse_json(packed), dict[str, Any])
        version = as_type(values.get("format_version"), int)
        if version == FORMAT_VERSION:
            return as_type(values, About)
    except ValueError as error:
        raise _wrong(path, f"another zip archive, whose {ABOUT} is not ours ({error})") from error
    raise ValueError(
        f"{path} must have format version {FORMAT_VERSION}, got {version}; export again with this version."
    )


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the archive, as large as the archive says or refused."""
    entry, most = archive.getinfo(name), MAX_BYTES[name]
    if entry.file_size > most or entry.compress_type not in PACKINGS:
        raise ValueError(
            f"{name} of {entry.file_size} bytes, packed by method {entry.compress_type}"
        )
    return archive.read(name)


def _check_platform(path: Any, platforms: Sequence[str]) -> None:
    backend = jax.default_backend()
    names = {"gpu": {"cuda", "rocm"}}.get(backend, {backend})
    if not names & set(platforms):
        raise ValueError(
            f"{path} must hold code for the platform of this process, {backend}, got {', '.join(platforms)} alone; "
            f"export again with --platform {sorted(names)[0]}, or choose another with JAX_PLATFORMS."
        )


def _wrong(path: Any, found: str) -> ValueError:
    return ValueError(
        f"{path} must be as `jaxdpmm export` wrote it, got {found}; check the path, copy it again or export again."
    )
