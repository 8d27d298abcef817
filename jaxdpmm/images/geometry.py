"""Where a pixel of the original image lies in the prepared one, and back: sizes only, no pixels.

An image is resized (short side to a given length) and cropped in the centre to whole patches. A
`Frame` remembers both, so that a map over patches can be put back over the original image
(`jaxdpmm/detection/maps.py`). The pixels are moved by `transforms.py`.
"""

from dataclasses import dataclass

from jaxdpmm.choices import SHAPES

LARGEST_PROPORTION = (
    100  # of a long side to a short one; a line of pixels would be drawn out to gigabytes
)
LARGEST_16_BIT = 65535.0
BUCKET = 4  # patches; a bucket's long side differs from the true one by half of it at most


@dataclass(frozen=True)
class Preprocessing:
    """How images are brought to the size the backbone takes; stored with a fitted model.

    Attributes:
        short_side: length in pixels of the shorter side after resizing.
        patch_size: side of a patch in pixels; both sides are cropped to multiples of it.
        shape: "crop" keeps proportions, so that images of many shapes stay so, and the backbone is compiled for each;
            "bucket" stretches the long side to the nearest of a few lengths, four patches apart; "square" stretches all
            images to one shape.
        value_range: values that become black and white in images of 16 bits, see `depth.py`; None for 0 and 65,535.
    """

    short_side: int = 448
    patch_size: int = 14
    shape: str = "crop"
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse sizes without a single patch."""
        if self.patch_size < 1 or self.short_side < self.patch_size:
            raise ValueError(
                f"short_side must be at least patch_size (and that at least 1), got "
                f"short_side={self.short_side} and patch_size={self.patch_size}; "
                f"use for example Preprocessing(short_side=448, patch_size=14)."
            )
        if self.shape not in SHAPES:
            raise ValueError(
                f"shape must be one of {', '.join(SHAPES)}, got {self.shape!r}; 'bucket' compiles for few shapes."
            )


@dataclass(frozen=True)
class Frame:
    """Geometry of one prepared image; every pair is (height, width) or (top, left) in pixels.

    Attributes:
        original: size of the image on disk.
        resized: its size after resizing.
        corner: top left corner of the crop, in the resized image.
        cropped: size of the crop, which is the prepared image.
        patch_size: side of a patch.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    cropped: tuple[int, int]
    patch_size: int

    @property
    def grid(self) -> tuple[int, int]:
        """Number of patches down and across."""
        return self.cropped[0] // self.patch_size, self.cropped[1] // self.patch_size

    def box_of(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of a patch in pixels of the original image, rounded."""
        ends = []
        for axis, place in enumerate((row, column)):
            scale = self.original[axis] / self.resized[axis]
            begin = self.corner[axis] + place * self.patch_size
            ends.append((round(begin * scale), round((begin + self.patch_size) * scale)))
        (top, bottom), (left, right) = ends
        return top, left, bottom, right


def frame_of(
    size: tuple[int, int], preprocessing: Preprocessing, name: object = "one in memory"
) -> Frame:
    """Frame of an image of a given size.

    The long side becomes floor(short_side * long / short), as in torchvision's `Resize`, so that
    figures can be compared; the crop is centred, the odd pixel falls off at the bottom or right.
    Other shapes than "crop" stretch instead, and nothing is cut off.

    Args:
        size: (height, width) of the original image.
        preprocessing: the sizes wanted.
        name: of the image, for the message.

    Raises:
        ValueError: the image is so much longer than wide that it cannot keep its proportions.
    """
    short = min(size)
    if preprocessing.shape != "square" and max(size) > LARGEST_PROPORTION * short:
        raise ValueError(
            f"image must be at most {LARGEST_PROPORTION} times as long as wide, got {name} of {size[0]} x {size[1]} "
            "pixels; cut it into pieces, or use the shape 'square'."
        )
    height, width = (preprocessing.short_side * side // short for side in size)
    patch = preprocessing.patch_size
    if preprocessing.shape != "crop":
        height, width = (_stretched(side, preprocessing) for side in (height, width))
    cropped = (height - height % patch, width - width % patch)
    corner = ((height - cropped[0]) // 2, (width - cropped[1]) // 2)
    return Frame(size, (height, width), corner, cropped, patch)


def _stretched(side: int, preprocessing: Preprocessing) -> int:
    """Length of a side that had `side` pixels after resizing in proportion."""
    patch = preprocessing.patch_size
    shortest = preprocessing.short_side // patch * patch
    if preprocessing.shape == "square":
        return shortest
    steps = round((side - preprocessing.short_side) / (BUCKET * patch))
    return shortest + steps * BUCKET * patch
