"""One at a time: locks between threads, processes, containers and machines that share a folder.

The lock is the kernel's (`filelock`), so it ends with its holder, however that ends; on file systems without locks
`filelock` falls back to a file that a dead holder of the same machine does not keep. Who holds it, and since when,
stands in the lock file for those who wait. Knows of neither models nor features. Next file to read:
`features/store_writer.py`.
"""

import contextlib
import datetime
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NOTICE = 2.0  # seconds of waiting before somebody is told
PATIENCE = 600.0  # seconds without a sign of life of the holder before waiting ends
LOOK_EVERY = 1.0  # seconds between two looks at the holder
_POLL = 0.01

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(
    path: Path, purpose: str, sign_of_life: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold a lock for the length of a `with` block.

    Waiting is announced in one sentence in the log, which Python writes to standard error unless it is told otherwise.

    Args:
        path: the lock file; its folder exists.
        purpose: what the holder does, for that sentence: "adding to the feature store x".
        sign_of_life: anything that changes as the holder gets on; waiting ends `PATIENCE` seconds after its last
            change.

    Raises:
        TimeoutError: the holder lives and did not let go.
        OSError: the lock file cannot be written.
    """
    lock = _acquired(path, purpose, sign_of_life)
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, purpose: str, sign_of_life: Callable[[], object]) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=0o666, thread_local=False)  # other users of the folder open it too
    begin = changed = time.monotonic()
    announced, seen = False, sign_of_life()
    while True:
        try:
            lock.acquire(timeout=min(LOOK_EVERY, NOTICE), poll_interval=_POLL)
        except Timeout:
            now = time.monotonic()
            if (found := sign_of_life()) != seen:
                seen, changed = found, now
            if now - changed >= PATIENCE:
                raise TimeoutError(
                    f"{path} must become free within {PATIENCE:g} seconds, got a lock of {_holder(path)} that is held "
                    "longer; stop that process or wait for it, then try again."
                ) from None
            if not announced and now - begin >= NOTICE:
                _logger.warning("waiting for %s, which is %s", _holder(path), purpose)
                announced = True
        except OSError as error:
            raise OSError(
                error.errno or 0,
                f"{path} must be writable to keep other processes out, got an error ({error}); give a folder that may "
                "be written to.",
            ) from error
        else:
            _sign(path)
            return lock


def _sign(path: Path) -> None:
    """Write who holds the lock into its file, unless `filelock` uses the content itself."""
    with contextlib.suppress(OSError):
        if (content := path.read_bytes()) and not content.startswith(b"{"):
            return
        since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        note = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
        path.write_text(json.dumps(note))


def _holder(path: Path) -> str:
    try:
        note = json.loads(path.read_bytes())
        return f"process {note['process']} on {note['host']} (since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
