"""Files that are whole or not there: write aside, flush to the disk, rename.

Aside is a folder and not a name, since libraries put temporary files of their own beside what they write. Its name is
random, so that threads, processes, containers and machines on one disk never meet. Its writer holds a lock of the
kernel on a file in it, which ends with the writer: what a killed writer leaves behind is recognised and removed, and
what a living one is writing is not. Knows of neither models nor features. Next file to read: `locks.py`.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

PREFIX, PARTIAL = (
    ".jaxdpmm-",
    ".partial",
)  # around the names of folders in which files are being written
OWNER = (
    ".jaxdpmm-owner"  # in such a folder: locked by its writer, and says on which machine that is
)
MAX_AGE = (
    24 * 3600.0
)  # seconds without a change after which a writer whose lock cannot be seen counts as dead
LONGEST_NAME = 255  # bytes, of a file in a folder
CLEAN_EVERY = 60.0  # seconds; listing a folder for each of ten thousand files in it would take longer than writing them

_EARLIER_NAME = re.compile(
    r"\.(.+)\.[0-9]+\.partial"
)  # the file's name and a process, until version 0.1

_cleaned: dict[Path, float] = {}


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file in a folder of its own, then move it into its place in one step.

    At any moment, power cuts included, `path` is the old file or the new one. The new one has the permissions of the
    old one, or those that the process gives to new files. Folders that killed writers left beside it are removed.
    A link stays a link: what it points to is replaced, as it is by whoever opens a link to write.

    Args:
        path: the file; its folder exists.
        write: makes the file that it is given the name of.

    Raises:
        OSError: the disk is full or cannot be written; an old file is as it was.
    """
    path = Path(os.path.realpath(path))
    try:
        with folder_aside(path.parent) as aside:
            write(aside / path.name)
            # Some libraries write files that nobody else may read.
            shutil.copymode(path if path.exists() else aside / OWNER, aside / path.name)
            _flush(aside / path.name)
            (aside / path.name).replace(path)
            _flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise OSError(
            getattr(error, "errno", None) or 0,
            f"{path} must be writable, got an error ({error}); what was there is untouched: free some space and go on.",
        ) from error


@contextlib.contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """A new folder in another one, known as ours while we live, and gone afterwards.

    What is complete in it is moved out of it. Folders that killed processes left are removed.

    Args:
        folder: on the disk where the files are wanted.

    Raises:
        OSError: the folder cannot be written.
    """
    _clean_now_and_then(folder)
    aside = Path(tempfile.mkdtemp(PARTIAL, PREFIX, folder))
    descriptor = None
    try:
        descriptor = os.open(aside / OWNER, os.O_RDWR | os.O_CREAT, 0o666)
        if _try_lock(descriptor):
            # Only now, so that who reads it can rely on the lock being held as long as the writer lives.
            os.write(descriptor, _machine().encode())
        yield aside
    finally:
        if descriptor is not None:
            os.close(descriptor)
        shutil.rmtree(aside, ignore_errors=True)


def name_text(path: str | os.PathLike) -> str:
    r"""A path as text that UTF-8, JSON and other programs hold: bytes that are no UTF-8 are written as `\xe9`.

    Names on disks are bytes; Python keeps those of an old Latin-1 disk as half characters, which no encoder takes.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def with_suffix_added(name: str, suffix: str) -> str:
    """A name, perhaps with folders before it, with a suffix, within the length that file systems allow.

    Where the last part would be too long its end gives way to a digest of it, so that names that differ stay different.
    """
    folder, slash, last = name.rpartition("/")
    room = LONGEST_NAME - len(suffix.encode())
    if len(last.encode()) > room:
        digest = hashlib.sha256(last.encode()).hexdigest()[:16]
        kept = last.encode()[: room - len(digest) - 1].decode("utf-8", "ignore")
        last = f"{kept}-{digest}"
    return f"{folder}{slash}{last}{suffix}"


def remove_partial_files(folder: Path) -> None:
    """Remove what writers that were killed have left behind, and nothing of those that live."""
    for aside in folder.glob(f".*{PARTIAL}"):
        if _is_ours(aside) and _is_abandoned(aside):
            shutil.rmtree(aside, ignore_errors=True)


def _clean_now_and_then(folder: Path) -> None:
    now = time.monotonic()
    if now - _cleaned.get(folder, -CLEAN_EVERY) >= CLEAN_EVERY:
        _cleaned[folder] = now
        remove_partial_files(folder)


def _is_ours(aside: Path) -> bool:
    """Whether a folder is one of this library's, and not of a program with like habits."""
    if aside.name.startswith(PREFIX):
        return True
    earlier = _EARLIER_NAME.fullmatch(aside.name)
    return (
        earlier is not None
        and aside.is_dir()
        and all(name == earlier[1] or name.startswith(".tmp") for name in os.listdir(aside))
    )


def _is_abandoned(aside: Path) -> bool:
    """Whether the writer of a folder is dead: by the kernel's word on this machine, else by age."""
    try:
        descriptor = os.open(aside / OWNER, os.O_RDWR)
    except OSError:  # made this moment, or by a version that had no such file, or of another user
        return _is_old(aside)
    try:
        if os.read(descriptor, 1000).decode(errors="replace") == _machine():
            return _try_lock(descriptor)
        return _is_old(aside)
    except OSError:
        return _is_old(aside)
    finally:
        os.close(descriptor)


def _is_old(aside: Path) -> bool:
    try:
        newest = max(path.stat().st_mtime for path in [aside, *aside.iterdir()])
    except OSError:  # it went away meanwhile, or is not ours to look into
        return False
    return time.time() - newest > MAX_AGE


def _try_lock(descriptor: int) -> bool:
    """Whether the lock of an open file could be taken; not where a file system knows no locks."""
    from filelock import lock_descriptor

    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return False


@functools.cache
def _machine() -> str:
    """What tells one running kernel, whose locks are seen by all of its containers, from every other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()}-{uuid.getnode():x}"


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows knows no such thing
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
