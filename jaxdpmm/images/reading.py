"""Read one image or mask file into an array, whatever its mode, or say in one sentence why not.

Sizes are left alone: `transforms.py`, to read next, brings images to the size the backbone takes.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from jaxdpmm.images.decoding import decode, is_array, load_array
from jaxdpmm.images.geometry import LARGEST_16_BIT
from jaxdpmm.images.listing import images_in
from jaxdpmm.images.records import ImageRecord


def load_image(path: str | Path) -> Float[np.ndarray, "H W 3"]:
    """Image as float32 RGB in [0, 1], turned upright by its EXIF orientation.

    Grey is repeated over the three channels. 16-bit values, grey or colours, are divided by 65,535,
    the same for every image (no image is stretched to its own range, which would hide differences
    between images; see `depth.py` for fewer bits). White and black change places where a file says
    that 0 is white. Float images must lie in [0, 1]. A palette is looked up, CMYK and other colour spaces
    are converted, a transparent pixel is laid over black. Of several frames the first is read.

    Args:
        path: any file that Pillow reads, or `.npy` (see `to_rgb`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged or cut short, or its values have no
            known range. The message names the file.
    """
    path = Path(path)
    if is_array(path):
        return to_rgb(load_array(path), path)
    image, colours, header = decode(path)
    if image.mode.startswith("I") or image.mode == "F":
        grey = _deep_grey(image, path)
        grey = 1 - grey if header.is_inverted else grey
        return np.repeat(grey[:, :, None], 3, axis=2)
    if colours is not None:
        return _over_black(colours.astype(np.float32) / np.float32(LARGEST_16_BIT))
    if image.has_transparency_data:
        return _over_black(np.asarray(image.convert("RGBA"), np.float32) / np.float32(255))
    return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)


def load_mask(path: str | Path) -> Bool[np.ndarray, "H W"]:
    """Mask of an image: every nonzero pixel is anomalous, in any file where it is a folder of them (MVTec LOCO).

    Not only 255: some data sets write their masks through a colour map, as grey levels or colours.
    Of a palette without black, index 0 is what is not marked (label maps, as Pascal VOC has them).
    What is transparent is not marked; where all that can be seen is black, it is the marks. Store
    masks without loss, JPEG turns zeros into small numbers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, or is damaged or cut short; the message names it.
    """
    path = Path(path)
    if path.is_dir():
        return np.logical_or.reduce([load_mask(file) for file in images_in(path)])
    if is_array(path):
        return _marked(load_array(path), path)
    image, colours, header = decode(path)
    if image.mode.startswith("I") or image.mode == "F":
        largest = 1 if image.mode == "F" else LARGEST_16_BIT
        unmarked = largest if header.is_inverted else 0
        return np.not_equal(np.asarray(image), unmarked)
    if colours is not None:
        return _visible(colours) if colours.shape[2] == 4 else colours.max(axis=2) > 0
    if image.has_transparency_data:
        return _visible(np.asarray(image.convert("RGBA")))
    if image.mode == "P" and (index := _indices(image)) is not None:
        return index.astype(bool)
    return np.asarray(image.convert("RGB")).max(axis=2).astype(bool)


def pixels_of(record: ImageRecord) -> Float[np.ndarray, "H W 3"]:
    """Pixels of an image, from its file or its source (see `load_image`)."""
    return load_image(record.path) if record.source is None else record.source.pixels()


def mask_of(record: ImageRecord) -> Bool[np.ndarray, "H W"] | None:
    """Mask of an image, from its file or its source (see `load_mask`); None when nobody marked it."""
    if record.source is not None:
        return record.source.mask()
    return None if record.mask_path is None else load_mask(record.mask_path)


def to_rgb(values: np.ndarray, path: Path) -> Float[np.ndarray, "H W 3"]:
    """Float32 RGB in [0, 1] of an array: bytes, 16-bit numbers, or floats in [0, 1]; grey or colour.

    Raises:
        ValueError: another shape or type, or values out of range; the message names `path`.
    """
    known = {"u1": 255.0, "u2": LARGEST_16_BIT, "b1": 1.0}
    largest = known.get(values.dtype.str[1:], 1.0 if values.dtype.kind == "f" else None)
    is_image = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3))
    if not is_image or largest is None or not values.size:
        raise ValueError(
            f"an image array must have shape (H, W) or (H, W, 3) and be uint8, uint16 or float in [0, 1], got "
            f"{path} with shape {values.shape} and dtype {values.dtype}; convert it."
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= largest):
        raise ValueError(
            f"image must have values from 0 to {largest:.0f} in dtype {values.dtype}, got {path} with {low:g} to "
            f"{high:g}; rescale it the same way as all the others."
        )
    grey = values[:, :, None] if values.ndim == 2 else values
    scaled = (grey / np.float32(largest)).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)))


def _marked(values: np.ndarray, path: Path) -> Bool[np.ndarray, "H W"]:
    """Marks of an array of a grey or colour mask."""
    if values.ndim not in (2, 3) or values.dtype.kind not in "buif":
        raise ValueError(
            f"a mask must be an array of numbers of shape (H, W) or (H, W, C), got {path} with shape {values.shape} "
            f"and dtype {values.dtype}; convert it."
        )
    return (values if values.ndim == 2 else np.abs(values).max(axis=2)).astype(bool)


def _over_black(colours: Float[np.ndarray, "H W C"]) -> Float[np.ndarray, "H W 3"]:
    """Colours in [0, 1] laid over black, where the last of four is how opaque they are."""
    return colours[:, :, :3] * colours[:, :, 3:] if colours.shape[2] == 4 else colours


def _visible(values: np.ndarray) -> Bool[np.ndarray, "H W"]:
    """Marks of a mask in RGBA."""
    coloured, seen = values[:, :, :3].max(axis=2) > 0, values[:, :, 3] > 0
    marked = coloured & seen
    return marked if seen.all() or marked.any() else seen


def _indices(image: Image.Image) -> np.ndarray | None:
    """Numbers of a label map with a palette in which 0 is not black and nothing else is; None for another palette."""
    index = np.asarray(image)
    colours = np.asarray(image.convert("RGB"))
    return index if colours.max(axis=2).all() and (index == 0).any() else None


def _deep_grey(image: Image.Image, path: Path) -> Float[np.ndarray, "H W"]:
    values = np.asarray(image)
    largest = 1.0 if image.mode == "F" else LARGEST_16_BIT
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= largest):
        raise ValueError(
            f"image must have values from 0 to {largest:.0f} in mode {image.mode}, got {path} with "
            f"{low:g} to {high:g}; rescale it the same way as all the others."
        )
    return (values / largest).astype(np.float32)
