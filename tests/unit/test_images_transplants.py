"""Synthetic anomalies of images: where they are, what is left alone, and that a seed decides all of it."""

import numpy as np
import pytest
from synthetic import surface

from jaxdpmm.images.arrays import records_of_arrays
from jaxdpmm.images.records import ANOMALOUS
from jaxdpmm.images.transplants import RECIPES, VISIBLE, smooth_noise, transplanted, transplants

SIZE = (60, 90)
DARK, LIGHT = (np.full((*SIZE, 3), value, np.float32) for value in (0.1, 0.9))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_light_part_on_a_dark_image_is_where_the_mask_is(recipe):
    for seed in range(5):
        found = transplanted(DARK, LIGHT, recipe, np.random.default_rng(seed))
        change = found.pixels - DARK
        assert found.mask.any()
        assert found.mask.mean() < 0.4
        assert (change >= 0).all()  # colours between those of the two images, whatever the opacity
        assert change[found.mask].min() > 0
        assert change[~found.mask].max(initial=0) < 2 * VISIBLE
        again = transplanted(DARK, LIGHT, recipe, np.random.default_rng(seed))
        np.testing.assert_array_equal(again.pixels, found.pixels)
        other = transplanted(DARK, LIGHT, recipe, np.random.default_rng(seed + 100))
        assert (other.mask != found.mask).any()


def test_black_over_black_is_no_anomaly():
    """Where the other image is made darker, black stays black, and a region that is lighter is drawn in its place."""
    black = np.zeros((*SIZE, 3), np.float32)
    for seed in range(10):
        found = transplanted(black, black, "paste", np.random.default_rng(seed))
        assert found.pixels[found.mask].mean() >= VISIBLE


def test_records_are_images_like_others(tmp_path):
    records = records_of_arrays(np.stack([surface(seed)[0] for seed in range(3)]))
    made = transplants(records, 9, seed=1)
    assert len({record.path for record in made}) == 9
    assert [record.kind for record in made] == [*RECIPES, *RECIPES, *RECIPES][:9]
    assert {record.label for record in made} == {ANOMALOUS}
    for record in made:
        base = record.source.base.source.pixels()
        changed = np.abs(record.source.pixels() - base).max(axis=2) > 0
        assert record.source.mask().shape == base.shape[:2]
        assert not (record.source.mask() & ~changed).any()
        assert record.source.base != record.source.donor
    again = transplants(records, 9, seed=1)[4]
    np.testing.assert_array_equal(again.source.pixels(), made[4].source.pixels())
    assert {one.kind for one in transplants(records[:1], 4, recipes=["scar"])} == {"scar"}
    with pytest.raises(ValueError, match=r"recipe must be one of paste, scar, .* got 'hole'"):
        transplants(records, 1, recipes=["hole"])
    with pytest.raises(ValueError, match="number of normal images must be at least 1, got 0"):
        transplants([], 1)


def test_noise_is_smooth_and_of_unit_variance():
    noise = smooth_noise((80, 100), np.random.default_rng(0))
    assert noise.std() == pytest.approx(1)
    assert np.abs(np.diff(noise, axis=1)).max() < 0.6  # white noise would have steps of 4
