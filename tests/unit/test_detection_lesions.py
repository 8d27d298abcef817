"""Lesions: connected voxels, with their size and place in the units of the file."""

import csv
import io

import numpy as np
import pytest
from scipy import ndimage

from jaxdpmm.detection.reporting.lesions import lesions_of, smoothed_across, table_bytes
from jaxdpmm.detection.state import Survival
from jaxdpmm.images.medical.intensities import Volume

SPACING = (1.0, 2.0, 5.0)
AFFINE = np.array([[1.0, 0, 0, -10], [0, 2, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]])


def scores():
    """Two blocks, one of which has a corner that touches a third, and a slice that was not scored."""
    values = np.zeros((12, 10, 6), np.float32)
    values[1:3, 1:4, 0:2] = 2.0
    values[6:8, 5:7, 2:4] = 3.0
    values[8, 7, 4] = 4.0
    values[..., 5] = np.nan
    return values


def test_size_place_and_p_value_of_each():
    volume = Volume(np.zeros((12, 10, 6)), (0, 1), SPACING, AFFINE)
    survival = Survival(np.array([1.0, 3.5, np.inf]), np.array([0.5, 0.1, 0.0]), 19)
    first, second = lesions_of("scan", scores(), volume, 2, 1.5, survival)
    assert (first.lesion, first.score, first.first_slice, first.last_slice) == (1, 4.0, 2, 4)
    assert first.volume_ml == pytest.approx(9 * 10 / 1000)
    assert first.mean_score == pytest.approx((8 * 3 + 4) / 9)
    assert (first.p_value, second.p_value) == (1 / 20, pytest.approx((1 + 19 * 0.1) / 20))
    centre = np.array([1.5, 2.0, 0.5])
    found = second.right_mm, second.anterior_mm, second.superior_mm
    np.testing.assert_allclose(found, centre * SPACING + [-10, 20, 30])
    plain = lesions_of("scan", scores(), volume._replace(affine=None), 2, 1.5)[1]
    assert plain.p_value is None
    assert plain.superior_mm == pytest.approx(2.5)
    assert lesions_of("scan", scores(), volume, 2, 9.0) == []
    rows = list(csv.DictReader(io.StringIO(table_bytes(first._fields, [first._asdict()]).decode())))
    assert rows[0]["volume_ml"] == "0.09"


def test_smoothing_across_slices_is_that_of_scipy_where_all_are_scored():
    values = np.random.default_rng(0).normal(size=(4, 5, 40)).astype(np.float32)
    smooth = smoothed_across(values, 2, 1.5)
    right = ndimage.gaussian_filter1d(values, 1.5, axis=2)
    np.testing.assert_allclose(smooth[..., 8:-8], right[..., 8:-8], atol=1e-5)
    ones = np.ones_like(values)
    ones[..., 10] = np.nan
    smooth = smoothed_across(ones, 2, 1.5)
    assert np.isnan(smooth[..., 10]).all()
    np.testing.assert_allclose(np.delete(smooth, 10, axis=2), 1, atol=1e-5)
    assert smoothed_across(values, 2, 0.0) is values
