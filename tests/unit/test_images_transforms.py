"""Sizes, crops and the way back; resampling against Pillow's own and torch's."""

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.transforms import (
    crop_to_multiple,
    prepare,
    prepare_mask,
    resize,
    resize_short_side,
)


def noise(height, width):
    return np.random.default_rng(0).random((height, width, 3), np.float32)


def test_frame_of_a_wide_image():
    frame = frame_of((300, 500), Preprocessing(short_side=448))
    assert frame.resized == (448, 746)  # floor(448 * 500 / 300)
    assert frame.cropped == (448, 742)
    assert frame.corner == (0, 2)
    assert frame.grid == (32, 53)


def test_frame_of_a_tall_image_with_an_odd_rest():
    frame = frame_of((61, 50), Preprocessing(short_side=50, patch_size=14))
    assert (frame.resized, frame.cropped, frame.corner) == ((61, 50), (56, 42), (2, 4))


@pytest.mark.parametrize("sizes", [(13, 14), (14, 0)])
def test_preprocessing_without_a_single_patch(sizes):
    with pytest.raises(ValueError, match=rf"at least patch_size .* got short_side={sizes[0]}"):
        Preprocessing(*sizes)


@pytest.mark.parametrize("size", [(20, 31), (90, 140)])
def test_resize_equals_torch_bicubic_with_antialias(size):
    torch = pytest.importorskip("torch")
    image = noise(45, 70)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image.transpose(2, 0, 1))[None], size, mode="bicubic", antialias=True
    ).clamp(0, 1)
    np.testing.assert_allclose(
        resize(image, size), expected[0].numpy().transpose(1, 2, 0), atol=2e-6
    )


def test_resize_stays_in_range_and_keeps_constants():
    edge = np.zeros((8, 8, 3), np.float32)
    edge[:, 4:] = 1
    larger = resize(edge, (29, 31))
    assert (larger.min(), larger.max()) == (0, 1)
    np.testing.assert_allclose(resize(np.full((9, 7, 3), 0.3, np.float32), (5, 13)), 0.3, atol=1e-6)


def test_short_side_and_crop():
    assert resize_short_side(noise(30, 60), 14).shape == (14, 28, 3)
    image = noise(30, 45)
    np.testing.assert_array_equal(crop_to_multiple(image, 14), image[1:29, 1:43])


def test_prepare_equals_its_steps(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, frame = prepare(ImageRecord(tmp_path / "a.png"), Preprocessing(28, 14))
    assert (image.dtype, image.shape, frame.original) == (np.float32, (28, 42, 3), (40, 70))
    steps = crop_to_multiple(resize_short_side(pixels.astype(np.float32) / 255, 28), 14)
    np.testing.assert_array_equal(image, steps)
    np.testing.assert_array_equal(prepare(tmp_path / "a.png", Preprocessing(28, 14))[0], image)


def test_mask_moves_like_its_image(tmp_path):
    """A white square is found at the same place in the prepared image and in the prepared mask."""
    mask = np.zeros((60, 100), np.uint8)
    mask[20:40, 50:80] = 77
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray((mask > 0).astype(np.uint8) * 255).save(tmp_path / "image.png")
    image, frame = prepare(tmp_path / "image.png", Preprocessing(42, 14))
    prepared = prepare_mask(tmp_path / "mask.png", frame)
    assert prepared.shape == image.shape[:2] == (42, 70)
    assert np.mean(prepared != (image[:, :, 0] > 0.5)) < 0.01
    rows, columns = np.nonzero(prepared)
    assert (rows.min(), rows.max() + 1) == (14, 28)  # 0.7 times 20 to 40
    assert (columns.min(), columns.max() + 1) == (35, 56)


def test_mask_of_another_size_is_named(tmp_path):
    Image.new("L", (5, 4)).save(tmp_path / "mask.png")
    with pytest.raises(
        ValueError, match=r"size of its image, 60 x 100, got .*mask\.png with 4 x 5"
    ):
        prepare_mask(tmp_path / "mask.png", frame_of((60, 100), Preprocessing()))
