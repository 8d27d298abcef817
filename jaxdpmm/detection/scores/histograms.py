"""How far an image's composition is from that of normal images: divergences between histograms of components.

Patches tell what is odd in an image, their histogram what there is too much or too little of, even where no patch is
odd. An image's shares of the components are unknown; given its counts they have a Dirichlet distribution, over which
the Kullback-Leibler divergence has a mean in closed form, so that images of few patches are not odd for being small.
The Jensen-Shannon divergence is that of the mean shares, and bounded by log 2. Counts are sums of responsibilities or
of nearest components. Next file to read: `matching.py`.

References:
    Minka (2000), Estimating a Dirichlet distribution (E[log p_k] and digamma).
    Lin (1991), Divergence measures based on the Shannon entropy.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.special import digamma, entr

from jaxdpmm.checks import check_at_least_one, check_choice

KINDS = ("kl", "js")


class Histograms(NamedTuple):
    """What normal images are made of.

    Attributes:
        shares: of the components in each normal image, posterior means, (R, K).
        prior: Dirichlet parameter of an image's shares, from all images together, (K,).
    """

    shares: Float[np.ndarray, "R K"]
    prior: Float[np.ndarray, " K"]


class VolumeProfile(NamedTuple):
    """What a volume scores, slice by slice and as a whole."""

    slices: Float[np.ndarray, " S"]
    volume: float


def learn_histograms(counts: Num[np.ndarray, "R K"], concentration: float = 10.0) -> Histograms:
    """What normal images are made of.

    Args:
        counts: of the components in each normal image.
        concentration: how many patches the prior of an image's shares counts for.

    Raises:
        ValueError: no images, or no patches in them.
    """
    if not counts.sum() > 0:  # shares of components need not be whole numbers
        raise ValueError(
            f"counts must be those of at least one image with patches, got {counts.sum():g} patches in {len(counts)} "
            "images; count normal images."
        )
    num_components = counts.shape[1]
    pooled = (counts.sum(axis=0) + 1 / num_components) / (counts.sum() + 1)
    prior = concentration * pooled
    posterior = counts + prior[None]
    return Histograms(posterior / posterior.sum(axis=1, keepdims=True), prior)


def divergences(
    normal: Histograms, counts: Num[np.ndarray, " K"], kind: str = "js"
) -> Float[np.ndarray, " R"]:
    """Divergence of one image from each normal image, in nats.

    Args:
        normal: from `learn_histograms`.
        counts: of the components in the image.
        kind: "kl", the mean of KL(image | normal) over the image's shares given its counts; or "js", the
            Jensen-Shannon divergence of the mean shares.

    Raises:
        ValueError: an unknown kind, or counts of another number of components.
    """
    check_choice("kind", kind, KINDS)
    if counts.shape != normal.prior.shape:
        raise ValueError(
            f"counts must be those of {len(normal.prior)} components, got shape {counts.shape}; count the components "
            "of the same mixture."
        )
    posterior = counts + normal.prior
    total = posterior.sum()
    mean = posterior / total
    if kind == "kl":
        own = np.sum(mean * (digamma(posterior + 1) - digamma(total + 1)))
        return own - np.log(normal.shares) @ mean
    middle = entr((mean[None] + normal.shares) / 2).sum(axis=1)
    return middle - (entr(mean).sum() + entr(normal.shares).sum(axis=1)) / 2


def histogram_score(
    normal: Histograms, counts: Num[np.ndarray, " K"], kind: str = "js", num_nearest: int = 5
) -> float:
    """Anomaly score of an image: mean divergence from the normal images that it is most like.

    Args:
        normal: from `learn_histograms`.
        counts: of the components in the image.
        kind: of `divergences`.
        num_nearest: how many normal images, at most all.

    Raises:
        ValueError: as of `divergences`, or `num_nearest` is below 1.
    """
    check_at_least_one("num_nearest", num_nearest, "the default is 5")
    return float(np.mean(np.sort(divergences(normal, counts, kind))[:num_nearest]))


def volume_profile(
    normal: Histograms,
    counts: Num[np.ndarray, "S K"],
    kind: str = "js",
    num_nearest: int = 5,
    top_share: float = 0.1,
) -> VolumeProfile:
    """Scores of the slices of a volume, each by what it is made of, and one of the volume.

    Args:
        normal: from `learn_histograms` of normal slices.
        counts: of the components in each slice, in the order of the slices.
        kind: of `divergences`.
        num_nearest: as of `histogram_score`.
        top_share: of the slices, the most anomalous ones, whose mean is the volume's score; at least one.

    Raises:
        ValueError: there are no slices, or as of `histogram_score`.
    """
    check_at_least_one("the number of slices", len(counts), "give a volume that has some")
    slices = np.array([histogram_score(normal, one, kind, num_nearest) for one in counts])
    number = max(round(top_share * len(slices)), 1)
    return VolumeProfile(slices, float(np.mean(np.sort(slices)[-number:])))
