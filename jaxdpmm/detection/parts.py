"""Which mixture and which backend the settings name: any family, prior of the weights and backend of the library.

A family or a prior of the weights of one's own is an object in the settings, where the library's have names. Parts that
do not go together, such as Gibbs sampling of a family that cannot be sampled, are refused before images are read.
Next file to read: `fitting.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdpmm import families, sticks
from jaxdpmm.choices import COVARIANCES, FAMILIES, STICKS, names_of
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.scores.joint import columns
from jaxdpmm.families import Family, Gaussian, GaussianFull, GaussianLowRank
from jaxdpmm.inference import (
    Algorithm,
    Layout,
    LocalStep,
    candidates,
    cavi,
    dense,
    gibbs,
    initialize,
    memoized,
    nearest_mean,
    online_em,
    paper_preset,
    paper_start,
    stochastic,
)
from jaxdpmm.model import Batch, Mixture, Posterior, Prior, default_prior
from jaxdpmm.sticks import StickBreaking
from jaxdpmm.storage.model_trees import template_of

COSTLY = (GaussianFull, GaussianLowRank)  # their densities cost more than D operations each
WITH_LOCAL_STEP: Mapping[str, Callable[..., Algorithm]] = {
    "cavi": cavi,
    "memoized": memoized,
    "stochastic": stochastic,
    "online_em": online_em,
}
STEPWISE = ("stochastic", "online_em", "paper")  # they forget earlier batches
PATCHES_PER_STEP = 12_288  # as published: 12 images of 1,024 patches
SAMPLE = 8  # points of a fit that is traced and never run


def mixture_of(config: DetectorConfig, dim: int, num_components: int) -> Mixture:
    """The mixture that the settings describe.

    Args:
        config: settings.
        dim: number of features, after they are reduced.
        num_components: truncation K.

    Raises:
        ValueError: the family of the settings is one of other points.
    """
    family = _family_of(config, dim)
    if family.point_shape not in (None, (dim,)):
        raise ValueError(
            f"family must be one of points of shape ({dim},), as the features are, got {family} with points of shape "
            f"{family.point_shape}; make it for {dim} features, or set num_principal."
        )
    weights = config.weights
    if not isinstance(weights, StickBreaking):
        weights = getattr(sticks, STICKS[weights])()
    return Mixture(family, num_components, weights)


def algorithm_of(
    config: DetectorConfig, mixture: Mixture, prior: Prior, local_step: LocalStep | None = None
) -> Algorithm:
    """The backend that the settings name, ready to fit; its `prior` is the one that it is fitted under.

    Args:
        config: settings.
        mixture: from `mixture_of`.
        prior: from the data; the published algorithm has one of its own.
        local_step: the E-step; None for what suits the family and the start.

    Raises:
        TypeError: the published algorithm of a family that is not Gaussian.
    """
    if config.backend == "gibbs":
        return gibbs(mixture, prior)
    local_step = local_step or local_step_of(config, mixture)
    if config.backend == "paper":
        algorithm, none = paper_preset(mixture, local_step)
        dtype = jax.tree.leaves(prior.component)[0].dtype  # of the features
        return algorithm._replace(prior=jax.tree.map(lambda leaf: leaf.astype(dtype), none))
    return WITH_LOCAL_STEP[config.backend](mixture, prior, local_step=local_step)


def local_step_of(config: DetectorConfig, mixture: Mixture) -> LocalStep:
    """The E-step that suits the family and the start; without sweeps the start's own, to the nearest mean."""
    if not config.sweeps() and config.start == "coverage" and isinstance(mixture.family, Gaussian):
        return nearest_mean()
    is_costly = config.start == "coverage" or type(mixture.family) in COSTLY
    return candidates() if is_costly else dense


def batch_size_of(config: DetectorConfig) -> int | None:
    """Patches per step of backends that make many steps per sweep, in random order; None for what `fit` takes."""
    if config.backend not in STEPWISE:
        return config.batch_size
    return config.batch_size or PATCHES_PER_STEP


def start_of(
    config: DetectorConfig, algorithm: Algorithm, features: Any, key: PRNGKeyArray
) -> Posterior:
    """Where the fit starts: as the settings say, or as published for the published algorithm.

    Args:
        config: settings.
        algorithm: from `algorithm_of`.
        features: (N, D), in memory or a `FeatureStore`.
        key: random key.
    """
    mixture, prior = algorithm.mixture, algorithm.prior
    if config.backend == "paper":
        batch_size = min(len(features), batch_size_of(config) or len(features))
        return paper_start(mixture, prior, features, key=key, batch_size=batch_size)
    return initialize(
        mixture,
        prior,
        features,
        key=key,
        start=config.start,
        one_unit=True,
        adapt=config.is_adaptive,
    )


def check_parts(config: DetectorConfig, num_features: int) -> None:
    """Before long work: that family, prior of the weights, backend and score go together, of features of some number.

    A step of the fit and a score are traced and not computed, so that parts of the user's own are checked like those of
    the library.

    Raises:
        ValueError: the family is one of other points.
        TypeError: one of the parts cannot do what another needs.
    """
    dim = config.num_principal or num_features
    mixture = mixture_of(config, dim, 2)
    points = np.random.default_rng(0).normal(size=(SAMPLE, dim)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    algorithm = algorithm_of(config, mixture, default_prior(mixture, points))
    posterior = template_of(mixture, algorithm.prior.offset is not None)["posterior"]

    def step(prior: Prior, posterior: Posterior) -> Any:
        ones = jnp.ones(SAMPLE, jnp.float32)
        batch = Batch(jnp.asarray(points), ones, jnp.int32(0), jnp.asarray(True), jnp.sum(ones))
        state = algorithm.start(prior, posterior, Layout(1, SAMPLE, float(SAMPLE)))
        return algorithm.step(jax.random.key(0), state, batch)

    def score(posterior: Posterior) -> Any:
        scorer = columns(mixture, names_of(config.score))
        return scorer.score(scorer.prepare(posterior), jnp.asarray(points))

    jax.eval_shape(step, algorithm.prior, posterior)
    jax.eval_shape(score, posterior)


def _family_of(config: DetectorConfig, dim: int) -> Family:
    if isinstance(config.family, Family):
        return config.family
    if config.family != "gaussian":
        return getattr(families, FAMILIES[config.family])(dim)
    gaussian = getattr(families, COVARIANCES[config.covariance])
    if gaussian is GaussianLowRank:
        return GaussianLowRank(dim, min(config.rank, dim - 1))
    return gaussian(dim)
