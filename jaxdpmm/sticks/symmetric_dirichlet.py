"""A finite symmetric Dirichlet, w ~ Dirichlet(alpha / K, ..., alpha / K): the control for the infinite priors.

In stick-breaking form v_k ~ Beta(alpha / K, (K - k) alpha / K), so that everything that works with sticks works with
it. As K grows it approaches the Dirichlet process with concentration alpha; unlike there, the order of the
components does not matter. Next file to read: `../model.py`.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm.sticks.concentration import FixedConcentration


@dataclass(frozen=True)
class SymmetricDirichlet(FixedConcentration):
    """Symmetric Dirichlet of total mass alpha, fixed at the mean of the Gamma that the prior holds.

    Total mass 1, the default, lets unused components empty themselves; K gives a uniform prior on the simplex.

    References:
        Ishwaran and Zarepour (2002), Exact and approximate sum representations for the Dirichlet process.
    """

    def prior_fractions(
        self, alpha: Float[Array, ""], num_components: int
    ) -> tuple[float | Array, float | Array]:
        """The shares alpha / K and (K - k) alpha / K."""
        share = alpha / num_components
        return share, share * jnp.arange(num_components - 1, 0, -1, dtype=alpha.dtype)
