"""Images of 10 to 14 bits in files of 16: one range for a data set, kept with the model, with the scores of 8 bits."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, surface, write_backbone

from jaxdpmm import cli
from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.images.arrays import records_of_arrays
from jaxdpmm.images.depth import value_range_of
from jaxdpmm.images.geometry import Preprocessing
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.streaming import ImageStream
from jaxdpmm.images.transforms import prepare


def images(bits, number=3):
    """Arrays of 16 bits with numbers of fewer."""
    random = np.random.default_rng(bits)
    return random.integers(2 ** (bits - 1), 2**bits, (number, 6, 5)).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("suffix", ["array", ".tif", ".png", ".npy"])
def test_the_range_is_that_of_the_bits_in_use(tmp_path, bits, suffix):
    values = images(bits)
    records = records_of_arrays(values)
    if suffix != "array":
        paths = [tmp_path / f"{number}{suffix}" for number in range(3)]
        for path, one in zip(paths, values, strict=True):
            np.save(path, one) if suffix == ".npy" else Image.fromarray(one).save(path)
        records = tuple(ImageRecord(path) for path in paths)
    found = value_range_of(records)
    assert found == (0.0, 2.0**bits - 1)
    pixels, _ = prepare(records[1], Preprocessing(5, 1, value_range=found))
    np.testing.assert_allclose(pixels[:, :, 0], values[1] / (2.0**bits - 1), atol=1e-6)


def test_images_that_use_their_range_or_have_8_bits_are_left_alone(tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    few = images(12, 50)
    few[37, 2, 2] = 2**14
    for arrays in (
        images(16),
        few,
        np.full((2, 4, 4), 3, np.uint8),
        np.zeros((2, 4, 4), np.uint16),
    ):
        assert value_range_of(records_of_arrays(arrays)) is None
    assert (
        value_range_of([ImageRecord(tmp_path / "bad.png"), ImageRecord(tmp_path / "no.tif")])
        is None
    )
    bytes_, floats = np.full((1, 4, 4), 51, np.uint8), np.full((1, 4, 4), 0.2, np.float32)
    for array in (bytes_, floats):
        pixels, _ = prepare(records_of_arrays(array)[0], Preprocessing(4, 1, value_range=(0, 4095)))
        np.testing.assert_allclose(pixels, 0.2, rtol=1e-6)


def passed(records, value_range=None):
    """One pass over images."""
    return list(ImageStream(records, Preprocessing(4, 1, value_range=value_range)))


def test_images_brighter_than_the_range_are_told_of_once():
    values = [np.full((4, 4), value, np.uint16) for value in (5000, 4095, 6000)]
    message = r"at most 4095, the value_range .* up to 6000 in 2 images, for example array-00000; s"
    with pytest.warns(UserWarning, match=message) as told:
        first, second, _ = passed(records_of_arrays(values), (0, 4095))
    assert len(told) == 1
    assert first.pixels.max() == second.pixels.max() == 1


def test_images_that_a_model_without_a_range_would_see_black_are_told_of_once():
    values = [np.full((4, 4), value, np.uint16) for value in (1000, 4095, 300)]
    message = (
        r"values above 16383, got at most 4095 in 3 images, .* or fit with value_range=\(0\.0, 4095"
    )
    with pytest.warns(UserWarning, match=message) as told:
        passed(records_of_arrays(values))
    assert len(told) == 1
    brighter = [*values, np.full((4, 4), 20000, np.uint16)]
    for others in (brighter, [np.zeros((4, 4), np.uint16)], [np.zeros((4, 4), np.uint8)]):
        passed(records_of_arrays(others))  # a warning would be an error


def test_white_and_black_change_places_after_the_range(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = images(12)
    records = [ImageRecord(tmp_path / f"{number}.tif") for number in range(3)]
    for record, one in zip(records, values, strict=True):
        tifffile.imwrite(record.path, one, photometric="miniswhite")
    assert value_range_of(records) == (0.0, 4095.0)
    pixels, _ = prepare(records[1], Preprocessing(5, 1, value_range=(0.0, 4095.0)))
    np.testing.assert_allclose(pixels[:, :, 2], 1 - values[1] / 4095, atol=2e-6)


def test_pictures_of_a_run_are_seen_through_the_range(tmp_path):
    write_backbone(tmp_path / "tiny")
    for kind, number in (("good", 3), ("new", 1)):
        (tmp_path / kind).mkdir()
        for seed in range(number):
            deep = surface(seed)[0].astype(np.uint16) << 4
            Image.fromarray(deep).save(tmp_path / kind / f"{seed}.png")
    model, out = str(tmp_path / "model"), tmp_path / "out"
    options = ["--backbone", str(tmp_path / "tiny"), "--short-side", str(SIDE)]
    more = ["--num-components", "2", "--held-out", "0", "--num-epochs", "0"]
    assert cli.run(["fit", str(tmp_path / "good"), "-o", model, *options, *more]) == 0
    assert cli.run(["score", model, str(tmp_path / "new"), "-o", str(out)]) == 0
    preview = np.asarray(Image.open(out / "previews" / "0.png.jpg").convert("L"), float)
    assert np.abs(preview - surface(0)[0]).mean() < 4  # black would be about 90


@pytest.mark.parametrize("value_range", [(5.0, 5.0), (-1.0, 3.0), (float("nan"), 1.0), (0.0, 1e6)])
def test_a_range_that_is_none_is_refused(value_range):
    with pytest.raises(
        ValueError, match="value_range must be two ascending numbers from 0 to 65535"
    ):
        DetectorConfig(value_range=value_range)


def test_12_bits_score_as_8_bits_do_and_the_range_stays_with_the_model(tmp_path):
    write_backbone(tmp_path / "tiny")
    config = DetectorConfig(
        str(tmp_path / "tiny"), short_side=SIDE, num_components=3, held_out=0, num_epochs=5
    )
    eight = np.stack([surface(seed, seed > 3)[0] for seed in range(6)])
    deep = [eight, (eight.astype(np.uint16) << 4) | (eight >> 4)]  # all of the 12 bits
    scores = []
    for values in deep:
        records = records_of_arrays(values)
        detector = Detector.fit(records[:4], config)
        detector.save(tmp_path / "model")
        detector = Detector.load(tmp_path / "model")
        scores.append([image.score for image in detector.score(records[4:])])
    assert detector.config.value_range == (0.0, 4095.0)
    np.testing.assert_allclose(scores[1], scores[0], rtol=2e-2)
    settings = dataclasses.asdict(detector.config)
    del settings["value_range"]  # as older models have it
    assert DetectorConfig.from_dict(settings).value_range is None
