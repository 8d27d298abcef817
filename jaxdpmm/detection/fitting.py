"""From patch features to a mixture: prior from the data, start, sweeps, empty components dropped.

Read `detector.py` next.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdpmm import families, sticks
from jaxdpmm.choices import COVARIANCES, STICKS
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.reduction import principal_axes, reduce_features, reduced, reduction_of
from jaxdpmm.inference import FitResult, LocalStep, cavi, dense, fit, initialize, truncation_binds
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.inference.local_steps.sparse import candidates
from jaxdpmm.model import Mixture, compact, default_prior
from jaxdpmm.persist import Model
from jaxdpmm.scoring import SCORERS, Scorer

SAMPLE_SIZE = 20_000  # patches that the prior and the colours of pictures are set by
WITHOUT_SWEEPS = {"num_sweeps": 0, "converged": False, "elbo_per_patch": None}
LOCAL_STEPS = {"full": candidates(), "low_rank": candidates()}


def fit_mixture(
    features: Any,
    config: DetectorConfig,
    *,
    progress: bool = False,
    local_step: LocalStep | None = None,
) -> Model:
    """Prior from the data, start, CAVI until it stands still, empty components dropped.

    Args:
        features: (N, D), in memory or a `FeatureStore`.
        config: settings.
        progress: show a bar on standard error.
        local_step: the E-step; None for `dense` where all components of a point cost little, and for `candidates`,
            several times faster and as good, under full and low-rank covariance and from a start for coverage, which
            wants many components.

    Returns:
        The model; its `settings` tell the number of patches, the sweeps, whether it converged, whether more components
        would be used, and the ELBO, None without a sweep.

    Raises:
        ValueError: features that are not finite, or fewer than components.
    """
    keys = jax.random.split(jax.random.key(config.seed), 4)
    key_sample, key_start, key_fit, key_axes = keys
    arrays = {}
    if config.num_principal is not None:
        arrays = principal_axes(features, config.num_principal, key_axes)
        features = reduce_features(arrays, features)
    family = getattr(families, COVARIANCES[config.covariance])(features.shape[1])
    weights = getattr(sticks, STICKS[config.weights])()
    mixture = Mixture(family, config.truncation(len(features)), weights)
    prior = default_prior(mixture, jnp.asarray(draw_sample(key_sample, features, SAMPLE_SIZE)))
    start = initialize(mixture, prior, features, key=key_start, start=config.start)
    posterior, of_sweeps = start, WITHOUT_SWEEPS
    if config.num_epochs:
        local_step = local_step or _local_step(config)
        result = fit(
            cavi(mixture, prior, local_step),
            features,
            start,
            key=key_fit,
            num_epochs=config.num_epochs,
            tolerance=config.tolerance,
            progress=progress,
        )
        posterior, of_sweeps = result.posterior, _of_sweeps(result, len(features))
    binds = truncation_binds(posterior)
    smaller, posterior = compact(mixture, prior, posterior)
    settings = {
        "num_patches": len(features),
        **of_sweeps,
        "truncation_binds": binds,
    }
    return Model(smaller, prior, posterior, settings, arrays)


def _local_step(config: DetectorConfig) -> LocalStep:
    if config.start == "coverage":
        return candidates()
    return LOCAL_STEPS.get(config.covariance, dense)


def _of_sweeps(result: FitResult, num_patches: int) -> dict[str, Any]:
    return {
        "num_sweeps": len(result.history),
        "converged": result.converged,
        "elbo_per_patch": result.history[-1].objective / num_patches,
    }


def model_scorer(
    model: Model, score: str, scorers: Mapping[str, Callable[[Mixture], Scorer]] = SCORERS
) -> tuple[Scorer, Any]:
    """A score of features as the backbone gives them, reduced first where the model does so; and what it is fitted on.

    Args:
        model: from `fit_mixture`.
        score: its name.
        scorers: by name.
    """
    return reduced(scorers[score](model.mixture)), (model.posterior, reduction_of(model.arrays))
