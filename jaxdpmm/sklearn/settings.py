"""From scikit-learn's parameters to the library's mixture and prior.

Values have the meaning that they have in `BayesianGaussianMixture`; None stands for this library's own weak
priors, from weighted data. Next file to read: `outliers.py`.
"""

import warnings
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.checks import check_choice
from jaxdpmm.families import (
    GaussianDiagonal,
    GaussianFull,
    GaussianSpherical,
    GaussianTied,
    NormalWishartGaussian,
)
from jaxdpmm.families.gaussian import DEFAULT_MEAN_COUNT
from jaxdpmm.model import Mixture, Prior
from jaxdpmm.sticks import DirichletProcess, Gamma, StickBreaking, SymmetricDirichlet

COVARIANCES: dict[str, type[NormalWishartGaussian]] = {
    "full": GaussianFull,
    "tied": GaussianTied,
    "diag": GaussianDiagonal,
    "spherical": GaussianSpherical,
}
LARGEST_SHARE_BEYOND = 0.5  # of the weight, beyond the truncation
INITS = ("kmeans", "coverage")
STICKS = ("dirichlet_process", "dirichlet_distribution")


class Priors(NamedTuple):
    """Priors as a user of scikit-learn gives them; None for the default."""

    weight_concentration: float | None
    mean: Any
    mean_precision: float | None
    degrees_of_freedom: float | None
    covariance: Any


def check_settings(estimator: Any) -> None:
    """What can be checked of an estimator's parameters without data.

    Raises:
        ValueError: one of them is out of its range.
    """
    for name, default in (("n_components", 20), ("max_iter", 100), ("n_init", 1)):
        value = getattr(estimator, name)
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(
                f"{name} must be a whole number of at least 1, got {value!r}; the default is {default}."
            )
    if not isinstance(estimator.tol, Real) or not float(estimator.tol) >= 0:
        raise ValueError(
            f"tol must be a number of nats per point, at least 0, got {estimator.tol!r}; the default is 0.001."
        )
    if estimator.covariance_type not in COVARIANCES:
        raise ValueError(
            f"covariance_type must be 'full', 'tied', 'diag' or 'spherical', got {estimator.covariance_type!r}; "
            "choose one of them."
        )
    for name, choices in (("init_params", INITS), ("weight_concentration_prior_type", STICKS)):
        check_choice(name, getattr(estimator, name), choices)
    for name in ("weight_concentration_prior", "mean_precision_prior", "degrees_of_freedom_prior"):
        value = getattr(estimator, name)
        if value is not None and not (isinstance(value, Real) and float(value) > 0):
            raise ValueError(
                f"{name} must be a positive number or None, got {value!r}; leave it out for the default."
            )


def tell_of_contradiction(estimator: Any) -> None:
    """Warn where a given alpha expects most of the weight beyond the truncation.

    A stick-breaking process of concentration alpha leaves (alpha / (1 + alpha))^K beyond its first K components, which
    the last one has to take (Ishwaran and James, 2001, Gibbs Sampling Methods for Stick-Breaking Priors, JASA).
    """
    alpha, number = estimator.weight_concentration_prior, int(estimator.n_components)
    if alpha is None or estimator.weight_concentration_prior_type != "dirichlet_process":
        return
    beyond = float(np.exp(-number * np.log1p(1 / float(alpha))))
    if beyond > LARGEST_SHARE_BEYOND:
        needed = int(np.ceil(np.log(1 / LARGEST_SHARE_BEYOND) / np.log1p(1 / float(alpha))))
        warnings.warn(
            f"weight_concentration_prior must leave most of the weight to the {number} components of n_components, got "
            f"{alpha:g}, which expects {beyond:.0%} beyond them; use at least {needed} components, a smaller alpha, or "
            "None to infer it.",
            stacklevel=4,
        )


def mixture_of(estimator: Any, dim: int) -> Mixture:
    """The mixture that an estimator's parameters describe, for points of `dim` features."""
    family = COVARIANCES[estimator.covariance_type](dim)
    return Mixture(family, int(estimator.n_components), _sticks_of(estimator))


