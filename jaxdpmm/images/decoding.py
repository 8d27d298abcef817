"""One image file to the numbers stored in it, by Pillow, mended where Pillow keeps 8 of 16 bits or does not turn white.

Pillow has no colours of 16 bits (its issue 1888) and keeps the upper byte of each. The lower byte comes from decoding
the file once more with the bytes of a number in the other order; compressed planes of a TIFF keep 8 bits. What numbers
mean is for `reading.py`, to read next.
"""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt16
from PIL import Image, ImageOps

from jaxdpmm.images.listing import is_dicom, is_nifti
from jaxdpmm.storage.outputs import MARK

# What Pillow raises on damaged files, beside OSError: SyntaxError for broken PNG chunks, and the
# others from decoders that run off the end of their data.
_READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    Image.DecompressionBombError,
)
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_ORDERS = {b"II": "L", b"MM": "B"}  # of bytes, by the beginning of a TIFF
_DEEP_COLOURS = re.compile(r"(RGB|RGBA|RGBX|R|G|B|A);16[LBN]|LA;16B")
_ORIENTATION, _BITS, _SUBFILE, _PHOTOMETRIC = 0x0112, 258, 254, 262  # tags of EXIF and TIFF
_WHITE_IS_ZERO = 0
_NO_PICTURE = 0b101  # bits of the type of a sub-file: a smaller copy, or what is transparent
_SERIES = ("GIF", "PNG", "TIFF", "WEBP", "AVIF")


class Header(NamedTuple):
    """What a file says before it is decoded.

    Attributes:
        size: height and width, upright.
        is_deep: integers of 16 bits.
        is_inverted: the smallest number is white, and it is not turned round by Pillow.
        is_series: there are further pictures of the same size: frames of a film, or pages.
    """

    size: tuple[int, int]
    is_deep: bool = False
    is_inverted: bool = False
    is_series: bool = False


class Decoded(NamedTuple):
    """A decoded file, upright.

    Attributes:
        image: as Pillow has it, with the upper bytes of colours.
        colours: those of 16 bits, with opacity as the last of four; None for other images.
        header: what the file says.
    """

    image: Image.Image
    colours: UInt16[np.ndarray, "H W C"] | None
    header: Header


def is_array(path: Path) -> bool:
    """Whether a file holds a NumPy array, by its suffix in any case."""
    return path.suffix.lower() == ".npy"


def header_of(path: Path) -> Header:
    """What a file says before it is decoded.

    Raises:
        FileNotFoundError, ValueError: see `decode` and `load_array`.
    """
    if is_array(path):
        values = load_array(path, in_memory=False)
        height, width = (*values.shape, 1, 1)[:2]
        return Header((height, width), values.dtype == np.uint16)
    with _opened(path) as image:
        return _header(image)


def decode(path: Path) -> Decoded:
    """Decoded image of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image, or damaged, or drawn by this library; the message names it.
    """
    with _opened(path) as file:
        header = _header(file)
        if not _has_deep_colours(file):
            return Decoded(_loaded(file), None, header)
        grey = any(_raw_mode(tile.args) == "LA;16B" for tile in file.tile)
        image = _loaded(file)
    upper = np.asarray(image, np.uint16)
    with _opened(path) as file:
        lower = np.asarray(_loaded(file, lower=True), np.uint16)
    if grey:  # the four bytes of grey and opacity, as they are stored
        upper, lower = (np.repeat(lower[:, :, part::2], [3, 1], axis=2) for part in (0, 1))
    return Decoded(image, upper << 8 | lower, header)


