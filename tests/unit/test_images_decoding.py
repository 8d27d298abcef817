"""Numbers as they are stored: TIFF against tifffile, PNG of 16 bits, masks of them, and further pictures of a file."""

import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images.decoding import header_of
from jaxdpmm.images.depth import value_range_of
from jaxdpmm.images.geometry import Preprocessing
from jaxdpmm.images.reading import load_image, load_mask
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.streaming import ImageStream

LARGEST = {"uint8": 255, "uint16": 65535, "float32": 1}
GREYS = ["minisblack", "miniswhite"]
PLANES, TILES, ORDERS, PACKINGS = ["contig", "separate"], [None, (16, 16)], "<>", [None, "zlib"]


def numbers(dtype, shape):
    random = np.random.default_rng(len(shape))
    if dtype == "float32":
        return random.random(shape).astype(dtype)
    return random.integers(0, LARGEST[dtype] + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("photometric", GREYS)
def test_grey_tiff_in_all_its_forms(tmp_path, dtype, photometric):
    tifffile = pytest.importorskip("tifffile")
    values, path = numbers(dtype, (20, 24)), tmp_path / "a.tif"
    grey = values / LARGEST[dtype]
    grey = 1 - grey if photometric == "miniswhite" else grey
    for tile, order, packing in itertools.product(TILES, ORDERS, PACKINGS):
        tifffile.imwrite(
            path, values, photometric=photometric, tile=tile, byteorder=order, compression=packing
        )
        if (dtype, photometric, order) == ("uint16", "miniswhite", ">"):
            with pytest.raises(ValueError, match=r"in a format that Pillow reads, got .*a\.tif"):
                load_image(path)
            continue
        np.testing.assert_allclose(load_image(path), np.dstack([grey] * 3), atol=1e-6)
        np.testing.assert_array_equal(load_mask(path), grey > 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("num_channels", [3, 4])
def test_colour_tiff_in_all_its_forms(tmp_path, dtype, num_channels):
    tifffile = pytest.importorskip("tifffile")
    values, path = numbers(dtype, (20, 24, num_channels)), tmp_path / "a.tif"
    colours = values / LARGEST[dtype]
    colours = colours[:, :, :3] * (colours[:, :, 3:] if num_channels == 4 else 1)
    more = {"extrasamples": ["unassalpha"]} if num_channels == 4 else {}
    for planes, tile, order, packing in itertools.product(PLANES, TILES, ORDERS, PACKINGS):
        stored = values if planes == "contig" else np.moveaxis(values, 2, 0)
        how = {"tile": tile, "byteorder": order, "compression": packing, **more}
        tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planes, **how)
        halved = dtype == "uint16" and planes == "separate" and packing  # Pillow's libtiff
        np.testing.assert_allclose(load_image(path), colours, atol=1 / 128 if halved else 1e-6)


def write_png(path, values):
    """A PNG of 16 bits with 1 to 4 channels, which Pillow does not write."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    content = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_and_of_12_in_16(tmp_path, channels):
    path = tmp_path / "a.png"
    values = numbers("uint16", (9, 7, channels))
    write_png(path, values)
    parts = values / 65535
    colours = parts[:, :, :3] if channels > 2 else np.repeat(parts[:, :, :1], 3, axis=2)
    expected = colours * (parts[:, :, -1:] if channels in (2, 4) else 1)
    np.testing.assert_allclose(load_image(path), expected, atol=1e-6)
    assert header_of(path) == ((9, 7), True, False, False)
    values[:, :, : 3 if channels > 2 else 1] >>= 4
    values[:, :, 3 if channels > 2 else 1 :] = 65535
    write_png(path, values)
    assert value_range_of([ImageRecord(path)]) == (0.0, 4095.0)


def test_small_numbers_in_masks_of_16_bits_are_marks(tmp_path):
    values = np.zeros((4, 5, 3), np.uint16)
    values[1, 2, 0] = 7  # the upper byte is 0
    write_png(tmp_path / "a.png", values)
    np.testing.assert_array_equal(load_mask(tmp_path / "a.png"), values.any(axis=2))


def grey(value, size=(8, 8)):
    return Image.new("L", size, value)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif", "a.webp"])
def test_further_pictures_of_a_file_are_told_of_once(tmp_path, name):
    for number in range(2):
        options = {"save_all": True, "append_images": [grey(200)], "lossless": True}
        grey(100).save(tmp_path / f"{number}{name}", **options)
    grey(100).save(tmp_path / f"2{name}")
    records = [ImageRecord(tmp_path / f"{number}{name}") for number in range(3)]
    message = rf"got further ones in 2 images, for example .*0{name}, of which the first is read"
    with pytest.warns(UserWarning, match=message) as told:
        images = list(ImageStream(records, Preprocessing(8, 1)))
    assert len(told) == 1
    for image in images:
        np.testing.assert_allclose(image.pixels, 100 / 255, atol=1e-6)


def test_smaller_copies_and_second_exposures_of_a_photograph_are_no_further_pictures(tmp_path):
    grey(1).save(tmp_path / "a.tif", save_all=True, append_images=[grey(1, (4, 4))])
    grey(1).save(tmp_path / "b.jpg", "MPO", save_all=True, append_images=[grey(2)])
    for name in ("a.tif", "b.jpg"):
        assert not header_of(tmp_path / name).is_series
        assert load_image(tmp_path / name).shape == (8, 8, 3)
