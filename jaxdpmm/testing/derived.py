"""The functions of a family that follow from its two required ones, and how each is evaluated for comparison.

Not here: the comparison and its sentences, which are in `family.py`. Next file to read: `sticks.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdpmm.families import Family


class OnlyRequired(Family):
    """The same family without its overrides: everything derived by autodiff and vmap."""

    def __init__(self, family: Family):
        self._family = family

    def sufficient_statistics(self, x: Any) -> Any:
        """The family's own."""
        return self._family.sufficient_statistics(x)

    def log_partition(self, natural: Any) -> Any:
        """The family's own."""
        return self._family.log_partition(natural)

    def log_base_measure(self, x: Any) -> Any:
        """The family's own."""
        return self._family.log_base_measure(x)


def _each_point(params: str, density: str) -> Callable:
    """Densities of all points under one component."""

    def of(family: Family, natural: Any, prior: Any, x: Any) -> Any:
        found = getattr(family, params)(natural)
        return jax.vmap(lambda point: getattr(family, density)(found, point))(x)

    return of


def _matrix(params: str, density: str) -> Callable:
    """Densities of all points under two components."""

    def of(family: Family, natural: Any, prior: Any, x: Any) -> Any:
        components = jax.tree.map(lambda a, b: jnp.stack([a, 0.5 * (a + b)]), natural, prior)
        return getattr(family, density)(jax.vmap(getattr(family, params))(components), x)

    return of


def _weighted(family: Family, natural: Any, prior: Any, x: Any) -> Any:
    weights = jnp.linspace(
        0.1, 1.0, 2 * x.shape[0], dtype=jax.tree.leaves(natural)[0].dtype
    ).reshape(-1, 2)
    return family.weighted_statistics(x, weights)


# Each group is compiled as one program. In one for all, several batches of matrices could be factorised at a time, and
# jaxlib 0.10's LAPACK calls on CPU wait for each other for ever when more batches run at once than there are threads.
_GROUPS: list[dict[str, Callable]] = [
    {
        "log_partition": lambda family, natural, prior, x: family.log_partition(natural),
        "expected_natural": lambda family, natural, prior, x: family.expected_natural(natural),
        "kl_divergence": lambda family, natural, prior, x: family.kl_divergence(natural, prior),
        "log_likelihood (or expected_params)": _each_point("expected_params", "log_likelihood"),
        "weighted_statistics": _weighted,
        "log_likelihood_matrix": _matrix("expected_params", "log_likelihood_matrix"),
    },
    {"log_predictive (or predictive_params)": _each_point("predictive_params", "log_predictive")},
    {"log_predictive_matrix": _matrix("predictive_params", "log_predictive_matrix")},
]
DERIVED = {name: of for group in _GROUPS for name, of in group.items()}


def evaluate(family: Family, natural: Any, prior: Any, x: Array) -> dict[str, Any]:
    """Values of all derived functions."""

    def compiled(group: Any) -> Any:
        return jax.jit(lambda *args: {name: of(family, *args) for name, of in group.items()})

    values = [compiled(group)(natural, prior, x) for group in _GROUPS]
    return {name: value for of_group in values for name, value in of_group.items()}
