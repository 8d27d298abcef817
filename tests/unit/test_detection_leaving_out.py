"""Training images scored without themselves: rates hold on new images, planted ones come first, and can be trimmed."""

import dataclasses

import numpy as np
import pytest

from jaxdpmm.detection import DetectorConfig, TrainingPatches, fit_mixture
from jaxdpmm.detection.calibration import calibrate, p_values, threshold
from jaxdpmm.detection.leaving_out import chosen_images, leave_images_out, new_scores
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.detection.training import chosen_records
from jaxdpmm.detection.trimming import fit_trimmed, stands_out
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.scoring.distance import component_means

FRAME = frame_of((56, 56), Preprocessing(56, 14))  # four rows of four patches
CENTRES = 10 * np.random.default_rng(0).normal(size=(5, 4))
CONFIG = DetectorConfig(
    covariance="spherical",
    start="coverage",
    num_components=8,
    num_epochs=3,
    tolerance=0.1,
    score="predictive",
)


def grid(random, is_odd=False):
    """Features of an image, all patches of which are of five kinds; odd ones have three of a kind of their own."""
    features = CENTRES[random.integers(0, 5, 16)] + random.normal(size=(16, 4))
    features += 0.3 * random.normal(size=(1, 4))
    if is_odd:
        features[:3] = 15 * random.normal(size=(1, 4)) + random.normal(size=(3, 4))
    return features.astype(np.float32)


def patches_of(images):
    sources = tuple((f"{number}.png", FRAME.grid) for number in range(len(images)))
    return TrainingPatches(np.concatenate(images), len(images), sources, (FRAME,) * len(images))


def test_stated_rate_holds_on_new_images_without_one_held_out():
    """Of 19 images, all learned from; jackknife+ promises twice the rate, scores like these keep the rate itself."""
    random, rate, called = np.random.default_rng(1), 1 / 20, []
    for _ in range(40):
        learned = patches_of([grid(random) for _ in range(19)])
        fitted = fit_mixture(learned.features, CONFIG)
        left_out = leave_images_out(fitted, learned, CONFIG)
        found = calibrate(left_out.images, 0.0).image
        after = left_out.state
        new = new_scores(after, patches_of([grid(random) for _ in range(40)]), CONFIG)
        called.append(np.mean(p_values(found, new) <= rate))
    margin = 4 * np.std(called) / np.sqrt(len(called))
    assert 0.01 <= np.mean(called) <= rate + margin < 2 * rate


def test_scores_that_only_fall_with_more_images_keep_the_rate_exactly():
    """Distance to the nearest of the others, which is at least that to the nearest of all: jackknife-minmax."""
    random, rate, number = np.random.default_rng(2), 0.1, 9
    points = random.normal(size=(4000, number + 1, 2))
    squares = np.sum((points[:, :, None] - points[:, None]) ** 2, axis=3)
    squares[:, np.arange(number + 1), np.arange(number + 1)] = np.inf
    left_out = squares[:, :number, :number].min(axis=2)  # each without itself, the new one unknown
    new = squares[:, number, :number].min(axis=1)
    called = []
    for own, one in zip(left_out, new, strict=True):
        images = (
            ScoredImage(ImageRecord("x"), FRAME, np.full(FRAME.grid, score), score, 0.0, 0.0)
            for score in own[:number]
        )
        if len(called) < 50:  # the library's formula, and then the same in short
            shares = p_values(calibrate(images, 0.0).image, np.asarray(one))
            assert shares == pytest.approx((1 + np.sum(own >= one)) / (number + 1))
        called.append((1 + np.sum(own >= one)) / (number + 1) <= rate)
    assert 0.02 < np.mean(called) <= rate + 4 * np.sqrt(rate * (1 - rate) / len(called))


def test_few_images_have_a_threshold_at_five_per_cent():
    random = np.random.default_rng(3)
    records = [ImageRecord(f"{number}.png") for number in range(54)]
    learned, held_out = chosen_records(records, (), CONFIG)
    assert (len(learned), held_out) == (54, ())
    patches = patches_of([grid(random) for _ in learned])
    images = leave_images_out(fit_mixture(patches.features, CONFIG), patches, CONFIG).images
    found = calibrate(images, 1.0)
    scores = found.image.scores[:-1]
    assert np.sum(scores >= threshold(found.image, 0.05)) <= 2
    assert found.image.num_images == found.pixel.num_images == 54


@pytest.mark.parametrize(
    ("thresholds", "number", "num_held_out"),
    [
        ("auto", 190, 19),
        ("auto", 189, 0),
        ("held_out", 54, 5),
        ("leave_one_out", 190, 0),
        ("none", 190, 0),
    ],
)
def test_who_is_held_out(thresholds, number, num_held_out):
    records = [ImageRecord(f"{place}.png") for place in range(number)]
    config = dataclasses.replace(CONFIG, thresholds=thresholds)
    learned, held_out = chosen_records(records, (), config)
    assert (len(learned), len(held_out)) == (number - num_held_out, num_held_out)
    assert chosen_records(records, records[:3], config)[1] == tuple(records[:3])


