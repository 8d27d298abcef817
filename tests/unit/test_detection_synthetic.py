"""Synthetic anomalies of features against what they are made of: radii, lines between means, places of components."""

from pathlib import Path

import numpy as np
import pytest

from jaxdpmm.detection.choosing.synthetic import RECIPES, between_known, stock_of, synthetic_patches
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.patches import ImagePatches
from jaxdpmm.detection.scored import score_images
from jaxdpmm.detection.scores.context import context_scores
from jaxdpmm.detection.settings import DetectorSettings
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import NORMAL, ImageRecord

GRID, DIM = (12, 16), 8
MEANS = 4 * np.eye(DIM, dtype=np.float32)[:4]  # sky, wall, ground and, never beside the sky, grass
FRAME = frame_of((120, 160), Preprocessing(short_side=168, patch_size=14))


def landscape(seed: int) -> np.ndarray:
    """Features of an image of four layers, from top to bottom."""
    labels = np.repeat(np.arange(4), 3)[:, None] * np.ones(GRID[1], int)
    noise = 0.3 * np.random.default_rng(seed).normal(size=(*GRID, DIM))
    return (MEANS[labels] + noise).astype(np.float32)


@pytest.fixture(scope="module")
def images():
    return [
        ImagePatches(ImageRecord(Path(f"{seed}.png"), NORMAL, "good"), FRAME, landscape(seed), 0.0)
        for seed in range(100, 106)
    ]


@pytest.fixture(scope="module")
def stock():
    return stock_of(MEANS, [landscape(seed) for seed in range(8)])


def changed(stock, images, number, recipe, seed=0):
    """Each anomalous image, with the features of its changed patches before and after."""
    made = synthetic_patches(images, stock, number, seed=seed, recipes={recipe: RECIPES[recipe]})
    for one, normal in zip(made, images, strict=False):
        region = one.record.source.marked
        np.testing.assert_array_equal(one.features[~region], normal.features[~region])
        yield one, normal.features[region], one.features[region]


def test_tails_lie_at_the_quantile_of_the_radii(stock, images):
    radius = np.quantile(stock.radii, 0.999)
    for _, before, after in changed(stock, images, 6, "tails"):
        labels = np.linalg.norm(before[:, None] - MEANS[None], axis=-1).argmin(axis=1)
        found = np.linalg.norm(after - MEANS[labels], axis=1)
        np.testing.assert_allclose(found, radius, rtol=1e-5)


def test_between_lies_on_the_way_to_another_mean(stock, images):
    for _, before, after in changed(stock, images, 6, "between"):
        steps = after - before
        labels = np.linalg.norm(before[:, None] - MEANS[None], axis=-1).argmin(axis=1)
        ways = MEANS[None] - MEANS[labels][:, None]  # to each mean
        lengths = np.linalg.norm(ways, axis=-1)
        shares = np.einsum("nd,nkd->nk", steps, ways) / np.maximum(lengths, 1e-9) ** 2
        errors = np.linalg.norm(steps[:, None] - shares[..., None] * ways, axis=-1)
        far = errors.mean(axis=0).argmin()
        np.testing.assert_allclose(errors[:, far], 0, atol=1e-5)
        moved = shares[labels != far, far]
        assert ((moved >= 0.2) & (moved <= 0.6)).all()


def test_between_known_anomalies_is_between_two_of_them(stock, images):
    anomalous = np.array([[0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 3, 0, 0]], np.float32)
    recipes = {"known": between_known(anomalous)}
    for one in synthetic_patches(images, stock, 4, recipes=recipes):
        found = one.features[one.record.source.marked]
        np.testing.assert_allclose(found[:, 4] + found[:, 5] / 3, 1, rtol=1e-6)


def test_misplaced_patches_are_found_by_their_place_alone(stock, images):
    made = [one for one, _, _ in changed(stock, images, 6, "misplaced")]

    def distances(features):
        return np.linalg.norm(features[..., None, :] - MEANS, axis=-1)

    def distance(features):
        return distances(features).min(axis=-1)

    def place(features):
        labels = distances(features).argmin(axis=-1)
        return np.stack([context_scores(stock.context, one) for one in labels])

    scores = {"distance": distance, "place": place}
    scored = list(score_images([*images, *made], scores, DetectorSettings()))
    of = {
        name: evaluate([one[name] for one in scored], sigma=0.0)["pixel_auroc"] for name in scores
    }
    assert of["place"] > 0.9
    assert 0.35 < of["distance"] < 0.65


def test_the_mask_is_that_of_the_marked_patches(stock, images):
    made = list(synthetic_patches(images, stock, 9, seed=3))
    assert [one.record.kind for one in made] == [*RECIPES] * 3
    for one in made:
        mask, marked = one.record.source.mask(), one.record.source.marked
        assert mask.shape == (120, 160)
        assert mask.mean() == pytest.approx(marked.mean(), abs=0.01)
        top, left, bottom, right = FRAME.box_of(*np.argwhere(marked)[0].tolist())
        assert mask[top:bottom, left:right].all()
    again = list(synthetic_patches(images, stock, 9, seed=3))
    np.testing.assert_array_equal(again[4].features, made[4].features)


def test_nothing_to_make_anomalies_of(stock):
    with pytest.raises(ValueError, match="number of normal images must be at least 1, got 0; give"):
        list(synthetic_patches([], stock, 1))
    with pytest.raises(ValueError, match="number of training images must be at least 1, got 0"):
        stock_of(MEANS, [])
