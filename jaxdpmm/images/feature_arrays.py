"""Arrays of features and facts in one file: `.npy`, `.npz` or `.zarr`, each with its shape, its values and its facts.

A `.zarr` is a folder, of Zarr's format 2 or 3 (extra `zarr`): an array, or a group that holds the array `features`; its
attributes are facts, and so are other arrays of the group. What they are features of is for `feature_files.py`, to read
next.
"""

import contextlib
import zipfile
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from jaxdpmm.images.decoding import load_array
from jaxdpmm.images.listing import FEATURES, is_archive_of_features, is_zarr

NAME = FEATURES.removesuffix(".npy")  # of the array, in a file of several
IMAGE_CHANNELS = (1, 3)  # an array of (H, W, C) with so many is an image


def is_feature_file(path: Path) -> bool:
    """Whether a file holds features: by its arrays, not by its name, so that arrays of images are none.

    Raises:
        ImportError: it is a `.zarr`, and zarr is not installed.
    """
    if is_zarr(path):
        check_zarr()
        return True
    if path.suffix.lower() != ".npy":
        return is_archive_of_features(path)
    try:
        shape = load_array(path, in_memory=False).shape
    except (OSError, ValueError):
        return False
    return len(shape) == 4 or (len(shape) == 3 and shape[2] not in IMAGE_CHANNELS)


def number_of_images(path: Path) -> int | None:
    """How many images a file of features is of, by its header; None for one alone, and for what cannot be read."""
    try:
        shape = _kind_of(path).shape(path)
    except Exception:  # of a damaged file, whatever its library raises: it is told when it is read
        return None
    return shape[0] if len(shape) == 4 else None


def values_of(path: Path, index: int | None) -> np.ndarray:
    """Features of one image, as they are stored.

    Args:
        path: of the file.
        index: which of several images in it; None where it holds one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; the message names it.
    """
    read = _kind_of(path).values
    return read(path, ...) if index is None else read(path, index)


def own_facts(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Those of some facts that a file holds itself.

    Args:
        path: of the file.
        names: of the facts.

    Raises:
        FileNotFoundError, ValueError: as of `values_of`.
    """
    return _kind_of(path).facts(path, names)


def check_zarr() -> Any:
    """Zarr, or `ImportError` where it is not installed."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            "features in .zarr need zarr, which is not installed; install it with: pip install 'jaxdpmm[zarr]'."
        ) from error
    return zarr


class _Kind(NamedTuple):
    """How one kind of file is read; values are those of an image, or with `...` of the only one."""

    shape: Callable[[Path], tuple[int, ...]]
    values: Callable[[Path, Any], np.ndarray]
    facts: Callable[[Path, Collection[str]], dict[str, np.ndarray]]


def _kind_of(path: Path) -> _Kind:
    return _KINDS.get(path.suffix.lower(), _KINDS[".npz"])


def _mapped(path: Path) -> np.ndarray:
    return load_array(path, in_memory=False)


def _shape_in_archive(path: Path) -> tuple[int, ...]:
    with zipfile.ZipFile(path) as archive, archive.open(FEATURES) as file:
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        return read[npy.read_magic(file)](file)[0]


def _values_in_archive(path: Path, index: Any) -> np.ndarray:
    if index is not ...:
        return _kept(path, path.stat().st_mtime_ns)[index]
    with _archive(path) as archive:
        return archive[NAME]


def _facts_in_archive(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    with _archive(path) as archive:
        return {name: archive[name] for name in names if name in archive.files}


@lru_cache(maxsize=1)
def _kept(path: Path, changed: int) -> np.ndarray:
    """Features of several images, which come from one archive one after the other."""
    del changed
    return _values_in_archive(path, ...)


def _shape_in_zarr(path: Path) -> tuple[int, ...]:
    with _zarr(path) as (_, array):
        return tuple(array.shape)


def _values_in_zarr(path: Path, index: Any) -> np.ndarray:
    with _zarr(path) as (_, array):
        return np.asarray(array[index])


def _facts_in_zarr(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    with _zarr(path) as (opened, array):
        found = {**opened.attrs, **array.attrs}
        if opened is not array:
            found |= {name: opened[name][...] for name in names if name in opened}
        return {name: np.asarray(found[name]) for name in names if name in found}


_KINDS = {
    ".npy": _Kind(
        lambda path: _mapped(path).shape,
        lambda path, index: _mapped(path)[index],
        lambda *_: {},
    ),
    ".npz": _Kind(_shape_in_archive, _values_in_archive, _facts_in_archive),
    ".zarr": _Kind(_shape_in_zarr, _values_in_zarr, _facts_in_zarr),
}


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[Any]:
    """An open `.npz`."""
    with (
        _whole(path, path.is_file(), ".npz of arrays of numbers"),
        np.load(path, allow_pickle=False) as archive,
    ):
        yield archive


@contextlib.contextmanager
def _zarr(path: Path) -> Iterator[tuple[Any, Any]]:
    """An open `.zarr`, and the array of features in it."""
    zarr = check_zarr()
    with _whole(path, path.is_dir(), ".zarr that is an array or holds the array features"):
        opened = zarr.open(path, mode="r")
        yield opened, opened[NAME] if isinstance(opened, zarr.Group) else opened


@contextlib.contextmanager
def _whole(path: Path, is_there: bool, wanted: str) -> Iterator[None]:
    """Every way a file can be bad becomes one sentence."""
    if not is_there:
        raise FileNotFoundError(
            f"features must be a file, got {path} (nothing there); check the path."
        )
    try:
        yield
    except Exception as error:  # of zip, zlib, NumPy, Zarr and its codecs
        raise ValueError(
            f"features must be a whole {wanted}, got {path} ({' '.join(str(error).split())}); make it anew or leave it "
            "out."
        ) from error
