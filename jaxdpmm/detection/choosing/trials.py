"""Settings tried without a single anomaly: on normal images that were held out, and on synthetic anomalies of them.

Features of all blocks that are tried are computed once; settings that differ only in what follows share them, and
share a fit where they differ only in the score. Read `choose.py` next, which says what is tried and which is best.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.evaluate import typical_ms
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.learning import separation_facts
from jaxdpmm.detection.leaving_out import fuse_scores
from jaxdpmm.detection.methods import Fitted, of_state
from jaxdpmm.detection.metrics import area_under_roc, bootstrap, curves, score_table
from jaxdpmm.detection.patches import ImagePatches, stack_patches
from jaxdpmm.detection.scored import ScoredImage, score_images
from jaxdpmm.detection.scores.joint import is_joint
from jaxdpmm.detection.settings import ScoreSettings
from jaxdpmm.detection.state import DetectorState, FitFacts
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.reading import mask_of
from jaxdpmm.images.records import ANOMALOUS

FIGURE = "pixel_auroc"
"""What settings are ordered by. Plain anomalies are found by all settings, so that faint ones decide, and it does not
depend on how large anomalies are, which nobody knows of real ones. Precision is decided by plain ones, and by size."""
FIGURES = (FIGURE, "pixel_aupr", "image_auroc")
NUM_REPLICATES = 200

Truth = Float[np.ndarray, "2 h w"]
"""Normal and anomalous pixels of each patch."""


class Material(NamedTuple):
    """Images that settings are tried on, with the features of some blocks side by side, of any floating type.

    Attributes:
        layers: the blocks, in their order.
        learned: normal images, `rotations` in a row of each, as it is first.
        rotations: of each learned image.
        held_out: other normal images.
        synthetic: anomalous images, made of `held_out`.
    """

    layers: tuple[int, ...]
    learned: Sequence[ImagePatches]
    rotations: int
    held_out: Sequence[ImagePatches]
    synthetic: Sequence[ImagePatches]


class Tried(NamedTuple):
    """A setting that was fitted.

    Attributes:
        config: the setting.
        state: what it has learned.
        fitted: its score, ready to run.
        images: with the features of this setting.
    """

    config: DetectorConfig
    state: DetectorState
    fitted: Fitted
    images: Material


class Trial(NamedTuple):
    """A setting and how well it tells synthetic anomalies from normal images.

    Attributes:
        config: the setting.
        figures: "pixel_auroc", "pixel_aupr" and "image_auroc", means over the recipes of anomalies.
        recipes: `FIGURE` by the recipe.
        replicates: their mean, of images drawn anew, the same images in every trial.
        num_bytes: size of what scoring keeps.
        num_components: K.
        milliseconds: of scoring per image, from features on.
        facts: of the fit, with how compact components are and how far apart on held-out patches.
    """

    config: DetectorConfig
    figures: dict[str, float]
    recipes: dict[str, float]
    replicates: Float[np.ndarray, " R"]
    num_bytes: int
    num_components: int
    milliseconds: float
    facts: FitFacts


def trials(material: Material, configs: Iterable[DetectorConfig]) -> Iterator[Trial]:
    """Each setting tried, in order; neighbours share features and fits where their settings allow.

    Args:
        material: images, with the features of every block that a setting names.
        configs: settings, resolved.
    """
    for tried in fits(material, configs):
        held_out, anomalous = tried.images.held_out, tried.images.synthetic
        images = scored(tried, [*held_out, *anomalous])
        every = list(zip(images, truth_of([*held_out, *anomalous]), strict=True))
        normal, synthetic = every[: len(held_out)], every[len(held_out) :]
        found, drawn = {}, []
        for recipe in dict.fromkeys(one.record.kind for one, _ in synthetic):
            of_recipe = [pair for pair in synthetic if pair[0].record.kind == recipe]
            some, pixels = zip(*normal, *of_recipe, strict=True)
            counts = pixel_counts(some, pixels)
            found[recipe] = figures_of(some, counts)
            replicates = bootstrap.replicates(
                counts, num_replicates=NUM_REPLICATES, seed=tried.config.seed
            )
            drawn.append(curves.roc_area(*replicates[:2]))
        yield Trial(
            tried.config,
            {name: float(np.mean([one[name] for one in found.values()])) for name in FIGURES},
            {recipe: one[FIGURE] for recipe, one in found.items()},
            np.mean(drawn, axis=0),
            tried.fitted.num_bytes,
            tried.fitted.num_rows,
            typical_ms(images, "scoring_seconds"),
            separation_facts(tried.state, rows_of(held_out), tried.config.seed),
        )


def fits(material: Material, configs: Iterable[DetectorConfig]) -> Iterator[Tried]:
    """Each setting fitted to the learned images, in order.

    Args:
        material: as of `trials`.
        configs: settings, resolved.
    """
    for _, alike in itertools.groupby(configs, _features_of):
        settings = list(alike)
        some = _narrowed(material, settings[0])
        patches = stack_patches(some.learned, len(some.learned))
        for mixture, same in itertools.groupby(settings, _mixture_of):
            state = fit_mixture(patches.features, mixture)
            for config in same:
                own = state
                if is_joint(config.score):
                    own = fuse_scores(state, patches, config)
                yield Tried(config, own, of_state(own, config), some)


def rows_of(images: Iterable[ImagePatches]) -> Float[np.ndarray, "N D"]:
    """Features of all patches of some images."""
    return np.concatenate([one.features.reshape(-1, one.features.shape[-1]) for one in images])


def scored(tried: Tried, images: Iterable[ImagePatches]) -> list[ScoredImage]:
    """Images as a setting scores them."""
    found = score_images(images, {"": tried.fitted.score_patches}, tried.config)
    return [one[""] for one in found]


def truth_of(images: Iterable[ImagePatches]) -> list[Truth]:
    """What the masks of images say of their patches; images without a mask count as normal."""
    found = []
    for image in images:
        mask = mask_of(image.record) if image.record.label else None
        mask = np.zeros(image.frame.original, bool) if mask is None else mask
        found.append(pixels_of_patches(mask, image.frame))
    return found


def pixels_of_patches(mask: Bool[np.ndarray, "H W"], frame: Frame) -> Truth:
    """How many normal and how many anomalous pixels of the original image each patch has.

    Args:
        mask: anomalous pixels of the original image.
        frame: how it was prepared.
    """
    below = np.pad(mask.astype(int).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    boxes = (frame.box_of(number, number) for number in range(max(frame.grid)))
    top, left, bottom, right = (np.array(ends) for ends in zip(*boxes, strict=True))
    top, bottom = (np.minimum(ends[: frame.grid[0]], mask.shape[0]) for ends in (top, bottom))
    left, right = (np.minimum(ends[: frame.grid[1]], mask.shape[1]) for ends in (left, right))
    anomalous = (below[bottom] - below[top])[:, right] - (below[bottom] - below[top])[:, left]
    sizes = np.outer(bottom - top, right - left)
    return np.stack([sizes - anomalous, anomalous]).astype(float)


def pixel_counts(images: Sequence[ScoredImage], truth: Sequence[Truth]) -> bootstrap.ImageCounts:
    """Pixels of each image by the score of their patch, in bins."""
    grids = [image.patch_scores for image in images]
    values = np.concatenate([grid.ravel() for grid in grids])
    is_anomalous = np.concatenate([(pixels[1] > 0).ravel() for pixels in truth])
    edges = bootstrap.bin_edges(score_table(is_anomalous, values))
    normal, anomalous = (
        np.stack(
            [_binned(grid, pixels[kind], edges) for grid, pixels in zip(grids, truth, strict=True)]
        )
        for kind in (0, 1)
    )
    labels = np.array([image.record.label == ANOMALOUS for image in images])
    return bootstrap.ImageCounts(labels, normal, anomalous, np.zeros_like(anomalous))


def figures_of(images: Sequence[ScoredImage], counts: bootstrap.ImageCounts) -> dict[str, float]:
    """Figures by name: "image_auroc", and where there are masks "pixel_auroc" and "pixel_aupr"."""
    normal, anomalous = counts.normal.sum(axis=0), counts.anomalous.sum(axis=0)
    whole = np.array([image.score for image in images])
    found = {"image_auroc": area_under_roc(score_table(counts.is_anomalous, whole))}
    if anomalous.any():
        found["pixel_auroc"] = float(curves.roc_area(normal, anomalous))
        found["pixel_aupr"] = float(curves.precision_area(normal, anomalous))
    return found


def _features_of(config: DetectorConfig) -> tuple[Any, ...]:
    return config.layers, config.join, config.rotations


def _mixture_of(config: DetectorConfig) -> DetectorConfig:
    """The settings with the default score, the same for settings that differ only in the score."""
    usual: dict[str, Any] = {
        field.name: field.default for field in dataclasses.fields(ScoreSettings)
    }
    return dataclasses.replace(config, **usual)


def _narrowed(material: Material, config: DetectorConfig) -> Material:
    """The images with the features of one setting alone."""
    places = [material.layers.index(layer) for layer in config.layers or ()]

    def narrowed(image: ImagePatches) -> ImagePatches:
        blocks = image.features.reshape(*image.frame.grid, len(material.layers), -1)
        some = blocks[..., places, :].astype(np.float32)
        own = some.mean(axis=2) if config.join == "mean" else some
        return image._replace(features=own.reshape(*image.frame.grid, -1))

    firsts = range(0, len(material.learned), material.rotations)
    chosen = [first + copy for first in firsts for copy in range(config.rotations)]
    return Material(
        config.layers or (),
        [narrowed(material.learned[place]) for place in chosen],
        config.rotations,
        [narrowed(image) for image in material.held_out],
        [narrowed(image) for image in material.synthetic],
    )


def _binned(scores: np.ndarray, pixels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    bins = np.maximum(np.searchsorted(edges, scores.ravel(), side="right") - 1, 0)
    return np.bincount(bins, pixels.ravel(), minlength=len(edges)).astype(np.float32)
