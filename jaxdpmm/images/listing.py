"""What lies in a folder: images, folders and links, and warnings about what of it is not read.

Hidden files and folders are passed over everywhere, and so are the pictures of a run of this library
(`detection/reporting/runs.py`). Read `layouts.py` next.
"""

import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from jaxdpmm.images.names import role_of
from jaxdpmm.storage.outputs import RUN_FOLDERS, is_run

NO_PICTURES = {"BUFR", "EPS", "FLI", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}
"""Formats that Pillow names and that are documents, films or data, or need another program."""
FEATURES = "features.npy"  # in an archive of features
ZARR = ("zarr.json", ".zarray", ".zgroup")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
COMPANIONS = frozenset(
    [
        *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".toml"),
        *(".xml", ".html", ".log", ".ini", ".cfg", ".db", ".py", ".sh", ".safetensors", ".parquet"),
    ]
)
"""Suffixes of what lies beside images and is no picture for sure; nothing is said of them."""


class Found(NamedTuple):
    """Files below a folder.

    Attributes:
        files: by path, hidden ones and pictures of runs left out.
        outside: linked folders out of the tree that were followed.
        repeated: linked folders that were not, since what they lead to is read already or holds the tree.
        runs: folders of runs, whose pictures were left out.
        closed: folders that may not be opened.
    """

    files: tuple[Path, ...]
    outside: tuple[Path, ...]
    repeated: tuple[Path, ...]
    runs: tuple[Path, ...]
    closed: tuple[Path, ...]


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of files that are read as images: those of still images that Pillow decodes, and `.npy`."""
    known = Image.registered_extensions().items()
    read = {suffix for suffix, kind in known if kind in Image.OPEN and kind not in NO_PICTURES}
    return frozenset(read | {".npy"})


def is_image(file: Path) -> bool:
    """Whether a file has the suffix of an image, in any case, or holds features (`feature_arrays.py`)."""
    is_array = is_archive_of_features(file) or is_zarr(file)
    return file.suffix.lower() in image_suffixes() or is_array


def is_archive_of_features(file: Path) -> bool:
    """Whether a file is an `.npz` that holds an array `features`."""
    if file.suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return FEATURES in archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return False


def is_file(path: Path) -> bool:
    """Whether a path is one file, or a folder of Zarr, which counts as one."""
    return path.is_file() or is_zarr(path)


def is_zarr(path: Path) -> bool:
    """Whether a folder is an array or a group of Zarr, by its suffix and the file that says so."""
    return path.suffix.lower() == ".zarr" and any((path / name).is_file() for name in ZARR)


def is_nifti(file: Path) -> bool:
    """Whether a file has the suffix of NIfTI, in any case."""
    return file.name.lower().endswith(NIFTI_SUFFIXES)


def is_dicom(file: Path) -> bool:
    """Whether a file has "DICM" at byte 128 (PS3.10 7.1) or the suffix `.dcm`."""
    if file.suffix.lower() == ".dcm":
        return True
    try:
        with file.open("rb") as content:
            return content.read(132)[128:] == b"DICM"
    except OSError:
        return False


def check_folder(path: str | Path, names: Sequence[str] = ()) -> Path:
    """The folder as a path.

    Args:
        path: what the user gave.
        names: what may be given instead of a folder, for the message.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing there"
        instead = f" or one of {sorted(names)}" if names else ""
        raise FileNotFoundError(
            f"path must be a folder of images{instead}, got {path} ({found}); check the spelling."
        )
    return path


def images_in(path: Path) -> list[Path]:
    """Image files in a folder by name, without hidden ones; none where there is no folder."""
    return [file for file in files_in(path) if is_image(file)]


def files_in(path: Path) -> list[Path]:
    """Files in a folder by name, without hidden ones; none where there is no folder."""
    if not path.is_dir():
        return []
    return sorted(p for p in path.iterdir() if not _hidden(p.name) and _is_listed(p))


def folders_in(path: Path) -> list[Path]:
    """Folders by name, without hidden ones; none where there is no folder."""
    if not path.is_dir():
        return []
    found = (p for p in path.iterdir() if p.is_dir() and not _hidden(p.name))
    return sorted(p for p in found if not is_zarr(p))


