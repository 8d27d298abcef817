"""NumPyro sites of each family: what `svi.py` asks of a component.

Two functions, chosen by the family's type: `component_readout` draws parameters (required), `component_variational`
holds what a structured guide learns (optional). Register both for a family of one's own; nothing here is conjugate by
necessity, so likelihoods that no other backend can take come in by this door. Importing this file loads NumPyro.
Next file to read: `svi.py`.
"""

from functools import singledispatch
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from jaxdpmm.families import (
    GaussianDiagonal,
    GaussianFull,
    GaussianParams,
    GaussianSpherical,
    Likelihood,
    NormalWishart,
    NormalWishartGaussian,
)
from jaxdpmm.families.gaussian import LOG_TWO_PI


@singledispatch
def component_readout(family: Likelihood, natural: Any) -> Any:
    """Draw the parameters of all components from NumPyro sites, inside a plate of size K.

    The one function to write for a family of one's own, non-conjugate ones included:

        @component_readout.register
        def _(family: PoissonGamma, natural):
            return numpyro.sample("log_rate", ...)

    Args:
        family: which family; the function is chosen by its type.
        natural: natural parameters, leaves lead with K: the prior's in the model, the variational ones in the guide.

    Returns:
        Parameters that `family.log_likelihood_matrix` takes, leaves lead with K.

    Raises:
        TypeError: nothing is registered for this family.
    """
    del natural
    raise TypeError(
        f"{type(family).__name__} has no NumPyro sites: expected a function registered with "
        "component_readout.register, got none; write it (see its docstring), or use cavi or gibbs, which need none."
    )


@component_readout.register
def _(family: GaussianDiagonal, natural: NormalWishart) -> GaussianParams:
    shape = jnp.broadcast_to(0.5 * natural.dof[:, None], natural.second.shape)
    precision = numpyro.sample("precision", dist.Gamma(shape, 0.5 * _scale(natural)).to_event(1))
    mean = _mean(natural, jnp.sqrt(precision))
    log_det = jnp.sum(jnp.log(precision), axis=1)
    return GaussianParams(mean, jnp.sqrt(precision), _log_constant(log_det, family.dim))


@component_readout.register
def _(family: GaussianSpherical, natural: NormalWishart) -> GaussianParams:
    site = dist.Gamma(0.5 * family.dim * natural.dof, 0.5 * _scale(natural))
    precision = numpyro.sample("precision", site)
    factor = jnp.sqrt(precision)
    mean = _mean(natural, jnp.broadcast_to(factor[:, None], natural.first.shape))
    return GaussianParams(mean, factor, _log_constant(family.dim * jnp.log(precision), family.dim))


@component_readout.register
def _(family: GaussianFull, natural: NormalWishart) -> GaussianParams:
    # NumPyro's Cholesky factors are lower triangular, ours upper: with J the reversal of the features,
    # Lambda = U U' and J Lambda J = (J U J) (J U J)'.
    inverse = _inverse_transposed(jnp.linalg.cholesky(_scale(natural)), True)[:, ::-1, ::-1]
    site = dist.WishartCholesky(natural.dof, scale_tril=inverse)
    factor = numpyro.sample("precision_cholesky", site)[:, ::-1, ::-1]
    deviation = _inverse_transposed(factor, False) / jnp.sqrt(natural.mean_count)[:, None, None]
    location = natural.first / natural.mean_count[:, None]
    mean = numpyro.sample("mean", dist.MultivariateNormal(location, scale_tril=deviation))
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), axis=1)
    return GaussianParams(mean, factor, _log_constant(log_det, family.dim))


@singledispatch
def component_variational(family: Likelihood, start: Any) -> Any:
    """Natural parameters of all components from `numpyro.param`s; what a structured guide learns.

    Args:
        family: which family; the function is chosen by its type.
        start: natural parameters to start from, leaves lead with K.

    Raises:
        TypeError: nothing is registered for this family.
    """
    del start
    raise TypeError(
        f"{type(family).__name__} has no structured guide: expected a function registered with "
        "component_variational.register, got none; write it, or use AutoNormal(model)."
    )


@component_variational.register
def _(family: NormalWishartGaussian, start: NormalWishart) -> NormalWishart:
    is_full, lowest = start.second.ndim == 3, family.least_dof
    scale_support = constraints.positive_definite if is_full else constraints.positive
    location = start.first / start.mean_count[:, None]
    mean_count = numpyro.param("q_mean_count", start.mean_count, constraint=constraints.positive)
    dof = numpyro.param("q_dof", start.dof, constraint=constraints.greater_than(lowest))
    scale = numpyro.param("q_scale", _scale(start), constraint=scale_support)
    first = numpyro.param("q_mean", location) * mean_count[:, None]
    second = scale + _outer(first, mean_count, scale)
    return NormalWishart(first, second, mean_count, dof)


def _mean(natural: NormalWishart, factor: Float[Array, "K D"]) -> Float[Array, "K D"]:
    deviation = 1 / (factor * jnp.sqrt(natural.mean_count)[:, None])
    location = natural.first / natural.mean_count[:, None]
    return numpyro.sample("mean", dist.Normal(location, deviation).to_event(1))


def _inverse_transposed(factor: Float[Array, "K D D"], is_lower: bool) -> Float[Array, "K D D"]:
    identity = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    return jax.vmap(lambda one: solve_triangular(one, identity, lower=is_lower).T)(factor)


def _log_constant(log_det: Float[Array, " K"], dim: int) -> Float[Array, " K"]:
    return 0.5 * (log_det - dim * LOG_TWO_PI)


def _scale(natural: NormalWishart) -> Array:
    """Psi of all components, (K, D, D), (K, D) or (K,)."""
    return natural.second - _outer(natural.first, natural.mean_count, natural.second)


def _outer(first: Float[Array, "K D"], mean_count: Float[Array, " K"], like: Array) -> Array:
    """The product first first' / kappa within the structure of the covariance that `like` has."""
    location = first / mean_count[:, None]
    if like.ndim == 3:
        return first[:, :, None] * location[:, None, :]
    return first * location if like.ndim == 2 else jnp.sum(first * location, axis=1)
