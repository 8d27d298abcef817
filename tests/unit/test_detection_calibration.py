"""Thresholds and p-values from normal images: the stated rate holds on new ones, for images, patches and pixels."""

from pathlib import Path

import numpy as np
import pytest

from jaxdpmm.detection.calibration import (
    Calibration,
    Survival,
    calibrate,
    merged,
    p_value,
    p_value_of_most,
    p_values,
    split_held_out,
    threshold,
)
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.detection.stored.state import _calibration_of
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.storage.tree_store import named_leaves

FRAME = frame_of((28, 42), Preprocessing(28, 14))  # two rows of three patches


def scored(random, num):
    """Normal images, some of them brighter as a whole, so that their patches go together."""
    for _ in range(num):
        grid = random.gamma(2.0, size=FRAME.grid) + 2 * random.exponential()
        yield ScoredImage(ImageRecord(Path("x")), FRAME, grid, float(grid.max()), 0.0, 0.0)


def test_stated_rate_holds_on_new_normal_images():
    """Over calibration sets, as the guarantee says: images, patches and pixels, at a rate that few images allow."""
    random, rate, called = np.random.default_rng(0), 0.1, []
    for _ in range(150):
        found = calibrate(scored(random, 19), 1.0)
        new = list(scored(random, 20))
        of_images = p_values(found.image, np.array([image.score for image in new])) <= rate
        of_patches = p_values(found.patch, np.stack([image.patch_scores for image in new])) <= rate
        of_pixels = p_values(found.pixel, np.stack([image.pixel_scores(1.0) for image in new]))
        called.append([of_images.mean(), of_patches.mean(), (of_pixels <= rate).mean()])
    # Four standard errors of a mean over 150 sets, whose rates spread as Beta(2, 18) or less.
    margin = 4 * np.sqrt(0.1 * 0.9 / 21 / 150)
    of_images, of_patches, of_pixels = np.mean(called, axis=0)
    assert rate - margin <= of_images <= rate + margin  # exact: two in twenty ranks
    assert 0.03 <= of_patches <= rate + margin
    assert 0.03 <= of_pixels <= rate + margin


def test_p_value_of_most_holds_where_half_of_the_patches_are_anything():
    """It is no smaller than that of the upper quartile of the image before, which is a normal one."""
    random = np.random.default_rng(6)
    found = calibrate(scored(random, 19), 0.0)
    for image in scored(random, 200):
        grid = image.patch_scores.copy()
        grid.flat[random.permutation(6)[:3]] = random.choice([-100.0, 0.0, 1000.0], 3)
        changed = p_value_of_most(found, image._replace(patch_scores=grid))
        assert changed >= p_value(found, image.quantile(0.75), "most")
        other = image._replace(patch_scores=image.patch_scores + 100)
        assert p_value_of_most(found, other) == 1 / 20
    assert p_value_of_most(None, image) is None


def test_quantile_of_the_patches_of_the_object():
    (image,) = scored(np.random.default_rng(7), 1)
    grid = np.array([[5.0, 1.0, 4.0], [3.0, 2.0, 6.0]])
    whole = [image._replace(patch_scores=grid).quantile(share) for share in (0.1, 0.5, 1.0)]
    assert whole == [1.0, 3.0, 6.0]
    cut = image._replace(patch_scores=np.maximum(grid, 3.0))  # 1 and 2 are background
    assert [cut.quantile(share) for share in (0.1, 0.5, 1.0)] == [4.0, 5.0, 6.0]
    assert image._replace(patch_scores=np.ones((2, 3))).quantile(0.5) == 1.0


def test_threshold_and_p_value_say_the_same():
    random = np.random.default_rng(1)
    found = calibrate(scored(random, 60), 0.0)
    new = np.concatenate([image.patch_scores.ravel() for image in scored(random, 50)])
    for rate in (0.05, 0.1, 0.3):
        level = threshold(found.patch, rate)
        np.testing.assert_array_equal(new >= level, p_values(found.patch, new) <= rate)


