"""Pictures: colours, blending, outlines, sizes, and what is said about bad input."""

import concurrent.futures

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.detection.overlay import (
    Tile,
    colour_bar,
    colour_limits,
    colours_of,
    contact_sheet,
    overlay,
    panel,
)
from jaxdpmm.detection.sheets import save_png

LIMITS = (0.0, 1.0)


@pytest.fixture
def tile():
    image = np.random.default_rng(0).random((40, 60, 3), np.float32)
    anomaly_map = np.zeros((40, 60))
    anomaly_map[10:20, 30:45] = 1
    return Tile(image, anomaly_map, "crack 0.93", anomaly_map > 0)


def test_colours_grow_lighter_and_stop_at_the_limits():
    colours = colours_of(np.linspace(-1, 2, 301)[None], LIMITS).astype(int)
    lightness = colours[0] @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(lightness) >= -1)
    assert lightness[-1] - lightness[0] > 200
    np.testing.assert_array_equal(colours[0, :101], np.tile(colours[0, 0], (101, 1)))
    np.testing.assert_array_equal(colours[0, 200:], np.tile(colours[0, -1], (101, 1)))


def test_overlay_shows_the_image_where_all_is_normal(tile):
    pixels = overlay(tile.image, tile.anomaly_map, LIMITS)
    grey = np.round(tile.image.mean(axis=2) * 255)
    np.testing.assert_array_equal(pixels[:10], np.repeat(grey[:10, :, None], 3, axis=2))
    inside = pixels[10:20, 30:45].astype(int)
    assert np.all(inside[:, :, 0] - inside[:, :, 2] > 50)  # yellow


def test_outline_runs_along_the_edge_of_the_mask_and_leaves_the_rest_as_it_is(tile):
    plain = overlay(tile.image, tile.anomaly_map, LIMITS)
    outlined = overlay(tile.image, tile.anomaly_map, LIMITS, tile.mask)
    changed = (plain != outlined).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 20, 29, 45)
    assert not changed[12:18, 32:43].any()  # what it encloses
    for line in (changed[9:11, 32:43], changed[19:21, 32:43]):
        assert line.any(axis=0).all()  # no gap
    assert outlined[9:21, 29:46, 1].max() > 200  # green


@pytest.mark.parametrize("marked", [False, True])
def test_masks_of_nothing_and_of_everything_are_drawn(tile, marked):
    plain = overlay(tile.image, tile.anomaly_map, LIMITS)
    outlined = overlay(tile.image, tile.anomaly_map, LIMITS, np.full((40, 60), marked))
    np.testing.assert_array_equal(outlined[2:-2, 2:-2], plain[2:-2, 2:-2])
    assert (outlined[0] != plain[0]).any() == marked


def test_threads_draw_the_same_pictures(tile):
    alone = np.asarray(panel(tile, LIMITS, height=40))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: panel(tile, LIMITS, height=40), range(8)))
    for picture in found:
        np.testing.assert_array_equal(np.asarray(picture), alone)


def test_colour_bar_shows_the_colours_and_their_scores():
    pixels = np.asarray(colour_bar(500, (0.25, 8.0))).astype(int)
    assert pixels.shape == (32, 500, 3)
    ramp = pixels[5, 20:330].sum(axis=1)
    assert ramp[-1] - ramp[0] > 500
    assert np.all(np.diff(ramp) >= -10)
    assert (pixels[16:, :340].sum(axis=2) < 200).any()  # numbers below
    assert (pixels[:12, 350:].sum(axis=2) < 200).any()  # what they count, beside
    assert (np.asarray(colour_bar(500, (0.25, 9.0))) != pixels).any()
    assert np.asarray(colour_bar(10, LIMITS)).shape == (32, 10, 3)


def test_limits_come_from_normal_images():
    low, high = colour_limits([np.arange(1001.0), np.arange(1001.0)])
    assert low == 500
    assert high == pytest.approx(500 + 2 * 499, abs=1)
    with pytest.raises(ValueError, match="normal_maps must hold at least one map, got none"):
        colour_limits([])


def test_panel_is_written_and_read_back(tile, tmp_path):
    path = save_png(panel(tile, LIMITS, height=80), tmp_path / "new" / "a.png")
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[1] == 3 * 120 + 2 * 6
    assert pixels.shape[0] == 20 + 20 + 80 + 6 + 32
    caption = pixels[:20]
    assert (caption < 100).any()  # text is there


def test_contact_sheet_places_every_tile(tile):
    tall = Tile(np.zeros((30, 15, 3), np.float32), np.zeros((30, 15)), "good 0.1")
    sheet = np.asarray(contact_sheet([tile, tall, tile], LIMITS, columns=2, side=60))
    width = 2 * 60 + 1
    assert sheet.shape == (2 * 80 + 6 + 6 + 32, 2 * width + 6, 3)
    np.testing.assert_array_equal(sheet[20:80, :width], sheet[106:166, :width])  # the same again
    assert (sheet[86:166, width + 6 :] == 255).all()  # no fourth one
    assert (sheet[20:80, width + 6 + 15 : width + 6 + 45] == 0).all()  # the tall one, centred


def test_bad_input(tile):
    with pytest.raises(
        ValueError, match=r"one height and width, got \(40, 60\), \(39, 60\) and \(40"
    ):
        overlay(tile.image, tile.anomaly_map[1:], LIMITS)
    with pytest.raises(ValueError, match="limits must be two ascending finite scores, got 1 and 1"):
        panel(tile, (1.0, 1.0))
    with pytest.raises(ValueError, match="at least 1, got 0 tiles and 4 columns"):
        contact_sheet([], LIMITS)
