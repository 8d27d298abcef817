"""Images of 10 to 14 bits in files of 16 are told of, once, with the factor that brings them to their range."""

import warnings

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images.arrays import records_of_arrays
from jaxdpmm.images.depth import NUM_LOOKED_AT, warn_if_dark
from jaxdpmm.images.records import ImageRecord


def images(bits, number=3):
    """Arrays of 16 bits with numbers of fewer."""
    random = np.random.default_rng(bits)
    return random.integers(2 ** (bits - 1), 2**bits, (number, 6, 5)).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("suffix", ["array", ".tif", ".png", ".npy"])
def test_few_bits_are_told_with_their_factor(tmp_path, bits, suffix):
    values = images(bits)
    records = records_of_arrays(values)
    if suffix != "array":
        paths = [tmp_path / f"{number}{suffix}" for number in range(3)]
        for path, one in zip(paths, values, strict=True):
            np.save(path, one) if suffix == ".npy" else Image.fromarray(one).save(path)
        records = tuple(ImageRecord(path) for path in paths)
    with pytest.warns(UserWarning, match=f"like {bits} bits .* by {2 ** (16 - bits)}") as told:
        warn_if_dark(records)
    assert len(told) == 1
    assert f"{values.max()} of 65535" in str(told[0].message)


def test_images_that_use_their_range_are_not_told_of(tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    few = images(12, 3 * NUM_LOOKED_AT)
    few[0] = 60000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_dark(records_of_arrays(images(16)))
        warn_if_dark(records_of_arrays(few))
        warn_if_dark(records_of_arrays(np.full((2, 4, 4), 3, np.uint8)))
        warn_if_dark(records_of_arrays(np.zeros((2, 4, 4), np.uint16)))
        warn_if_dark(records_of_arrays(np.full((2, 4, 4), 0.01)))
        warn_if_dark([ImageRecord(tmp_path / "bad.png"), ImageRecord(tmp_path / "absent.tif")])
