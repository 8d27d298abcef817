from pathlib import Path

import numpy as np
import pytest

from jaxdpmm.detection import ScoredImage, fused_image, learn_fused
from jaxdpmm.detection.calibration import calibrate
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.records import ImageRecord

FRAME = Frame((84, 84), (84, 84), (0, 0), (84, 84), 14)
UNITS = (1.0, 1000.0)


def scored(seed, odd=None):
    """One image by two scores in other units; of the odd patch, one score is high."""
    generator = np.random.default_rng(seed)
    images = []
    for place, unit in enumerate(UNITS):
        grid = generator.normal(size=(6, 6)) * unit
        if odd is not None and place == odd:
            grid[2, 3] = 8 * unit
        images.append(ScoredImage(ImageRecord(Path("a.png")), FRAME, grid, grid.max(), 0.5, 0.25))
    return images


@pytest.fixture(scope="module")
def fusion():
    return learn_fused([scored(seed) for seed in range(40)])


@pytest.mark.parametrize("odd", [0, 1])
def test_what_one_score_sees_stands_out_whatever_its_unit(fusion, odd):
    image, normal = (fused_image(fusion, scored(100, by)) for by in (odd, None))
    assert np.unravel_index(np.argmax(image.patch_scores), (6, 6)) == (2, 3)
    assert image.score == image.patch_scores.max() > normal.score + 5
    assert image.scoring_seconds == 0.5
    assert image.record.path == Path("a.png")


def test_maps_and_thresholds_take_fused_images(fusion):
    held_out = [fused_image(fusion, scored(seed)) for seed in range(200, 230)]
    found = calibrate(held_out, 2.0)
    assert found.image.num_images == 30
    share = np.mean([one.patch_scores >= np.log(20) for one in held_out])
    assert abs(share - 0.05) < 0.03  # of 1,080 patches, where the fusion has seen 1,440


def test_bad_input_is_told_in_a_sentence(fusion):
    with pytest.raises(
        ValueError, match=r"image must be scored in 2 ways, .*, got 1; give the same"
    ):
        fused_image(fusion, scored(0)[:1])
    first, second = scored(0)
    with pytest.raises(ValueError, match=r"one size, got \(6, 6\) and \(3, 6\); score it"):
        learn_fused([[first, second._replace(patch_scores=second.patch_scores[:3])]])
    with pytest.raises(ValueError, match="must be at least 100 finite numbers, got 0"):
        learn_fused([])
