"""Densities of points under a fitted mixture, and the scores made of them: minus the log density.

Three densities, in the order of how much of the posterior they use: the predictive integrates over all of it
(Student-t components for Gaussians) and is a true density; the plug-in takes point estimates; the expected one
has exp(E[log .]) in place of the average and integrates to less than one, but is what variational inference
optimises. All empty components are in, with what weight they have. Next file to read: `distance.py`.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm.model import Mixture, Posterior, Readout, centre, expected_readout, log_joint
from jaxdpmm.scoring.scorer import Scorer, score
from jaxdpmm.sticks import log_mean_weights


class Predictive(NamedTuple):
    """Prepared posterior predictive: log E[w_k] and the family's predictive parameters."""

    log_weights: Float[Array, " K"]
    params: Any
    offset: Array | None


@lru_cache
def predictive(mixture: Mixture) -> Scorer:
    """Minus the log posterior predictive density: log sum_k E[w_k] p(x | data of k), a true density."""

    def prepare(posterior: Posterior) -> Predictive:
        params = jax.vmap(mixture.family.predictive_params)(posterior.components)
        return Predictive(log_mean_weights(posterior.sticks), params, posterior.offset)

    def score(params: Predictive, x: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return -jax.nn.logsumexp(log_predictive_joint(mixture, params, x), axis=1)

    return Scorer(prepare, score)


def log_predictive_joint(
    mixture: Mixture, params: Predictive, x: Num[Array, "N ..."]
) -> Float[Array, "N K"]:
    """Log E[w_k] + log p(x | data of k) of raw points: normalised over k, the posterior of a point's component."""
    densities = mixture.family.log_predictive_matrix(params.params, centre(x, params.offset))
    return params.log_weights[None] + densities


@lru_cache
def plug_in(mixture: Mixture) -> Scorer:
    """Minus the log density at point estimates: log sum_k E[w_k] p(x | point estimate of k)."""

    def prepare(posterior: Posterior) -> Readout:
        params = jax.vmap(mixture.family.point_params)(posterior.components)
        return Readout(log_mean_weights(posterior.sticks), params, posterior.offset)

    return Scorer(prepare, partial(_minus_log_density, mixture))


@lru_cache
def expected(mixture: Mixture) -> Scorer:
    """Minus log sum_k exp(E[log w_k] + E[log p(x | theta_k)]), the local term of the ELBO."""
    return Scorer(partial(expected_readout, mixture), partial(_minus_log_density, mixture))


def log_predictive_density(
    mixture: Mixture, posterior: Posterior, x: Num[Array | np.ndarray, "N ..."]
) -> Float[np.ndarray, " N"]:
    """Log posterior predictive density of raw points in nats, (N,): exp of it integrates to one.

    scikit-learn's `score_samples` is minus the score `expected`, which does not (its issue 10148).
    """
    return -score(predictive(mixture), posterior, x)


def _minus_log_density(mixture: Mixture, readout: Readout, x: Array) -> Float[Array, " N"]:
    return -jax.nn.logsumexp(log_joint(mixture, readout, x), axis=1)
