"""NumPyro's Wishart and normal distribution, given each triangular factor together with its inverse.

NumPyro's own densities solve triangular systems by batches of LAPACK calls, which may wait for each other for ever on
a CPU (`families/factorize.py` says why). With both factors at hand everything is a matrix product. Next file to read:
`families.py`.
"""

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import multigammaln
from jaxtyping import Array, Float
from numpyro.distributions.kl import kl_divergence

from jaxdpmm.families.gaussian import LOG_TWO_PI
from jaxdpmm.precision import full_precision


class WishartOfFactors(dist.WishartCholesky):
    """Lower Cholesky factor of a Wishart matrix, whose scale matrix is S S'.

    Args:
        concentration: degrees of freedom nu, (K,).
        scale_tril: S, lower triangular, (K, D, D).
        inverse_tril: S^-1.
    """

    pytree_data_fields = ("inverse_tril",)

    def __init__(self, concentration: Array, scale_tril: Array, inverse_tril: Array):
        super().__init__(concentration, scale_tril=scale_tril)
        self.inverse_tril = inverse_tril

    @full_precision()
    def log_prob(self, value: Float[Array, "*S D D"]) -> Float[Array, "*S"]:
        """Log density of the factor V, for matrices V V': that of `WishartCholesky`."""
        dim = value.shape[-1]
        half = 0.5 * self.concentration
        trace = jnp.sum((self.inverse_tril @ value) ** 2, axis=(-2, -1))
        orders = self.concentration[..., None] - jnp.arange(1, dim + 1)
        diagonal = jnp.sum(orders * jnp.log(_diagonal(value)), axis=-1)
        constant = dim * (1 - half) * jnp.log(2.0) - multigammaln(half, dim)
        scale = self.concentration * jnp.sum(jnp.log(_diagonal(self.inverse_tril)), axis=-1)
        return diagonal - 0.5 * trace + constant + scale


class NormalOfFactors(dist.MultivariateNormal):
    """Normal distribution with covariance S S'.

    Args:
        loc: mean, (K, D).
        scale_tril: S, lower triangular, (K, D, D).
        inverse_tril: S^-1.
    """

    pytree_data_fields = ("inverse_tril",)

    def __init__(self, loc: Array, scale_tril: Array, inverse_tril: Array):
        super().__init__(loc, scale_tril=scale_tril)
        self.inverse_tril = inverse_tril

    @full_precision()
    def log_prob(self, value: Float[Array, "*S D"]) -> Float[Array, "*S"]:
        """Log density of points, (K,) or with leading axes."""
        squares = _squared_lengths(self.inverse_tril, value - self.loc)
        log_det = jnp.sum(jnp.log(_diagonal(self.inverse_tril)), axis=-1)
        return log_det - 0.5 * (squares + value.shape[-1] * LOG_TWO_PI)


@kl_divergence.register(NormalOfFactors, NormalOfFactors)
@full_precision()
def _(p: NormalOfFactors, q: NormalOfFactors) -> Array:
    spread = jnp.sum((q.inverse_tril @ p.scale_tril) ** 2, axis=(-2, -1))
    squares = _squared_lengths(q.inverse_tril, p.loc - q.loc)
    ratio = jnp.log(_diagonal(p.inverse_tril)) - jnp.log(_diagonal(q.inverse_tril))
    return 0.5 * (spread + squares - p.loc.shape[-1]) + jnp.sum(ratio, axis=-1)


def _squared_lengths(factor: Float[Array, "*K D D"], x: Float[Array, "*S D"]) -> Float[Array, "*S"]:
    return jnp.sum((factor @ x[..., None]) ** 2, axis=(-2, -1))


def _diagonal(matrix: Float[Array, "*K D D"]) -> Float[Array, "*K D"]:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)
