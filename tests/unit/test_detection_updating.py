"""More images and fewer: the same posterior as of a fit from scratch under the same assignments, thresholds with it."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from test_detection_leaving_out import CENTRES, FRAME
from test_detection_leaving_out import CONFIG as LEAVING

from jaxdpmm import trees
from jaxdpmm.detection import TrainingPatches, fit_mixture
from jaxdpmm.detection.calibration import merged
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.diagnosis import examples_of
from jaxdpmm.detection.learning import decided, learn
from jaxdpmm.detection.leaving_out import ImageGroups, new_scores
from jaxdpmm.detection.line.updating import forgotten, updated
from jaxdpmm.detection.parts import local_step_of
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.detection.stored.state import load_detector_model, model_of
from jaxdpmm.inference.update import from_stats
from jaxdpmm.leave_out import sum_groups
from jaxdpmm.model import stats_of
from jaxdpmm.persist import save_model

CONFIG = dataclasses.replace(LEAVING, num_epochs=0, num_components=6)
KEEPING = dataclasses.replace(CONFIG, keep_images=True)


def patches_of(numbers, kinds=5) -> TrainingPatches:
    """Images by number, in float64; of six kinds of patches the last is far from all others."""
    centres = np.concatenate([CENTRES, [[60.0, 0, 0, 0]]])
    images = []
    for number in numbers:
        random = np.random.default_rng(number)
        images.append(centres[random.integers(0, kinds, 16)] + random.normal(size=(16, 4)))
    sources = tuple((f"{number}.png", FRAME.grid) for number in numbers)
    return TrainingPatches(np.concatenate(images), len(images), sources, (FRAME,) * len(images))


@functools.cache
def learned(config: DetectorConfig = KEEPING, number: int = 8) -> DetectorState:
    """From the first images, with all that a model file needs."""
    patches = patches_of(range(number))
    state = learn(patches, config).state
    facts = state.facts._replace(num_images=patches.num_images)
    return state._replace(
        examples=examples_of(state, patches), facts=facts, backbone_sha256="0" * 64
    )


def scratch(fitted, patches, config=KEEPING):
    """Prior and the statistics of all images, under the responsibilities of one posterior."""
    step = local_step_of(config, fitted.mixture)
    groups = ImageGroups(fitted, patches, config)
    return sum_groups(fitted.mixture, fitted.posterior, groups, step).stats


def assert_same(posterior, other, places=slice(None)):
    """Components and counts of two posteriors."""
    wanted = trees.take((other.components, other.counts), places)
    for found, right in zip(
        jax.tree.leaves((posterior.components, posterior.counts)),
        jax.tree.leaves(wanted),
        strict=True,
    ):
        np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-10)


def test_forgetting_is_a_fit_of_the_others_under_the_same_assignments():
    patches, state = patches_of(range(8)), learned()
    fitted = fit_mixture(patches.features, KEEPING)
    right = from_stats(fitted.mixture, fitted.prior, scratch(fitted, patches))
    assert_same(state.posterior, right)
    without = forgotten(state, {"3.png", "7.png"}, KEEPING)
    others = patches_of([number for number in range(8) if number not in (3, 7)])
    stats = scratch(fitted, others)
    places = np.flatnonzero(np.asarray(stats.counts) >= 0.5)
    assert_same(without.posterior, from_stats(fitted.mixture, fitted.prior, stats), places)
    assert without.mixture.num_components == len(places)
    assert (without.facts.num_images, without.facts.num_patches) == (6, 96)
    assert without.calibration.image.num_images == 6
    names = {image.image for image in without.training_images} | set(without.examples.images)
    assert names <= {f"{number}.png" for number in range(8)} - {"3.png", "7.png"}


def test_updating_is_a_fit_of_both_under_the_same_assignments_and_forgetting_takes_it_back():
    """From k-means no component is born."""
    keeping, config = (dataclasses.replace(one, start="k-means") for one in (KEEPING, CONFIG))
    state, new = learned(keeping), patches_of(range(8, 12))
    later = updated(state, new, keeping)
    total = trees.add(stats_of(state.prior, state.posterior), scratch(state, new, keeping))
    right = from_stats(state.mixture, state.prior, total)
    assert_same(later.posterior, right)
    assert (later.facts.num_images, later.calibration.image.num_images) == (12, 12)
    back = forgotten(later, {f"{number}.png" for number in range(8, 12)}, keeping)
    for found, wanted in zip(
        jax.tree.leaves((back.posterior, back.calibration)),
        jax.tree.leaves((state.posterior, state.calibration)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)
    plain = learned(config)
    assert plain.kept is None
    after = updated(plain, new, config)
    stats = trees.add(stats_of(plain.prior, plain.posterior), scratch(plain, new, config))
    assert_same(after.posterior, from_stats(plain.mixture, plain.prior, stats))
    assert after.calibration.image.num_images == 12


@pytest.mark.parametrize("config", [KEEPING, CONFIG])
def test_patches_of_a_new_kind_get_components_of_their_own(config):
    state, new = learned(config), patches_of(range(20, 28), kinds=6)
    later = updated(state, new, dataclasses.replace(config, share=0.05))
    assert state.mixture.num_components < later.mixture.num_components
    assert len(later.examples.places) == later.mixture.num_components
    assert later.examples.images[later.examples.places[-1, 0, 0]] in {s[0] for s in new.sources}
    fresh = patches_of(range(40, 48), kinds=6)
    before, after = (new_scores(one, fresh, config) for one in (state, later))
    assert after.max() < before.min()
    same = updated(state, patches_of(range(4)), config)  # nothing there is new
    assert same.mixture.num_components == state.mixture.num_components


def test_calibrations_taken_together_are_that_of_all_images():
    state = learned()
    own = [image.calibration for image in state.kept]
    halves = [merged(own[:3]), merged(own[3:])]
    np.testing.assert_allclose(merged(halves).image.shares, state.calibration.image.shares)
    np.testing.assert_array_equal(merged(halves).image.scores, state.calibration.image.scores)
    plain = learned(CONFIG).calibration
    found = state.calibration.image.scores[:-1]
    np.testing.assert_allclose(found, plain.image.scores[:-1], rtol=1e-3)  # the sticks' q differs
    levels = np.quantile(plain.patch.scores[:-1], [0.2, 0.9, 0.99])
    shares = [
        one.shares[np.searchsorted(one.scores, levels)]
        for one in (plain.patch, state.calibration.patch)
    ]
    np.testing.assert_allclose(*shares, atol=0.05)


def test_kept_images_survive_the_way_to_disk(tmp_path):
    state = learned()
    model = model_of(KEEPING, state)
    save_model(tmp_path / "model", model)
    _, loaded = load_detector_model(tmp_path / "model")
    assert [image.name for image in loaded.kept] == [image.name for image in state.kept]
    for found, right in zip(jax.tree.leaves(loaded.kept), jax.tree.leaves(state.kept), strict=True):
        np.testing.assert_array_equal(found, right)
    for name, wrong in (
        ("rows/places", lambda array: array + 1000),
        ("labels", lambda array: array[:-1]),
        ("sizes/rows", lambda array: array[:-1]),
        ("patch/scores", lambda array: -array),
        ("mean_scores", lambda array: array * np.nan),
        ("rows/counts", lambda array: array[None]),
    ):
        arrays = {**model.arrays, f"kept/{name}": wrong(model.arrays[f"kept/{name}"])}
        save_model(tmp_path / "bad", model._replace(arrays=arrays))
        with pytest.raises(ValueError, match=r"bad must be a model file .* got one with .*kept"):
            load_detector_model(tmp_path / "bad")
    arrays = {name: array for name, array in model.arrays.items() if name != "kept/labels"}
    save_model(tmp_path / "bad", model._replace(arrays=arrays))
    with pytest.raises(ValueError, match=r"kept images without the array 'labels'"):
        load_detector_model(tmp_path / "bad")


def test_what_cannot_be_forgotten_is_said():
    state = learned()
    with pytest.raises(ValueError, match=r"must leave at least one, got all .*; remove its file"):
        forgotten(state, {f"{number}.png" for number in range(8)}, KEEPING)
    with pytest.raises(ValueError, match=r"model must keep its images .*; fit it with keep_images"):
        forgotten(state._replace(kept=None), {"0.png"}, KEEPING)
    with pytest.raises(ValueError, match=r'thresholds must be .* with keep_images, got "held_out"'):
        dataclasses.replace(KEEPING, thresholds="held_out")
    with pytest.raises(ValueError, match=r"keep_images needs at least two images .* got 1; give"):
        learn(patches_of([0]), dataclasses.replace(KEEPING, num_components=2))


def test_the_unit_of_scores_stays_in_an_update_and_thresholds_are_of_all_images():
    config = dataclasses.replace(CONFIG, score=("cosine", "predictive"))
    state, new = learned(config), patches_of(range(8, 12))
    later = updated(state, new, config)
    assert later.fusion is state.fusion
    names = {image.image for image in later.training_images}
    assert (len(names), later.calibration.image.num_images) == (12, 12)
    alone = dataclasses.replace(config, score="cosine", p_values=True)
    state = learned(alone)
    scores = np.array([image.score for image in updated(state, new, alone).training_images])
    assert 1 < np.median(scores) < 10  # nats; of cosines it is below one


@pytest.mark.parametrize(
    ("changes", "is_decided"),
    [
        ({}, True),
        ({"keep_images": True}, False),
        ({"contamination": 0.1}, False),
        ({"contamination": "auto"}, False),
        ({"p_values": False}, False),
        ({"score": ("cosine", "predictive")}, None),
    ],
)
def test_scores_are_p_values_where_images_are_trusted_and_not_kept(changes, is_decided):
    config = dataclasses.replace(CONFIG, thresholds="auto", **changes)
    found = decided(config, patches_of(range(8)), is_held_out=False)
    assert (found.p_values, found.thresholds) == (is_decided, "leave_one_out")
    assert decided(found, patches_of(range(8)), is_held_out=True) == found


def test_scores_stay_as_they_are_where_there_is_too_little_to_leave_out():
    for patches in (
        patches_of([0]),
        patches_of(range(6)),
        patches_of(range(8))._replace(frames=()),
    ):
        assert decided(CONFIG, patches, is_held_out=False).p_values is False
