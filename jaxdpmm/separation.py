"""How compact the components of one posterior are, how far apart, and how often two of them claim one point.

Prototypes that are compact and apart leave room between them for anomalies to be seen in; components that overlap
share one kind of point between them, so that fewer would do. All of it comes from the two components that are most
probable at each point, in one pass over the points. What many draws of a posterior say is in `summaries.py`.

References:
    Park, Noh and Ham (2020), Learning memory-guided normality for anomaly detection (compactness and separateness).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from jaxdpmm.distances import squared_distances
from jaxdpmm.model import Mixture, Posterior, active_components
from jaxdpmm.programs import jitted
from jaxdpmm.scoring import component_means, in_tiles, predictive
from jaxdpmm.scoring.density import log_predictive_joint

CLAIM = 0.1  # least probability with which a second component claims a point


class Separation(NamedTuple):
    """Components against each other; nan where a component is nearest to no point, or stands alone.

    Attributes:
        num_points: points whose most probable component it is, (K,).
        within: root mean square distance of these points to the component's mean.
        between: distance of its mean to the nearest other mean of a component that holds data.
        neighbour: the component with that mean; -1 where there is none.
        overlap: mean probability that these points belong to the second most probable component instead.
        contested: share of these points that a second component claims with a probability of `CLAIM` or more.
    """

    num_points: Int[np.ndarray, " K"]
    within: Float[np.ndarray, " K"]
    between: Float[np.ndarray, " K"]
    neighbour: Int[np.ndarray, " K"]
    overlap: Float[np.ndarray, " K"]
    contested: Float[np.ndarray, " K"]

    def over_points(self) -> dict[str, float]:
        """Means over all points, and "within_over_between", which is small for compact components that are apart."""
        holds = (self.num_points > 0) & np.isfinite(self.between)
        weight = self.num_points[holds]
        mean = {
            name: float(np.average(getattr(self, name)[holds], weights=weight))
            if weight.sum()
            else float("nan")
            for name in ("within", "between", "overlap", "contested")
        }
        return mean | {"within_over_between": mean["within"] / mean["between"]}


def separation(
    mixture: Mixture, posterior: Posterior, x: Num[Array | np.ndarray, "N D"]
) -> Separation:
    """Compactness and separation of components on points, for example patches that were held out of the fit.

    Args:
        mixture: of components that have means.
        posterior: fitted.
        x: raw points.

    Raises:
        TypeError: components of this family have no means.
        ValueError: there are no points.
    """
    if not len(x):
        raise ValueError("x must hold at least one point, got none; give patches of normal images.")
    prepared = jitted(predictive(mixture).prepare)(posterior)
    means = jitted(component_means, mixture)(posterior)
    found = np.asarray(in_tiles(jitted(_best_two, mixture), (prepared, means), x))
    first, second, squares = found[:, 0].astype(int), found[:, 1], found[:, 2]
    num_components = mixture.num_components
    number = np.bincount(first, minlength=num_components)
    of_squares, overlap, contested = (
        _mean_by(first, values, number) for values in (squares, second, second >= CLAIM)
    )
    neighbour, between = _nearest_means(np.asarray(means), np.asarray(active_components(posterior)))
    return Separation(number, np.sqrt(of_squares), between, neighbour, overlap, contested)


def _best_two(mixture: Mixture, params: tuple, x: Float[Array, "N D"]) -> Float[Array, "N 3"]:
    """Number of the most probable component, probability of the second, squared distance to the mean of the first."""
    prepared, means = params
    joint = log_predictive_joint(mixture, prepared, x)
    probabilities = jax.nn.softmax(joint, axis=1)
    if joint.shape[1] == 1:
        probabilities = jnp.pad(probabilities, ((0, 0), (0, 1)))
    values, labels = jax.lax.top_k(probabilities, 2)
    squares = jnp.sum((x - means[labels[:, 0]]) ** 2, axis=1)
    return jnp.stack([labels[:, 0].astype(x.dtype), values[:, 1].astype(x.dtype), squares], axis=1)


def _mean_by(
    labels: Int[np.ndarray, " N"],
    values: Num[np.ndarray, " N"] | Bool[np.ndarray, " N"],
    number: Int[np.ndarray, " K"],
) -> Float[np.ndarray, " K"]:
    sums = np.bincount(labels, weights=values, minlength=len(number))
    return np.where(number > 0, sums / np.maximum(number, 1), np.nan)


def _nearest_means(
    means: Float[np.ndarray, "K D"], holds: Bool[np.ndarray, " K"]
) -> tuple[Int[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """The nearest other mean among the components that hold data, and its distance."""
    centred = jnp.asarray(means - means.mean(axis=0)[None])
    squares = np.array(squared_distances(centred, centred))
    squares[:, ~holds] = np.inf
    np.fill_diagonal(squares, np.inf)
    neighbour = np.argmin(squares, axis=1)
    distance = np.sqrt(squares[np.arange(len(means)), neighbour])
    alone = ~holds | ~np.isfinite(distance)
    return np.where(alone, -1, neighbour), np.where(alone, np.nan, distance)
