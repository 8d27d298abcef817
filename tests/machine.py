"""What not every machine has: tests that need it are skipped elsewhere."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="needs the extra faiss")
needs_mounting = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk"
)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of a given size, such as "64k", in an empty folder; the test is skipped where containers forbid it."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