def load_array(path: Path, in_memory: bool = True) -> np.ndarray:
    """The array of a `.npy` file.

    Args:
        path: the file.
        in_memory: False maps the file, for its shape and type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or no array of numbers; the message names it.
    """
    _check_file(path)
    try:
        values = np.load(path, allow_pickle=False, mmap_mode=None if in_memory else "r")
        if isinstance(values, np.ndarray):
            return values
        found = "an archive of arrays"
    except Exception as error:  # NumPy parses the header as Python and raises whatever that does
        found = _one_line(error)
    raise ValueError(
        f"image must be a whole .npy file of numbers, got {path} ({path.stat().st_size} bytes: {found}); replace it or "
        "leave it out."
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An image file, opened; every way it can be bad becomes one sentence."""
    _check_file(path)
    try:
        with Image.open(path) as image:
            _mend(image)
            yield image
    except _READ_ERRORS as error:
        is_volume = is_nifti(path) or is_dicom(path)
        advice = "use images.volumes.read_volumes" if is_volume else "replace it or leave it out"
        raise ValueError(
            f"image must be a whole file in a format that Pillow reads, got {path} "
            f"({path.stat().st_size} bytes: {_one_line(error)}); {advice}."
        ) from error


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"image must be a file, got {path} (nothing there); check the path."
        )


def _header(image: Any) -> Header:
    width, height = image.size
    decodes = image.format == "PNG" and "exif" not in image.info  # where it may be at the end
    if not decodes and image.getexif().get(_ORIENTATION, 1) >= 5:  # width and height change places
        height, width = width, height
    is_grey = image.mode.startswith("I")
    tags = getattr(image, "tag_v2", {})
    is_inverted = (is_grey or image.mode == "F") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    is_deep = is_grey or _has_deep_colours(image)
    return Header((height, width), is_deep, is_inverted, _is_series(image))


def _is_series(image: Any) -> bool:
    """Whether another picture follows; of a TIFF one of the same size that is no smaller copy or mask."""
    if image.format not in _SERIES or not getattr(image, "is_animated", False):
        return False
    if image.format != "TIFF":
        return True
    size, tiles = image.size, image.tile
    try:
        image.seek(1)
        return image.size == size and not image.tag_v2.get(_SUBFILE, 0) & _NO_PICTURE
    except _READ_ERRORS:
        return False
    finally:
        image.seek(0)
        image.tile = tiles


def _loaded(image: Any, lower: bool = False) -> Image.Image:
    """Pixels of an open file, upright; those of the lower bytes of colours of 16 bits where wanted."""
    if lower:
        image.tile = [
            tile._replace(args=_with_raw_mode(tile.args, _lower(_raw_mode(tile.args))))
            for tile in image.tile
        ]
    image.load()
    if str(image.info.get("Software", "")).startswith(MARK):
        raise ValueError("a picture that jaxdpmm drew")
    return ImageOps.exif_transpose(image)


def _has_deep_colours(image: Any) -> bool:
    modes = [_raw_mode(tile.args) for tile in image.tile]
    return bool(modes) and all(_DEEP_COLOURS.fullmatch(mode) for mode in modes)


def _mend(image: Any) -> None:
    """Set right what Pillow takes bytes of a TIFF for: planes of 16 bits, and numbers that libtiff has turned."""
    if image.format != "TIFF":
        return
    is_deep = set(image.tag_v2.get(_BITS, ())) == {16}
    order = _ORDERS.get(image.tag_v2.prefix, "L")
    tiles = []
    for tile in image.tile:
        mode = _raw_mode(tile.args)
        if is_deep and mode in ("R", "G", "B", "A"):
            mode = f"{mode};16{order}"
        elif tile.codec_name == "libtiff":
            mode = re.sub("B(?=[SF]$)", "N", mode)
        tiles.append(tile._replace(args=_with_raw_mode(tile.args, mode)))
    image.tile = tiles


def _raw_mode(arguments: Any) -> str:
    """How the bytes of a file become pixels, in Pillow's words; nothing for decoders of another kind."""
    first = arguments if isinstance(arguments, str) else next(iter(arguments or ("",)))
    return first if isinstance(first, str) else ""


def _with_raw_mode(arguments: Any, mode: str) -> Any:
    if mode == _raw_mode(arguments):
        return arguments
    return mode if isinstance(arguments, str) else (mode, *arguments[1:])


def _lower(mode: str) -> str:
    """The raw mode that takes the lower bytes of numbers of 16 bits for pixels."""
    return "RGBA" if mode == "LA;16B" else mode[:-1] + _OTHER_ORDER[mode[-1]]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
