"""What one mixture component looks like, and nothing more: a likelihood p(x | params).

A `Likelihood` without a conjugate prior is fitted by gradients (`../inference/numpyro/svi.py`, any guide, or NUTS), its
prior is what `component_readout.register` says, and draws are scored with `../scoring/uncertainty.py`. All else needs a
`Family`, which is a likelihood with its conjugate prior: `base.py`, the next file to read.
"""

import abc
import inspect
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, Num

from jaxdpmm.precision import full_precision

Params = Any  # a tree of the family's choice

RANKS = "proposal_matrix"  # the one function whose products may be rounded, see `../precision.py`


class Likelihood(abc.ABC):
    """A component with any likelihood. Required: `log_likelihood`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Every public function but RANKS computes in full float32, so that no family has to ask for it."""
        super().__init_subclass__(**kwargs)
        _compute_in_full_precision(cls)

    @property
    def point_shape(self) -> tuple[int, ...] | None:
        """Shape of one point, for the check of user data; None when any shape is right."""
        return None

    @abc.abstractmethod
    def log_likelihood(self, params: Params, x: Num[Array, "..."]) -> Float[Array, ""]:
        """Log p(x | params): one component, one point."""

    def log_likelihood_matrix(self, params: Params, x: Num[Array, "N ..."]) -> Float[Array, "N K"]:
        """`log_likelihood` of every point under every component; leaves of `params` lead with K."""
        return every_pair(self.log_likelihood, params, x)


def every_pair(
    of: Callable[[Params, Array], Array], params: Params, x: Num[Array, "N ..."]
) -> Float[Array, "N K"]:
    """`of(params of one component, one point)` of all pairs; leaves of `params` lead with K."""
    return jax.vmap(lambda point: jax.vmap(lambda one: of(one, point))(params))(x)


def _compute_in_full_precision(family: type) -> None:
    for name, function in list(vars(family).items()):
        if inspect.isfunction(function) and not name.startswith("_") and name != RANKS:
            setattr(family, name, full_precision()(function))


_compute_in_full_precision(Likelihood)