def prior_of(
    mixture: Mixture, priors: Priors, x: Float[np.ndarray, "N D"], weight: Float[np.ndarray, " N"]
) -> Prior:
    """The prior that an estimator's parameters describe; what they leave open comes from weighted data.

    Args:
        mixture: static description.
        priors: as given by the user.
        x: all points.
        weight: their weights.

    Raises:
        ValueError: of a wrong shape, or no covariance.
    """
    family: Any = mixture.family
    offset = jnp.asarray(np.average(x, axis=0, weights=weight).astype(x.dtype))
    mean = jnp.zeros_like(offset)
    if priors.mean is not None:
        mean = _checked("mean_prior", priors.mean, (family.dim,), x.dtype) - offset
    dof = _degrees_of_freedom(family, priors.degrees_of_freedom)
    if priors.covariance is None:
        covariance = _data_covariance(mixture, jnp.asarray(x), jnp.asarray(weight), offset)
    else:
        covariance = _given_covariance(family, priors.covariance, x.dtype) / dof
    count = priors.mean_precision or DEFAULT_MEAN_COUNT
    component = family.prior(mean, covariance, float(count), dof)
    return Prior(component, _concentration_prior(mixture, priors, x.dtype), offset)


def _sticks_of(estimator: Any) -> StickBreaking:
    if estimator.weight_concentration_prior_type == "dirichlet_distribution":
        return SymmetricDirichlet()
    return DirichletProcess(infer_concentration=estimator.weight_concentration_prior is None)


def _concentration_prior(mixture: Mixture, priors: Priors, dtype: Any) -> Gamma:
    """A Gamma whose mean is alpha; scikit-learn gives a Dirichlet's mass by component, the library the total."""
    given = priors.weight_concentration
    if given is None:
        return mixture.sticks.default_prior(dtype)
    is_finite = isinstance(mixture.sticks, SymmetricDirichlet)
    total = given * mixture.num_components if is_finite else given
    return Gamma(jnp.asarray(total, dtype), jnp.ones((), dtype))


def _degrees_of_freedom(family: NormalWishartGaussian, given: float | None) -> float:
    if given is not None and given <= family.least_dof:
        raise ValueError(
            f"degrees_of_freedom_prior must be above {family.least_dof:g} for {family.dim} features, got {given}; "
            "leave it out for the default."
        )
    return float(family.default_dof if given is None else given)


def _data_covariance(
    mixture: Mixture, x: Float[Array, "N D"], weight: Float[Array, " N"], offset: Float[Array, " D"]
) -> Array:
    """The data's, times K^(-2/D): components that tile the data have each 1/K of its volume."""
    family: Any = mixture.family
    scaled = (x - offset[None]) * jnp.sqrt(weight)[:, None]
    return family.covariance(scaled, jnp.sum(weight)) * mixture.num_components ** (
        -2.0 / family.dim
    )


def _given_covariance(family: NormalWishartGaussian, given: Any, dtype: Any) -> Array:
    shape = jax.eval_shape(family.covariance, jax.ShapeDtypeStruct((1, family.dim), dtype)).shape
    covariance = _checked("covariance_prior", given, shape, dtype)
    is_matrix = covariance.ndim == 2
    smallest = np.linalg.eigvalsh(covariance)[0] if is_matrix else np.min(covariance)
    if smallest <= 0 or (is_matrix and not np.allclose(covariance, covariance.T)):
        kind = "symmetric and positive definite" if is_matrix else "positive"
        raise ValueError(
            f"covariance_prior must be {kind}, got one whose smallest eigenvalue is {smallest:.3g}; "
            "leave it out for the data's own."
        )
    return covariance


def _checked(name: str, given: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    try:
        array = np.asarray(given, dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} must be numbers of shape {shape}, got {given!r}; leave it out for the data's own."
        ) from error
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite and have shape {shape}, got shape {array.shape}; "
            "leave it out for the data's own."
        )
    return jnp.asarray(array)