def test_quantile_is_that_of_the_held_out_images():
    images = list(scored(np.random.default_rng(2), 50))
    scores = np.array([image.score for image in images])
    found = calibrate(images, 0.0)
    level = threshold(found.image, 0.1, "quantile")
    assert np.mean(scores >= level) == 0.1
    patches = np.stack([image.patch_scores for image in images])
    assert np.mean(patches >= threshold(found.patch, 0.1, "quantile")) <= 0.1
    assert np.mean(patches >= threshold(found.patch, 0.1, "quantile")) > 0.08


def test_images_count_alike_whatever_their_size():
    small, large = FRAME, frame_of((280, 280), Preprocessing(280, 14))
    images = [
        ScoredImage(ImageRecord(Path("x")), frame, np.full(frame.grid, value), value, 0.0, 0.0)
        for frame, value in ((small, 1.0), (large, 2.0))
    ]
    found = calibrate(images, 0.0)
    np.testing.assert_allclose(p_values(found.patch, np.array([0.0, 1.5, 2.5])), [1, 2 / 3, 1 / 3])


def test_too_few_images_for_a_rate():
    found = calibrate(scored(np.random.default_rng(4), 18), 0.0)
    with pytest.raises(ValueError, match=r"rate must be at least 1 / 19 = 0\.0526 with 18 normal"):
        threshold(found.image, 0.05)
    assert threshold(found.image, 1 / 19) > found.image.scores[-2]
    assert np.isfinite(threshold(found.image, 0.05, "quantile"))


def test_memory_does_not_grow_with_the_images():
    few, many = (calibrate(scored(np.random.default_rng(5), n), 1.0) for n in (5, 50))
    assert len(many.pixel.scores) <= 256
    assert len(few.pixel.scores) <= 256
    assert many.pixel.shares[-1] == 0
    assert np.all(np.diff(many.pixel.shares) <= 0)


def test_round_trip_through_a_model_file():
    found = calibrate(scored(np.random.default_rng(6), 7), 1.0)
    arrays = named_leaves({"calibration": found})
    again = _calibration_of({name: np.asarray(leaf) for name, leaf in arrays.items()})
    assert isinstance(again, Calibration)
    for ours, theirs in zip(found, again, strict=True):
        assert ours.num_images == theirs.num_images == 7
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        np.testing.assert_array_equal(ours.shares, theirs.shares)
    assert _calibration_of({}) is None


def test_split_is_the_same_every_time_and_leaves_few_images_alone():
    learned, held_out = split_held_out(range(100), 0.1, 3)
    assert (len(learned), len(held_out)) == (90, 10)
    assert sorted(learned + held_out) == list(range(100))
    assert list(learned) == sorted(learned)
    assert (learned, held_out) == split_held_out(range(100), 0.1, 3)
    assert held_out != split_held_out(range(100), 0.1, 4)[1]
    assert split_held_out(range(49), 0.1, 0) == (tuple(range(49)), ())
    assert split_held_out(range(99), 0.0, 0)[1] == ()


def test_bad_arguments():
    survival = Survival(np.array([0.0, 1.0]), np.array([1.0, 0.0]), 1)
    with pytest.raises(ValueError, match=r"method must be one of conformal, quantile and rate"):
        threshold(survival, 0.1, "f1")
    with pytest.raises(ValueError, match="rate between 0 and 1, got 'conformal' and 5"):
        threshold(survival, 5)
    with pytest.raises(
        ValueError, match="at least one normal image that was not learned from, got"
    ):
        calibrate([], 0.0)


@pytest.mark.parametrize("number", [1, 3])
def test_maps_whose_highest_score_is_shared_by_many_pixels(number):
    """As flat corners of smoothed maps are; beyond the highest score there is nothing."""
    shares = np.append(np.linspace(1, 0.51, 1000), 0.0)
    part = Survival(np.append(np.arange(1000.0), np.inf), shares, 1)
    found = merged([Calibration(part, part, part, part)] * number)
    assert found.pixel.shares[-1] == 0
    assert len(found.pixel.scores) < 300
    again = merged([found, found])
    assert p_values(again.pixel, np.array(2000.0)) == pytest.approx(1 / (2 * number + 1))
