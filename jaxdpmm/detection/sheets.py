"""Pictures put together to sheets with words on them, and written to files: what Pillow does. No scores here.

Next file to read: `overlay.py`, which draws what is put together.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxdpmm.persist import write_whole
from jaxdpmm.storage.outputs import MARK, PICTURE, check_replaceable

if TYPE_CHECKING:
    from PIL.Image import Image

GAP = 6  # pixels between pictures
LINE_HEIGHT = 20  # pixels of a line of text


def beside(pictures: Sequence["Image"], gap: int = GAP) -> "Image":
    """One picture of some, from left to right with their tops in line."""
    return _joined(pictures, axis=0, gap=gap)


def below(pictures: Sequence["Image"], gap: int = GAP) -> "Image":
    """One picture of some, from top to bottom with their left ends in line."""
    return _joined(pictures, axis=1, gap=gap)


def captioned(picture: "Image", caption: str, size: int = 13) -> "Image":
    """The picture with a line of text above it, or as it is where the text is empty.

    Args:
        picture: what to write above.
        caption: one line; what is wider than the picture is cut off.
        size: of the letters, in pixels.
    """
    from PIL import ImageDraw, ImageFont, ImageOps

    if not caption:
        return picture
    height = LINE_HEIGHT * size // 13
    labelled = ImageOps.expand(picture, (0, height, 0, 0), "white")
    ImageDraw.Draw(labelled).text((2, 2), caption, fill="black", font=ImageFont.load_default(size))
    return labelled


def save_png(picture: "Image", path: str | Path) -> Path:
    """The path of a picture, once it is written there whole; folders on the way are made.

    Raises:
        FileExistsError: what lies there is no picture of this library, but the image itself, for example.
    """
    path = Path(path)
    check_replaceable(path, PICTURE)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png_of(picture))
    return path


def png_of(picture: "Image") -> bytes:
    """A picture as PNG that names this library, so that it is known when a later one takes its place."""
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text("Software", MARK)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=mark)
    return buffer.getvalue()


def _joined(pictures: Sequence["Image"], axis: int, gap: int) -> "Image":
    """One picture of some along an axis: 0 from left to right, 1 from top to bottom."""
    from PIL import Image

    sizes = np.array([picture.size for picture in pictures])
    starts = np.zeros_like(sizes)
    starts[1:, axis] = np.cumsum(sizes[:-1, axis] + gap)
    width, height = np.max(starts + sizes, axis=0).tolist()
    sheet = Image.new("RGB", (width, height), "white")
    for picture, start in zip(pictures, starts.tolist(), strict=True):
        sheet.paste(picture, tuple(start))
    return sheet
