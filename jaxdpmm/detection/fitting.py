"""From patch features to a mixture: prior from the data, start, sweeps, empty components dropped.

Which family, backend and prior of the weights these are is decided in `parts.py`. Next file to read: `detector.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.parts import algorithm_of, batch_size_of, mixture_of, start_of
from jaxdpmm.detection.reduction import Reduction, principal_axes, reduce_features
from jaxdpmm.detection.state import DetectorState, FitFacts
from jaxdpmm.detection.whitening import learn_whitening
from jaxdpmm.inference import Algorithm, FitResult, LocalStep, Objective, fit, truncation_binds
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.model import Mixture, Posterior, Prior, compact, default_prior

SAMPLE_SIZE = 20_000  # patches that the prior and the colours of pictures are set by


def fit_mixture(
    features: Any,
    config: DetectorConfig,
    *,
    progress: bool = False,
    local_step: LocalStep | None = None,
    beside: DetectorState | None = None,
) -> DetectorState:
    """Prior from the data, start, sweeps until the backend is done, empty components dropped.

    Args:
        features: (N, D), in memory or a `FeatureStore`.
        config: settings.
        progress: show a bar on standard error.
        local_step: the E-step; None for `dense` where all components of a point cost little, and for `candidates`,
            several times faster and as good, under full and low-rank covariance and from a start for coverage, which
            wants many components.
        beside: a mixture that this one is to be compared with, by its reduction and under its prior; None for a
            reduction and a prior from `features`.

    Returns:
        Mixture, prior, posterior, reduction and the facts of the fit. What is known of images is not filled in.

    Raises:
        ValueError: features that are not finite, or fewer than components.
        TypeError: family, prior of the weights and backend do not go together.
    """
    keys = jax.random.split(jax.random.key(config.seed), 4)
    key_sample, key_start, key_fit, key_axes = keys
    if beside is None:
        reduction, prior = _reduction_of(config, features, key_axes), None
    else:
        reduction, prior = beside.reduction, beside.prior
    features = reduce_features(reduction, features)
    mixture = mixture_of(config, features.shape[1], config.truncation(len(features)))
    prior = prior or _prior_of(config, mixture, draw_sample(key_sample, features, SAMPLE_SIZE))
    algorithm = algorithm_of(config, mixture, prior, local_step)
    posterior, result = start_of(config, algorithm, features, key_start), None
    if config.sweeps():
        result = _sweeps(config, algorithm, features, posterior, key_fit, progress)
        posterior = result.posterior
    facts = _facts(algorithm, posterior, result, len(features))
    if config.is_adaptive:
        facts = facts._replace(truncation_binds=truncation_binds(posterior))
    smaller, posterior = compact(mixture, algorithm.prior, posterior)
    return DetectorState(smaller, algorithm.prior, posterior, facts, reduction)


def _reduction_of(config: DetectorConfig, features: Any, key: PRNGKeyArray) -> Reduction | None:
    if config.num_principal is not None:
        return principal_axes(features, config.num_principal, key)
    # Anomalies among the images would be part of what varies
    return learn_whitening(features, key) if config.whiten and config.trusts_all else None


def _prior_of(config: DetectorConfig, mixture: Mixture, sample: Any) -> Prior:
    prior = default_prior(mixture, jnp.asarray(sample))
    if config.prior_counts == 1:
        return prior
    # natural parameters of a prior are what so many points would add
    return prior._replace(component=trees.scale(prior.component, config.prior_counts))


def _sweeps(
    config: DetectorConfig,
    algorithm: Algorithm,
    features: Any,
    start: Posterior,
    key: PRNGKeyArray,
    progress: bool,
) -> FitResult:
    is_sampler = algorithm.identity.objective is Objective.DRAW
    batch_size = batch_size_of(config)
    return fit(
        algorithm,
        features,
        start,
        key=key,
        num_epochs=config.sweeps(),
        tolerance=None if is_sampler else config.tolerance,
        batch_size=batch_size,
        shuffle=batch_size is not None,
        progress=progress,
    )


def _facts(
    algorithm: Algorithm, posterior: Posterior, result: FitResult | None, num_patches: int
) -> FitFacts:
    bound = None
    if result is not None and algorithm.identity.objective is Objective.BOUND:
        bound = result.history[-1].objective / num_patches
    return FitFacts(
        num_patches=num_patches,
        num_sweeps=0 if result is None else len(result.history),
        converged=result is not None and result.converged,
        truncation_binds=result is not None and truncation_binds(posterior),
        elbo_per_patch=bound,
    )
