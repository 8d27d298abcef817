"""Which mask belongs to which image, for all layouts alike: same stem, or with "mask", "gt", "label" and the like.

Case and suffix do not count. Read `data_sets/kinds.py` next.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxdpmm.images.listing import files_in, folders_in, is_image, is_nifti
from jaxdpmm.images.names import is_mask_folder, marked_stem


def masks_for(images: Sequence[Path], folder: Path | None) -> list[Path | None]:
    """The mask of each image.

    Args:
        images: files of one kind of defect.
        folder: of their masks: files, or a folder for each image whose masks are laid over each other (MVTec LOCO).
            None, or no such folder, where nobody marked pixels.

    Returns:
        A file or folder for each image; all None without a folder.

    Raises:
        ValueError: an image has no mask though there is a folder, or two.
    """
    if folder is None or not folder.is_dir():
        return [None] * len(images)
    found = masks_there(images, folder)
    missing = [image for image, mask in zip(images, found, strict=True) if mask is None]
    if missing:
        of = missing[0].parent
        place = f"{of.parent.name}/{of.name}"
        raise ValueError(
            f"every image of {place} must have a mask in {folder}, got none for {missing[0].name}; add it, for example "
            f"as {missing[0].stem}_mask.png, or remove the folder to use image-level labels only."
        )
    return found


def masks_there(images: Sequence[Path], folder: Path) -> list[Path | None]:
    """The mask of each image in a folder, as of `masks_for`; None for an image without one.

    Raises:
        ValueError: an image has two masks.
    """
    named, plain = _by_image(_pictures_in(folder) + folders_in(folder))
    stems = [stem_of(image) for image in images]
    return [named.get(stem) or plain.get(stem) for stem in stems]


def mask_folder(path: Path) -> Path | None:
    """The folder of masks in another one, `ground_truth`, `masks`, `Label` or the like; None for none."""
    return next((one for one in folders_in(path) if is_mask_folder(one.name)), None)


def masks_among(files: Sequence[Path]) -> list[Path]:
    """Files that are masks of images beside them, by their names: `7_mask.png` where there is `7.jpg` too."""
    stems = {(file.parent, stem_of(file)) for file in files}
    return [file for file in files if (file.parent, marked_stem(stem_of(file))) in stems]


def masks_below(path: Path, files: Sequence[Path]) -> list[Path]:
    """Files that are masks by their names, or by that of a folder below `path` that they lie in."""
    inside = [f for f in files if any(map(is_mask_folder, f.relative_to(path).parts[:-1]))]
    return inside + masks_among(files)


def stem_of(file: Path) -> str:
    """Name of a file without its suffix, that of a compressed volume being two, in small letters."""
    return file.name.casefold().removesuffix(".gz").rpartition(".")[0] or file.name.casefold()


def _pictures_in(folder: Path) -> list[Path]:
    return [file for file in files_in(folder) if is_image(file) or is_nifti(file)]


def _by_image(masks: Sequence[Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Masks by the stem of their image: those whose name says that they are masks, and the others."""
    named: dict[str, Path] = {}
    plain: dict[str, Path] = {}
    for mask in masks:
        stem = marked_stem(stem_of(mask))
        kept, key = (plain, stem_of(mask)) if stem is None else (named, stem)
        if key in kept:
            raise ValueError(
                f"an image must have one mask, got {kept[key].name} and {mask.name} for the same in {mask.parent}; "
                "remove one of them."
            )
        kept[key] = mask
    return named, plain
