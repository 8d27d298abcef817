"""What lies in a folder: images, folders, and one sentence about both for a layout that is not as expected.

Read `layouts.py` next.
"""

from collections.abc import Sequence
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".npy"}
)


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


def images_in(path: Path, pattern: str = "*") -> list[Path]:
    """Image files by name, without hidden ones."""
    return sorted(
        p
        for p in path.glob(pattern)
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def folders_in(path: Path) -> list[Path]:
    """Folders by name, without hidden ones; none where there is no folder."""
    if not path.is_dir():
        return []
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def content_of(folder: Path) -> str:
    """How much lies in a folder, for messages."""
    folders, images = folders_in(folder), images_in(folder)
    others = sum(1 for p in folder.iterdir() if p.is_file()) - len(images)
    return f"{len(folders)} folders, {len(images)} images, {others} other files"


def wrong_layout(path: Path, layout: str, wanted: str) -> ValueError:
    """One sentence that says what a layout needs and what was found, two folders deep."""
    inside = [
        f"{folder.relative_to(path).as_posix()}/ ({content_of(folder)})"
        for outer in folders_in(path)
        for folder in [outer, *folders_in(outer)]
    ]
    return ValueError(
        f"path must have the layout of {layout} ({wanted}), got {path} with "
        f"{', '.join(inside[:12]) or content_of(path)}; rearrange it, or give a folder of images."
    )
