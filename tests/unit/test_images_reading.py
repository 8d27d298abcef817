"""Every mode of image file gives the same kind of array; every bad file one clear sentence."""

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images.reading import load_image, load_mask

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.stack([GREY, GREY + 10, 255 - GREY], axis=2)


def saved(path, pixels, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def test_colour(tmp_path):
    image = load_image(saved(tmp_path / "a.png", COLOURS))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, COLOURS / 255, atol=1e-7)


def test_grey_is_repeated(tmp_path):
    image = load_image(saved(tmp_path / "a.png", GREY))
    np.testing.assert_allclose(image, np.stack([GREY / 255] * 3, axis=2), atol=1e-7)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_is_scaled_not_clipped(tmp_path, suffix):
    values = np.array([[0, 255, 256], [40000, 65534, 65535]], np.uint16)
    image = load_image(saved(tmp_path / f"a.{suffix}", values))
    np.testing.assert_allclose(image[:, :, 1], values / 65535, atol=1e-7)


def test_transparent_pixels_are_black(tmp_path):
    alpha = np.full_like(GREY, 255)
    alpha[0, 0], alpha[1, 1] = 0, 51
    image = load_image(saved(tmp_path / "a.png", np.dstack([COLOURS, alpha])))
    expected = COLOURS / 255
    expected[0, 0], expected[1, 1] = 0, expected[1, 1] / 5
    np.testing.assert_allclose(image, expected, atol=1e-6)


@pytest.mark.parametrize("transparent", [False, True])
def test_palette_is_looked_up(tmp_path, transparent):
    picture = Image.new("P", (2, 2))
    picture.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    picture.putdata([0, 1, 2, 1])
    options = {"transparency": 2} if transparent else {}
    image = load_image(saved(tmp_path / "a.png", picture, **options)) * 255
    np.testing.assert_allclose(image[0], [[10, 20, 30], [200, 100, 50]], atol=1e-4)
    np.testing.assert_allclose(image[1, 0], [0, 0 if transparent else 255, 0], atol=1e-4)


def test_cmyk_and_one_bit(tmp_path):
    cmyk = Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    np.testing.assert_allclose(load_image(saved(tmp_path / "a.tif", cmyk))[0, 0], [1, 0, 0])
    one_bit = Image.fromarray(np.array([[True, False]]))
    np.testing.assert_allclose(load_image(saved(tmp_path / "b.png", one_bit))[0, :, 2], [1, 0])


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image = load_image(saved(tmp_path / "a.png", Image.fromarray(COLOURS), exif=exif))
    np.testing.assert_allclose(image, np.rot90(COLOURS, -1) / 255, atol=1e-7)


def test_float_image_must_lie_between_zero_and_one(tmp_path):
    values = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(load_image(saved(tmp_path / "a.tif", values))[:, :, 0], values)
    with pytest.raises(
        ValueError, match=r"from 0 to 1 in mode F, got .*b\.tif with 0 to 3; rescal"
    ):
        load_image(saved(tmp_path / "b.tif", values * 3))


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image must be a file, got .*none\.png"):
        load_image(tmp_path / "none.png")


@pytest.mark.parametrize("read", [load_image, load_mask])
def test_file_that_is_no_image_is_named(tmp_path, read):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(
        ValueError, match=r"whole file .* got .*text\.png \(12 bytes: .*leave it out"
    ):
        read(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png \(0 bytes"):
        read(tmp_path / "empty.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_file_is_named(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = saved(tmp_path / f"cut.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"whole file .* got .*cut\.{suffix} \("):
        load_image(path)


def test_mask_is_anomalous_wherever_it_is_not_zero(tmp_path):
    levels = np.array([[0, 1, 58], [122, 255, 0]], np.uint8)
    expected = levels > 0
    np.testing.assert_array_equal(load_mask(saved(tmp_path / "grey.png", levels)), expected)
    deep = levels.astype(np.uint16) * 256
    np.testing.assert_array_equal(load_mask(saved(tmp_path / "deep.png", deep)), expected)
    colours = np.dstack([np.zeros_like(levels), levels, np.zeros_like(levels)])
    np.testing.assert_array_equal(load_mask(saved(tmp_path / "colour.png", colours)), expected)
    opaque = np.dstack([colours, np.full_like(levels, 255)])
    np.testing.assert_array_equal(load_mask(saved(tmp_path / "alpha.png", opaque)), expected)