def test_without_sweeps_patches_stay_with_their_nearest_means():
    """A narrow component beside a wide and heavy one, which soft responsibilities would feed with its neighbours."""
    random = np.random.default_rng(10)
    patches = patches_of([grid(random) for _ in range(30)])
    config = dataclasses.replace(CONFIG, num_epochs=0, num_components=40, score="cosine")
    fitted = fit_mixture(patches.features, config)
    after = leave_images_out(fitted, patches, config).state
    means = np.asarray(component_means(fitted.mixture, fitted.posterior))
    features = reduce_features(fitted.reduction, patches.features)
    squares = np.sum((features[:, None] - means[None]) ** 2, axis=2)
    wanted = np.bincount(np.argmin(squares, axis=1), minlength=len(means))
    np.testing.assert_array_equal(np.asarray(after.posterior.counts), wanted)


def test_planted_images_are_the_most_atypical_ones():
    random = np.random.default_rng(4)
    odd = {4, 11, 23}
    patches = patches_of([grid(random, number in odd) for number in range(30)])
    fitted = fit_mixture(patches.features, CONFIG)
    images = list(leave_images_out(fitted, patches, CONFIG).images)
    scores = [image.score for image in images]
    assert set(np.argsort(scores)[-3:]) == odd
    assert [str(image.record.path) for image in images] == [name for name, _ in patches.sources]
    assert images[4].patch_scores.shape == FRAME.grid
    suspects = set(np.flatnonzero(stands_out(np.array(scores))).tolist())
    assert odd <= suspects
    assert len(suspects) < 6


def test_rotated_copies_are_left_out_together():
    """A copy that stays would vouch for the image."""
    random = np.random.default_rng(5)
    images = [grid(random, number == 2) for number in range(12)]
    config = dataclasses.replace(CONFIG, rotations=2)
    twice = patches_of([copy for one in images for copy in (one, one[::-1])])
    fitted = fit_mixture(twice.features, config)
    found = list(leave_images_out(fitted, twice, config).images)
    assert len(found) == 12
    scores = np.array([image.score for image in found])
    assert np.argmax(scores) == 2
    one_by_one = dataclasses.replace(config, rotations=1)
    alone = list(leave_images_out(fitted, twice, one_by_one).images)
    assert len(alone) == 24
    assert scores[2] > 2 * np.delete(scores, 2).max()
    assert scores[2] > alone[4].score + 10
    assert str(found[2].record.path) == "4.png"
    kept = chosen_images(twice, np.arange(12) != 2, 2)
    assert kept.num_images == 22
    np.testing.assert_array_equal(kept.features[64:80], images[3])


@pytest.mark.parametrize("contamination", ["auto", 0.2, "0.2"])
def test_anomalous_training_images_are_trimmed(contamination):
    random = np.random.default_rng(6)
    odd = np.arange(40) % 5 == 3
    patches = patches_of([grid(random, one) for one in odd])
    config = dataclasses.replace(CONFIG, contamination=contamination, num_components=16)
    found = fit_trimmed(patches, config)
    np.testing.assert_array_equal(found.is_kept, ~odd)
    assert found.scores[odd].min() > found.scores[~odd].max()
    clean = fit_mixture(patches_of([grid(random) for _ in range(32)]).features, config)
    new = patches_of([grid(random, number < 10) for number in range(20)])
    for fitted in (found.fitted, clean):
        scores = new_scores(fitted, new, config)
        assert scores[:10].min() > scores[10:].max()


def test_anomalies_that_vouch_for_each_other_are_trimmed():
    """Ten images of forty share one kind of odd patches, so that each of them left out has nine that look like it."""
    random = np.random.default_rng(9)
    kind, odd, images = 15 * random.normal(size=4), np.arange(40) % 4 == 3, []
    for is_odd in odd:
        features = grid(random)
        if is_odd:
            features[:3] = kind + random.normal(size=(3, 4))
        images.append(features)
    config = dataclasses.replace(CONFIG, contamination="auto", num_components=16, num_epochs=0)
    is_kept = fit_trimmed(patches_of(images), config).is_kept
    assert not is_kept[odd].any()
    assert np.sum(~is_kept[~odd]) <= 2


def test_nothing_is_trimmed_of_clean_images_by_share_zero():
    patches = patches_of([grid(np.random.default_rng(7)) for _ in range(12)])
    found = fit_trimmed(patches, CONFIG)
    assert found.is_kept.all()
    assert found.patches is patches


def test_bad_arguments():
    features = grid(np.random.default_rng(8))
    with pytest.raises(
        ValueError, match=r'contamination must be a share from 0 to 0\.5 or "auto", got'
    ):
        dataclasses.replace(CONFIG, contamination="some")
    with pytest.raises(ValueError, match=r"got 0\.7; the default is 0"):
        dataclasses.replace(CONFIG, contamination=0.7)
    with pytest.raises(ValueError, match="thresholds must be one of auto, held_out, leave_one_out"):
        dataclasses.replace(CONFIG, thresholds="all")
    with pytest.raises(
        ValueError, match="patches must tell how their images were prepared, got none"
    ):
        leave_images_out(fit_mixture(features, CONFIG), TrainingPatches(features, 1), CONFIG)
