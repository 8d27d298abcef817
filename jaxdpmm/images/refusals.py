"""Folders that are refused, with what was seen in them and two commands for it: layouts that are unknown or incomplete.

What names say is not normal is never learned from. Read `layouts.py` next.
"""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxdpmm.images import names
from jaxdpmm.images.listing import content_of, files_below, folders_in, is_image
from jaxdpmm.images.masks import masks_among, stem_of
from jaxdpmm.images.names import role_of

LEARNED = (names.NORMAL, names.TRAIN)
SCORED = (names.TEST, names.ANOMALOUS, names.VALIDATION)
NOT_NORMAL = {names.TEST, names.ANOMALOUS, names.VALIDATION, names.MASK}
KNOWN = (
    "MVTec AD, MVTec LOCO, MVTec AD 2, VisA, Real-IAD, KolektorSDD2, Kaputt, BTAD, BMAD, BraTS, DAGM or anomalib's "
    "Folder"
)

Roles = Mapping[Path, tuple[str, ...]]


def check_all_normal(path: Path, files: Sequence[Path]) -> None:
    """Raise where a name below a folder says test, validation, mask or anomalous.

    Args:
        path: the folder; its own name does not count, as whoever gives it knows what it holds.
        files: the images below it.

    Raises:
        ValueError: there is such a name; the message tells what was seen, and commands for it.
    """
    roles = _roles_of(path, files)
    telling = {role for found in roles.values() for role in found} & NOT_NORMAL
    masks, mixed = masks_among(files), _mixed_names(files) + _beside_normal(path, files)
    if not (telling or masks or mixed):
        return
    seen = [
        f"{folder.relative_to(path).as_posix()}/ ({number} images{_says(roles[folder])})"
        for folder, number in sorted(_counts(files).items())
    ]
    if masks:
        seen.append(f"masks such as {masks[0].relative_to(path).as_posix()} beside their images")
    seen += mixed
    raise ValueError(
        f"path must be a folder of normal images or a data set in the layout of {KNOWN}, got {path} with "
        f"{', '.join(seen[:8])}{' and more' * (len(seen) > 8)}; {_advice(path, roles, not masks and not mixed)}"
    )


def wrong_layout(path: Path, layout: str, wanted: str) -> ValueError:
    """One sentence that says what a layout needs, what was found two folders deep, and two commands for that.

    Args:
        path: the folder.
        layout: its name.
        wanted: what is absent of it.
    """
    inside = [
        f"{folder.relative_to(path).as_posix()}/ ({content_of(folder)})"
        for outer in folders_in(path)
        for folder in [outer, *folders_in(outer)]
    ]
    files = [file for file in files_below(path).files if is_image(file)]
    can_tell = not masks_among(files) and not _mixed_names(files)
    return ValueError(
        f"path must have the layout of {layout} ({wanted}), got {path} with "
        f"{', '.join(inside[:12]) or content_of(path)}; rearrange it, or "
        f"{_advice(path, _roles_of(path, files), can_tell)}"
    )


def _roles_of(path: Path, files: Sequence[Path]) -> Roles:
    return {folder: _roles(path, folder) for folder in {file.parent for file in files}}


def _roles(path: Path, folder: Path) -> tuple[str, ...]:
    """What the names from a folder down to another say."""
    found = [role_of(part) for part in folder.relative_to(path).parts]
    return tuple(role for role in found if role is not None)


def _says(roles: tuple[str, ...]) -> str:
    return f": {', '.join(roles)}" if roles else ""


def _counts(files: Sequence[Path]) -> dict[Path, int]:
    counts: dict[Path, int] = defaultdict(int)
    for file in files:
        counts[file.parent] += 1
    return counts


def _mixed_names(files: Sequence[Path]) -> list[str]:
    """One line for a folder whose files are called normal and anomalous, as OK_1.png and NG_2.png."""
    examples: dict[Path, dict[str, str]] = defaultdict(dict)
    for file in files:
        words = names.words(stem_of(file)).split("_")
        for word in {words[0], words[-1], words[0].rstrip("0123456789")}:
            if (role := role_of(word)) in (names.NORMAL, names.ANOMALOUS):
                examples[file.parent].setdefault(role, file.name)
    return [
        f"files called {found[names.NORMAL]} and {found[names.ANOMALOUS]} in one folder"
        for found in examples.values()
        if len(found) == 2
    ]


def _beside_normal(path: Path, files: Sequence[Path]) -> list[str]:
    """One line for a folder that lies beside one of normal images and says nothing, as crack beside good."""
    children: dict[Path, dict[str | None, str]] = defaultdict(dict)
    for file in files:
        for folder in (place for place in file.parents if place != path and path in place.parents):
            children[folder.parent].setdefault(role_of(folder.name), folder.name)
    return [
        f"{found[None]}/ beside {found[names.NORMAL]}/"
        for found in children.values()
        if None in found and names.NORMAL in found
    ]


def _advice(path: Path, roles: Roles, can_tell: bool) -> str:
    """Two commands: what to learn from and what to score, where the names of folders say so."""
    learn = _chosen(path, roles, LEARNED) if can_tell else None
    score = _chosen(path, roles, SCORED) or path
    begin = "use" if learn else "sort normal images into a folder of their own and use"
    normal = shlex.quote(str(learn)) if learn else "NORMAL_IMAGES"
    return (
        f"{begin} `jaxdpmm fit {normal} --output MODEL` and `jaxdpmm score MODEL {shlex.quote(str(score))} --output "
        "SCORES`."
    )


def _chosen(path: Path, roles: Roles, wanted: Sequence[str]) -> Path | None:
    """The folder down to the name with the first of the wanted roles; to learn from, one with nothing else below it."""
    for role in wanted:
        for folder in sorted(roles):
            parts = folder.relative_to(path).parts
            places = [place for place, part in enumerate(parts) if role_of(part) == role]
            if not places:
                continue
            chosen = path.joinpath(*parts[: places[0] + 1])
            below = [found for other, found in roles.items() if other.is_relative_to(chosen)]
            if wanted != LEARNED or not any(set(found) & NOT_NORMAL for found in below):
                return chosen
    return None
