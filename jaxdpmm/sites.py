"""Several sites, such as hospitals or production lines, whose data never leave them: what is exchanged is statistics.

Posteriors of sites that began with one prior and one start add up (`inference.merge`): the sum is the posterior of all
data under the same assignments. Where the sites differ, as by camera, the sum is that of a mean site, and normal images
of one site may look odd in it. For a batch of images to score, `merge_for` weighs the sites by how much of the batch
each of them explains, without labels and by forward passes alone: of each point, the probabilities of the sites, as if
its component were one of all sites' components side by side. Where they are even, of low certainty and high entropy,
the weights are one each, and the result is the plain sum; where all of the batch is like one site, that site counts for
all of them.

References:
    The Mean is the Mirage: entropy-adaptive model merging under heterogeneous domain shifts in medical imaging. The
    weights there come from the entropy of each model's own predictions, which in hundreds of dimensions is near zero
    whether a model knows the batch or not; that over the sites is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxdpmm import trees
from jaxdpmm.inference import from_stats, merge
from jaxdpmm.model import Mixture, Posterior, Prior, stats_of
from jaxdpmm.programs import jitted
from jaxdpmm.scoring import in_tiles, log_predictive_density


class Shares(NamedTuple):
    """How much of a batch each site explains.

    Attributes:
        weights: of the sites, which sum to their number.
        entropy: of the shares in nats, from 0 for one site to the log of their number.
    """

    weights: Float[np.ndarray, " S"]
    entropy: float


def site_shares(
    mixture: Mixture, posteriors: Sequence[Posterior], x: Num[Array | np.ndarray, "N ..."]
) -> Shares:
    """How much of a batch of points each site explains.

    Args:
        mixture: static description, of all sites.
        posteriors: of each site.
        x: raw points of the batch.

    Raises:
        ValueError: no sites, or no points.
    """
    if not posteriors or not len(x):
        raise ValueError(
            f"posteriors and x must hold at least one site and one point, got {len(posteriors)} and {len(x)}; "
            "give the sites and a batch to score."
        )
    logs = np.stack([log_predictive_density(mixture, one, x) for one in posteriors], axis=1)
    shares = np.asarray(in_tiles(jitted(_softmax), None, logs)).mean(axis=0)
    entropy = -float(np.sum(shares * np.log(np.maximum(shares, np.finfo(shares.dtype).tiny))))
    return Shares(len(posteriors) * shares, entropy)


def merge_for(
    mixture: Mixture,
    prior: Prior,
    posteriors: Sequence[Posterior],
    x: Num[Array | np.ndarray, "N ..."],
) -> Posterior:
    """The posterior of all sites, weighed for one batch of points.

    Args:
        mixture: static description, of all sites.
        prior: of all sites.
        posteriors: of each site, with components that mean the same, see `inference.merge`.
        x: raw points of the batch.

    Raises:
        ValueError: as of `inference.merge` and `site_shares`.
    """
    merge(mixture, prior, posteriors)  # which refuses what does not belong together
    weights = site_shares(mixture, posteriors, x).weights
    parts = [
        trees.scale(stats_of(prior, one), jnp.asarray(weight, one.counts.dtype))
        for one, weight in zip(posteriors, weights, strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = trees.add(total, part)
    return from_stats(mixture, prior, total)


def check_same_backbone(digests: Mapping[str, str]) -> None:
    """Raise unless all sites see images by the same backbone, since features of others cannot be added.

    Args:
        digests: `features.digest.backbone_digest`, or any text that tells backbone, layers and size, by site.

    Raises:
        ValueError: they differ.
    """
    first = next(iter(digests.values()), "")
    if others := [name for name, one in digests.items() if one != first]:
        raise ValueError(
            f"sites must have one backbone, got another at {', '.join(others)} than at {next(iter(digests))}; use the "
            "same weights and layers everywhere."
        )


def _softmax(params: Any, logs: Float[Array, "N S"]) -> Float[Array, "N S"]:
    del params
    return jax.nn.softmax(logs, axis=1)
