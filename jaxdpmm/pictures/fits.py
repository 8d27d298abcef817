"""Pictures of a fit: its objective and components over sweeps, their sizes beside the prior, the density of points.

Next file to read: `components.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxdpmm.inference.history import Epoch
from jaxdpmm.model import Mixture, Posterior, Prior
from jaxdpmm.scoring import log_predictive_density
from jaxdpmm.sticks import Sticks, log_mean_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTSIDE = (0.01, 0.1, 0.25, 0.5, 0.75)  # shares of the points that lie outside of each contour
_GRID = 100
_MARGIN = 0.1  # of the range of the points, on each side


def draw_objective(axes: "Axes", history: Sequence[Epoch]) -> "Axes":
    """Axes with the objective over sweeps, in nats for all data.

    Args:
        axes: to draw into.
        history: of `FitResult`.
    """
    numbers = [epoch.number for epoch in history]
    axes.plot(numbers, [epoch.objective for epoch in history], marker=".")
    axes.set(xlabel="sweep", ylabel="objective, nats")
    return axes


def draw_active(axes: "Axes", history: Sequence[Epoch]) -> "Axes":
    """Axes with the number of components that hold data over sweeps.

    Args:
        axes: to draw into.
        history: of `FitResult`.
    """
    numbers = [epoch.number for epoch in history]
    active = [epoch.num_active for epoch in history]
    axes.plot(numbers, active, marker=".", drawstyle="steps-post")
    axes.set(xlabel="sweep", ylabel="components with data", ylim=(0, None))
    return axes


def draw_sizes(axes: "Axes", mixture: Mixture, prior: Prior, posterior: Posterior) -> "Axes":
    """Axes with the expected number of points of each component, beside what the prior alone expects.

    Both are sorted, largest first. The prior's line is E[w_k] at its mean concentration times the number of points.

    Args:
        axes: to draw into.
        mixture: static description.
        prior: hyper-parameters.
        posterior: fitted.
    """
    counts = np.sort(np.asarray(posterior.counts))[::-1]
    expected = np.sort(_prior_shares(mixture, prior))[::-1] * counts.sum()
    places = np.arange(1, len(counts) + 1)
    axes.bar(places, counts, label="posterior")
    axes.plot(places, expected, color="C1", label="prior")
    axes.set(xlabel="component, by size", ylabel="expected number of points")
    axes.legend()
    return axes


def draw_density(axes: "Axes", mixture: Mixture, posterior: Posterior, x: ArrayLike) -> "Axes":
    """Axes with two-dimensional points and contours of their predictive density.

    Outside of the contours lie 1, 10, 25, 50 and 75 % of the points.

    Args:
        axes: to draw into.
        mixture: static description, of a family of points with two coordinates.
        posterior: fitted.
        x: points, (N, 2), at least one.

    Raises:
        ValueError: points without exactly two coordinates, or none.
    """
    x = np.asarray(x, np.asarray(posterior.counts).dtype)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(
            f"x must have shape (N, 2) with at least one point, got {x.shape}; draw two coordinates, of a mixture "
            "that was fitted to them."
        )
    low, high = x.min(axis=0), x.max(axis=0)
    margin = _MARGIN * np.maximum(high - low, np.finfo(x.dtype).tiny)
    across, up = np.linspace(low - margin, high + margin, _GRID, dtype=x.dtype).T
    grid = np.stack(np.meshgrid(across, up), axis=-1)
    log_density = log_predictive_density(mixture, posterior, grid.reshape(-1, 2))
    levels = np.quantile(log_predictive_density(mixture, posterior, x), _OUTSIDE)
    axes.scatter(x[:, 0], x[:, 1], s=4, color="0.6")
    axes.contour(across, up, log_density.reshape(_GRID, _GRID), levels=np.unique(levels))
    return axes


def _prior_shares(mixture: Mixture, prior: Prior) -> Float[np.ndarray, " K"]:
    """E[w_k] of the prior at its mean concentration."""
    alpha = mixture.sticks.mean_concentration(prior.concentration)
    no_points = jnp.zeros(mixture.num_components, alpha.dtype)
    a, b = mixture.sticks.fractions(no_points, alpha)
    return np.asarray(jnp.exp(log_mean_weights(Sticks(a, b, prior.concentration))))
