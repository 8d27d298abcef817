"""Why a patch is anomalous: which component it is nearest to, how far, and which training patches look like it.

At the fit every component remembers the training patches that are nearest to it and how far its own patches usually
are, so that a score can be put beside normal examples later, without the training set. The distance is Mahalanobis
distance: of D features, patches of a component lie at about sqrt(D). Families that are not Gaussian have minus the log
density in its place.
"""

import itertools
from collections.abc import Collection
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.detection.assigning import assign
from jaxdpmm.detection.calibration import p_value
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.detection.state import DetectorState, Examples
from jaxdpmm.families import GaussianSpherical

NUM_EXAMPLES = 3
QUANTILES = (0.5, 0.95)


class TrainingPatch(NamedTuple):
    """Where a training patch lies: its image, and its row and column in the grid of patches."""

    image: str
    row: int
    column: int


class PatchDiagnosis(NamedTuple):
    """What is known of one patch.

    Attributes:
        row, column: in the grid of patches.
        box: top, left, bottom and right in pixels of the original image.
        score: anomaly score.
        p_value: among patches of held-out normal images; None without calibration.
        component: the most probable one, 0 being the largest.
        weight: share of the training patches that this component holds.
        distance: Mahalanobis distance to it; minus the log density under it, of a family that is not Gaussian.
        usual_distance: median and 95 % quantile of the distances of its training patches.
        examples: training patches nearest to the component, nearest first.
    """

    row: int
    column: int
    box: tuple[int, int, int, int]
    score: float
    p_value: float | None
    component: int
    weight: float
    distance: float
    usual_distance: tuple[float, float]
    examples: tuple[TrainingPatch, ...]


def examples_of(state: DetectorState, patches: TrainingPatches) -> Examples:
    """What `diagnose` needs of the training patches, some kilobytes."""
    num_components = state.mixture.num_components
    components, distances = assign(state, patches.features)
    order = np.lexsort((distances, components))
    ends = np.searchsorted(components[order], np.arange(num_components + 1))
    examples = np.full((num_components, NUM_EXAMPLES), -1)
    usual = np.zeros((num_components, len(QUANTILES)), np.float32)
    for number, (start, stop) in enumerate(itertools.pairwise(ends)):
        nearest = order[start : min(stop, start + NUM_EXAMPLES)]
        examples[number, : len(nearest)] = nearest
        if stop > start:
            usual[number] = np.quantile(distances[order[start:stop]], QUANTILES)
    places, names = _places(examples, patches)
    return Examples(places, usual, tuple(names), _radius(state, components, distances))


def more_examples(state: DetectorState, patches: TrainingPatches, number: int) -> Examples | None:
    """Examples of a state's components: the first so many as they were, the others from new patches.

    Args:
        state: with the examples of before an update.
        patches: new ones.
        number: of components before the update.
    """
    before = state.examples
    if before is None or number == state.mixture.num_components:
        return before
    new = examples_of(state, patches)
    places = new.places[number:].copy()
    places[..., 0] += np.where(places[..., 0] >= 0, len(before.images), 0)
    return Examples(
        np.concatenate([before.places, places]),
        np.concatenate([before.distances, new.distances[number:]]),
        (*before.images, *new.images),
        before.radius,
    )


def fewer_examples(
    before: Examples | None, active: np.ndarray, names: Collection[str]
) -> Examples | None:
    """Examples of some of the components, without those of some images.

    Args:
        before: of all components; None gives None.
        active: numbers of the components that stay.
        names: of the images to leave out.
    """
    if before is None:
        return None
    is_left = np.array([name not in names for name in before.images], bool)
    numbers = np.append(np.where(is_left, np.cumsum(is_left) - 1, -1), -1)
    places = before.places[active].copy()
    places[..., 0] = numbers[places[..., 0]]  # -1, for none, is the last
    places[places[..., 0] < 0] = -1
    order = np.argsort(places[..., 0] < 0, axis=1, kind="stable")
    places = np.take_along_axis(places, order[..., None], axis=1)
    images = tuple(name for name in before.images if name not in names)
    return Examples(places, before.distances[active], images, before.radius)


def diagnose(
    state: DetectorState,
    features: Float[np.ndarray, "h w D"],
    scored: ScoredImage,
    num_patches: int = 5,
) -> list[PatchDiagnosis]:
    """The most anomalous patches of an image, each with the component it was held against.

    Args:
        state: with examples, see `examples_of`; with a calibration there are p-values.
        features: patch features of the image.
        scored: its scores.
        num_patches: how many.

    Raises:
        ValueError: the state holds no examples, or `num_patches` is below 1.
    """
    check_at_least_one("num_patches", num_patches, "the default is 5")
    if state.examples is None:
        raise ValueError(
            "state must hold examples of its components, got none; fit it anew with Detector.fit."
        )
    order = np.argsort(-scored.patch_scores.reshape(-1), kind="stable")[:num_patches]
    flat = features.reshape(-1, features.shape[-1])
    components, distances = assign(state, flat[order])
    return [
        _diagnosis(state, state.examples, scored, *found)
        for found in zip(order.tolist(), components.tolist(), distances.tolist(), strict=True)
    ]


def _diagnosis(
    state: DetectorState,
    examples: Examples,
    scored: ScoredImage,
    place: int,
    component: int,
    distance: float,
) -> PatchDiagnosis:
    """What is known of the patch at a place in the order of an image's patches."""
    row, column = divmod(place, scored.frame.grid[1])
    score = float(scored.patch_scores[row, column])
    counts = np.asarray(state.posterior.counts)
    low, high = examples.distances[component]
    return PatchDiagnosis(
        row,
        column,
        scored.frame.box_of(row, column),
        score,
        p_value(state.calibration, score, "patch"),
        component,
        float(counts[component] / counts.sum()),
        distance,
        (float(low), float(high)),
        _training_patches(examples, component),
    )


def _radius(
    state: DetectorState, components: Int[np.ndarray, " N"], distances: Float[np.ndarray, " N"]
) -> float | None:
    """The largest Euclidean distance of a patch to the centre of its component, of spheres."""
    if not isinstance(state.mixture.family, GaussianSpherical):
        return None
    params = jax.vmap(state.mixture.family.point_params)(state.posterior.components)
    return float(np.max(distances / np.asarray(params.precision_factor)[components]))


def _places(
    examples: Int[np.ndarray, "K E"], patches: TrainingPatches
) -> tuple[Int[np.ndarray, "K E 3"], list[str]]:
    """Image, row and column of each example, -1 for none, and the names of the images."""
    first_rows = np.cumsum([0] + [height * width for _, (height, width) in patches.sources])
    places = np.full((*examples.shape, 3), -1)
    names: list[str] = []
    if not patches.sources:
        return places, names
    numbers: dict[int, int] = {}
    for place in np.argwhere(examples >= 0):
        row = examples[tuple(place)]
        image = int(np.searchsorted(first_rows, row, side="right")) - 1
        name, (_, width) = patches.sources[image]
        if image not in numbers:
            numbers[image] = len(names)
            names.append(name)
        places[tuple(place)] = (numbers[image], *divmod(int(row - first_rows[image]), width))
    return places, names


def _training_patches(examples: Examples, component: int) -> tuple[TrainingPatch, ...]:
    return tuple(
        TrainingPatch(examples.images[image], int(row), int(column))
        for image, row, column in examples.places[component]
        if image >= 0
    )
