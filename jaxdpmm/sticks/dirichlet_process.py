"""The Dirichlet process: v_k ~ Beta(1, alpha), alpha fixed or under a Gamma prior and inferred.

Next file to read: `pitman_yor.py`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.sticks.base import Gamma
from jaxdpmm.sticks.concentration import GammaConcentration


@dataclass(frozen=True)
class DirichletProcess(GammaConcentration):
    """Dirichlet process sticks.

    Attributes:
        infer_concentration: True: alpha ~ Gamma(shape, rate), and q(alpha) is a Gamma too. False: alpha is
            fixed at the mean shape / rate of that Gamma.

    References:
        Blei and Jordan (2006), Variational inference for Dirichlet process mixtures; appendix for q(alpha).
    """

    infer_concentration: bool = True

    def prior_fractions(
        self, alpha: Float[Array, ""], num_components: int
    ) -> tuple[float | Array, float | Array]:
        """1 and alpha, the same for every stick."""
        del num_components
        return 1.0, alpha

    def log_normaliser(
        self, log_alpha: Float[Array, ""], num_components: int
    ) -> Float[Array, " J"]:
        """-log B(1, alpha) = log alpha."""
        return jnp.full(num_components - 1, log_alpha)

    def draw_concentration(
        self, key: PRNGKeyArray, log_weights: Float[Array, " K"], prior: Gamma
    ) -> tuple[Float[Array, ""], Gamma]:
        """Draw alpha from Gamma(shape + K - 1, rate - sum_k log(1 - v_k)); with v_K = 1, the sum is log w_K.

        References:
            Ishwaran and James (2001), section 5.3; Escobar and West (1995) without truncation.
        """
        given = Gamma(prior.shape + len(log_weights) - 1, prior.rate - log_weights[-1])
        draw = jax.random.gamma(key, given.shape, dtype=given.shape.dtype)
        return draw / given.rate, given
