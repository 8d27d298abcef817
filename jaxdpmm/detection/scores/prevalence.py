"""Unlabelled images beside normal ones: kinds of patches that more of the unlabelled images have.

One mixture is fitted to the patches of both, so that a kind is the same component wherever it occurs. For each
component, it is counted in how many images of either sort it occurs. A share of images with n of N has the posterior
Beta(n + 1/2, N - n + 1/2) under Jeffreys' prior, and the expected log of it is digamma(n + 1/2) - digamma(N + 1). What
this is larger among unlabelled images than among normal ones is the evidence of the component, in nats; it is zero
where normal images have the kind as often. The score `discrepancy` of a patch is the evidence of the component nearest
to it. It is added to the other scores as it is (`../../scoring/fusion.py`), since it is in nats already.

Images are counted, not patches, since patches of one image are alike. A kind that a single unlabelled image and no
normal one has is still worth 2 nats where there are as many images of both sorts, since what is scored comes from
another image as a rule; a kind that eight have is worth 4. A component that no unlabelled image has is worth nothing,
however few the normal images are that have it.

A normal image that is left out is taken out of the counts, not of the fit. All of its own components have it among
their normal images, so that one image less for each of them is the whole change. Next file to read: `unlabelled.py`.

References:
    Cai, Chen, Yang, Zhou and Cheng (2023), Dual-distribution discrepancy with self-supervised refinement for anomaly
    detection in medical images (there by reconstruction networks, of which one learns from both sorts of images).
    Jeffreys (1946), An invariant form for the prior probability in estimation problems.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma

from jaxdpmm.detection.scores.nearest import compile_nearest
from jaxdpmm.detection.state import DetectorState, Unlabelled
from jaxdpmm.model import Mixture

PRIOR = 0.5  # images with and without a kind that the prior counts for


def evidence(found: Unlabelled, num_left_out: int = 0) -> Float[np.ndarray, " K"]:
    """How much more prevalent each component is among unlabelled images than among normal ones, in nats, 0 or more.

    Args:
        found: in how many images of either sort each component occurs.
        num_left_out: normal images, all with the component, that are not counted.
    """
    of_unlabelled = _expected_log_share(found.among_unlabelled, found.num_unlabelled)
    others = np.maximum(found.among_normal - num_left_out, 0)
    of_normal = _expected_log_share(others, found.num_normal - num_left_out)
    return np.where(found.among_unlabelled > 0, np.maximum(of_unlabelled - of_normal, 0), 0)


def compile_evidence(
    state: DetectorState, found: Unlabelled, num_left_out: int = 0
) -> Callable[[Any, Any], Float[np.ndarray, "..."]]:
    """Features (..., D) and a column that is not looked at to the evidence of each patch, (...).

    Args:
        state: of the mixture of normal patches.
        found: what unlabelled images hold.
        num_left_out: 1 where the patches are of a normal image that was counted and is left out.
    """
    mixture = Mixture(state.mixture.family, len(found.posterior.counts), state.mixture.sticks)
    nearest = compile_nearest(state._replace(mixture=mixture, posterior=found.posterior))
    of_components = evidence(found, num_left_out)

    def score(features: Any, column: Any) -> Float[np.ndarray, "..."]:
        del column
        return of_components[nearest(features)]

    return score


def _expected_log_share(number: Int[np.ndarray, " K"], total: int) -> Float[np.ndarray, " K"]:
    """Expected log of the share of images that have a component, which so many of all have."""
    return digamma(number + PRIOR) - digamma(total + 2 * PRIOR)
