"""Which component every patch belongs to: the most probable one, and how far from it the patch is.

Read `diagnosis.py` next, which says what is known of single patches.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.families import Gaussian
from jaxdpmm.model import Mixture, Posterior, centre
from jaxdpmm.scoring import in_tiles, predictive
from jaxdpmm.scoring.density import Predictive, log_predictive_joint
from jaxdpmm.scoring.scorer import TILE_SIZE


def assign(
    state: DetectorState, features: Any
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The most probable component of every patch, and the distance to it.

    Args:
        state: with any family.
        features: (N, D), in memory or a `FeatureStore`.

    Returns:
        Numbers of components, and distances: Mahalanobis distance of a Gaussian, else minus the log predictive density
        of the patch under its component, in nats.
    """
    params = _prepare(state.mixture, state.posterior)
    assign_tile = partial(_assign_tile, state.mixture)
    features = reduce_features(state.reduction, features)
    parts = [
        in_tiles(assign_tile, params, np.asarray(features[start : start + TILE_SIZE]))
        for start in range(0, len(features), TILE_SIZE)
    ]
    found = np.concatenate(parts)
    return found[:, 0].astype(int), found[:, 1]


def compile_components(state: DetectorState) -> Callable[[Any], Int[np.ndarray, "..."]]:
    """Function from patch features (..., D) to the most probable component of each patch, (...).

    Args:
        state: with any family; it is prepared once.
    """
    params = _prepare(state.mixture, state.posterior)
    assign_tile = partial(_assign_tile, state.mixture)

    def components_of(features: Any) -> Int[np.ndarray, "..."]:
        flat = np.asarray(features).reshape(-1, features.shape[-1])
        found = in_tiles(assign_tile, params, reduce_features(state.reduction, flat))
        return np.asarray(found)[:, 0].astype(int).reshape(features.shape[:-1])

    return components_of


def component_map(
    state: DetectorState, features: Float[np.ndarray, "h w D"]
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The component of every patch of an image, and the distance to it, see `assign`."""
    components, distances = assign(state, features.reshape(-1, features.shape[-1]))
    return components.reshape(features.shape[:2]), distances.reshape(features.shape[:2])


@partial(jax.jit, static_argnums=0)
def _prepare(mixture: Mixture, posterior: Posterior) -> tuple[Predictive, Any]:
    """What densities and distances of all components need."""
    prepared, points = predictive(mixture).prepare(posterior), None
    if isinstance(mixture.family, Gaussian):
        points = jax.vmap(mixture.family.point_params)(posterior.components)
    return prepared, points


@partial(jax.jit, static_argnums=0)
def _assign_tile(
    mixture: Mixture, params: tuple[Predictive, Any], x: Float[Array, "N D"]
) -> Float[Array, "N 2"]:
    """Component and distance of each patch, of prepared densities and point estimates."""
    prepared, points = params
    joint = log_predictive_joint(mixture, prepared, x)
    component = jnp.argmax(joint, axis=1)
    if isinstance(mixture.family, Gaussian):
        squares = mixture.family.squared_distance_matrix(points, centre(x, prepared.offset))
        of_all = jnp.sqrt(squares)
    else:
        of_all = prepared.log_weights[None] - joint
    own = jnp.take_along_axis(of_all, component[:, None], axis=1)[:, 0]
    return jnp.stack([component.astype(own.dtype), own], axis=1)
