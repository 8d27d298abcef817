"""Why a patch is anomalous: which component it is nearest to, how far, and which training patches look like it.

At the fit every component remembers the training patches that are nearest to it and how far its own patches usually
are, so that a score can be put beside normal examples later, without the training set. The distance is Mahalanobis
distance: of D features, patches of a component lie at about sqrt(D).
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.detection.calibration import Calibration, p_values
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.families import Gaussian
from jaxdpmm.model import Mixture, Posterior, centre
from jaxdpmm.persist import Model
from jaxdpmm.scoring import in_tiles, predictive
from jaxdpmm.scoring.density import Predictive, log_predictive_joint
from jaxdpmm.scoring.scorer import TILE_SIZE

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
        distance: Mahalanobis distance to it.
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


def assign(model: Model, features: Any) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The most probable component of every patch, and the Mahalanobis distance to it.

    Args:
        model: a Gaussian mixture.
        features: (N, D), in memory or a `FeatureStore`.

    Raises:
        TypeError: the family is not Gaussian.
    """
    family, posterior = model.mixture.family, model.posterior
    if not isinstance(family, Gaussian):
        raise TypeError(
            f"a diagnosis needs a Gaussian family, got {type(family).__name__}; use one of the Gaussians."
        )
    params = _prepare(model.mixture, posterior)
    assign_tile = partial(_assign_tile, model.mixture)
    features = reduce_features(model.arrays, features)
    parts = [
        in_tiles(assign_tile, params, np.asarray(features[start : start + TILE_SIZE]))
        for start in range(0, len(features), TILE_SIZE)
    ]
    found = np.concatenate(parts)
    return found[:, 0].astype(int), found[:, 1]


def remember_examples(model: Model, patches: TrainingPatches) -> Model:
    """The model with what `diagnose` needs of its training patches, some kilobytes.

    Raises:
        TypeError: the family is not Gaussian.
    """
    num_components = model.mixture.num_components
    components, distances = assign(model, patches.features)
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
    arrays = {**model.arrays, "examples/places": places, "examples/distances": usual}
    return model._replace(settings={**model.settings, "images": names}, arrays=arrays)


def diagnose(
    model: Model,
    features: Float[np.ndarray, "h w D"],
    scored: ScoredImage,
    calibration: Calibration | None = None,
    num_patches: int = 5,
) -> list[PatchDiagnosis]:
    """The most anomalous patches of an image, each with the component it was held against.

    Args:
        model: with examples, see `remember_examples`.
        features: patch features of the image.
        scored: its scores.
        calibration: for p-values.
        num_patches: how many.

    Raises:
        ValueError: the model holds no examples, or `num_patches` is below 1.
    """
    if "examples/places" not in model.arrays or num_patches < 1:
        raise ValueError(
            "model must hold examples of its components and num_patches be at least 1, got "
            f"{sorted(model.arrays)} and {num_patches}; fit it anew with Detector.fit."
        )
    order = np.argsort(-scored.patch_scores.reshape(-1), kind="stable")[:num_patches]
    flat = features.reshape(-1, features.shape[-1])
    components, distances = assign(model, flat[order])
    counts = np.asarray(model.posterior.counts)
    found = []
    for place, component, distance in zip(order, components, distances, strict=True):
        row, column = divmod(int(place), scored.frame.grid[1])
        score = float(scored.patch_scores[row, column])
        p_value = None
        if calibration is not None:
            p_value = float(p_values(calibration.patch, np.asarray(score)))
        usual = model.arrays["examples/distances"][component]
        found.append(
            PatchDiagnosis(
                row,
                column,
                scored.frame.box_of(row, column),
                score,
                p_value,
                int(component),
                float(counts[component] / counts.sum()),
                float(distance),
                (float(usual[0]), float(usual[1])),
                _examples_of(model, int(component)),
            )
        )
    return found


def component_map(
    model: Model, features: Float[np.ndarray, "h w D"]
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The component of every patch of an image, and the Mahalanobis distance to it."""
    components, distances = assign(model, features.reshape(-1, features.shape[-1]))
    return components.reshape(features.shape[:2]), distances.reshape(features.shape[:2])


@partial(jax.jit, static_argnums=0)
def _prepare(mixture: Mixture, posterior: Posterior) -> tuple[Predictive, Any]:
    """What densities and distances of all components need."""
    family: Any = mixture.family
    points = jax.vmap(family.point_params)(posterior.components)
    return predictive(mixture).prepare(posterior), points


@partial(jax.jit, static_argnums=0)
def _assign_tile(
    mixture: Mixture, params: tuple[Predictive, Any], x: Float[Array, "N D"]
) -> Float[Array, "N 2"]:
    """Component and distance of each patch, of prepared densities and point estimates."""
    family: Any = mixture.family
    prepared, points = params
    component = jnp.argmax(log_predictive_joint(mixture, prepared, x), axis=1)
    squares = family.squared_distance_matrix(points, centre(x, prepared.offset))
    own = jnp.take_along_axis(squares, component[:, None], axis=1)[:, 0]
    return jnp.stack([component.astype(own.dtype), jnp.sqrt(own)], axis=1)


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


def _examples_of(model: Model, component: int) -> tuple[TrainingPatch, ...]:
    names = model.settings["images"]
    return tuple(
        TrainingPatch(names[image], int(row), int(column))
        for image, row, column in model.arrays["examples/places"][component]
        if image >= 0
    )
