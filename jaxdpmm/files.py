"""Files that are whole or not there: write aside, flush to the disk, rename.

Aside is a folder and not a name, since libraries put temporary files of their own beside what they write.
Knows of neither models nor features. Next file to read: `persist.py`.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

PARTIAL = ".partial"  # suffix of folders in which files are being written


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file in a folder of its own, then move it into its place in one step.

    At any moment, power cuts included, `path` is the old file or the new one.

    Args:
        path: the file; its folder exists.
        write: makes the file that it is given the name of.

    Raises:
        OSError: the disk is full or cannot be written; an old file is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        aside.mkdir(exist_ok=True)
        write(aside / path.name)
        _flush(aside / path.name)
        (aside / path.name).replace(path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise OSError(
            getattr(error, "errno", None) or 0,
            f"{path} must be writable, got an error ({error}); what was there is untouched: free some space and go on.",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove what writers that were killed have left behind."""
    for aside in folder.glob(f".*{PARTIAL}"):
        shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows knows no such thing
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