def folder_of(path: Path, role: str) -> Path | None:
    """The folder in another one whose name has a role (`names.py`), the shortest name first; None for none."""
    found = [folder for folder in folders_in(path) if role_of(folder.name) == role]
    return min(found, key=lambda folder: (len(folder.name), folder.name), default=None)


def files_below(path: Path) -> Found:
    """All files below a folder. Linked folders are followed, each real folder once, and never to where the tree lies.

    A link to a file that is gone counts as a file, so that whoever reads it says so. Pipes, sockets and devices do not:
    reading one may wait for ever.
    """
    root = Path(os.path.realpath(path))
    seen: set[str] = set()
    files: list[Path] = []
    outside, repeated, runs, waiting = [], [], [], [path]
    closed: list[Path] = []

    def note(error: OSError) -> None:
        closed.append(Path(os.fsdecode(error.filename)))

    while waiting:  # what is no link comes first, so that a folder goes by its own name
        top = waiting.pop(0)
        real = Path(os.path.realpath(top))
        if top != path and (str(real) in seen or root.is_relative_to(real)):
            repeated.append(top)
            continue
        if not real.is_relative_to(root):
            outside.append(top)
        for folder, inner, names in os.walk(top, onerror=note):
            here = Path(folder)
            if str(resolved := os.path.realpath(here)) in seen:
                inner[:] = []
                continue
            seen.add(str(resolved))
            stores = [name for name in inner if is_zarr(here / name)]
            inner[:] = sorted(n for n in inner if n not in stores and not _hidden(n))
            if is_run(here):
                runs.append(here)
                inner[:] = [name for name in inner if name not in RUN_FOLDERS]
            waiting += [here / name for name in inner if (here / name).is_symlink()]
            here_too = (here / name for name in [*names, *stores] if not _hidden(name))
            files += [file for file in here_too if _is_listed(file)]
    return Found(tuple(sorted(files)), tuple(outside), tuple(repeated), tuple(runs), tuple(closed))


def tell_left_out(
    path: Path,
    found: Found,
    others: Iterable[Path],
    *,
    masks: Sequence[Path] = (),
    unused: Sequence[Path] = (),
) -> None:
    """One warning for each kind of thing below a folder that was not read, or was read from elsewhere.

    Args:
        path: the folder.
        found: what is below it.
        others: files that are neither images nor parts of volumes.
        masks: files that were left out as masks.
        unused: images that the layout does not use.
    """
    _warn(unused, path, "leaves out images that its layout does not use", "move them if wanted")
    _warn(
        masks, path, "leaves out files that are masks by their names", "rename them if they are not"
    )
    _warn(
        found.outside,
        path,
        "follows linked folders that lead out of it",
        "unlink them if not wanted",
    )
    _warn(
        found.repeated,
        path,
        "leaves out linked folders whose files it has already",
        "nothing to do",
    )
    _warn(found.closed, path, "leaves out folders that may not be opened", "change their mode")
    _warn(found.runs, path, "leaves out pictures of runs of jaxdpmm", "write runs elsewhere")
    left_out = [file for file in others if not is_companion(file)]
    if left_out:
        counts = Counter(file.suffix.lower() or "no suffix" for file in left_out).most_common(8)
        kinds = ", ".join(f"{number} of {suffix}" for suffix, number in counts)
        warnings.warn(
            f"{path}: leaves out {len(left_out)} files that are not known as images ({kinds}; for example "
            f"{left_out[0].relative_to(path)}); convert those that are.",
            stacklevel=3,
        )


def _warn(folders: Sequence[Path], path: Path, what: str, advice: str) -> None:
    if folders:
        names = ", ".join(str(folder.relative_to(path)) for folder in folders[:5])
        warnings.warn(f"{path}: {what} ({len(folders)}: {names}); {advice}.", stacklevel=4)


def is_companion(file: Path) -> bool:
    """Whether a file lies beside images and is no picture for sure, by its name."""
    return file.suffix.lower() in COMPANIONS or file.stem.lower() in (
        "readme",
        "license",
        "licence",
    )


def content_of(folder: Path) -> str:
    """How much lies in a folder, for messages."""
    folders, images = folders_in(folder), images_in(folder)
    others = len(files_in(folder)) - len(images)
    return f"{len(folders)} folders, {len(images)} images, {others} other files"


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _is_listed(path: Path) -> bool:
    return is_file(path) or (path.is_symlink() and not path.exists())
