"""Likelihoods without a conjugate prior: one function, and only gradients to fit it with.

Next file to read: `../inference/numpyro/svi.py`, the backend that takes them.
"""

import abc
from typing import Any, NoReturn

from jaxtyping import Array, Float, Num

from jaxdpmm.families.base import Family, Params


class Likelihood(Family):
    """A component with any likelihood; its prior is what `component_readout.register` says. Required: `log_likelihood`.

    Fit it with `inference.numpyro.svi` (any guide, or NUTS) and score draws with `scoring.uncertainty`; whatever needs
    T(x) or A raises a TypeError that says so.
    """

    @abc.abstractmethod
    def log_likelihood(self, params: Params, x: Num[Array, "..."]) -> Float[Array, ""]:
        """Log p(x | params): one component, one point."""

    def sufficient_statistics(self, x: Num[Array, "..."]) -> Any:
        """There are none.

        Raises:
            TypeError: always.
        """
        self._refuse("sufficient_statistics")

    def log_partition(self, natural: Any) -> Float[Array, ""]:
        """There is none.

        Raises:
            TypeError: always.
        """
        self._refuse("log_partition")

    def _refuse(self, function: str) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} has no {function}: expected a conjugate Family, got a Likelihood; fit it with "
            "numpyro_model of jaxdpmm.inference.numpyro.svi."
        )
