"""Whether a patch's component belongs where it is: its probability given the components in a ring around it.

The ring is a bag, how often each component occurs in it, so that a rotated image has the same probabilities; the patch
itself is masked out, and for a detector so is all that is nearer than an eighth of the image's side (`ring_apart`):
neighbours look alike because a backbone sees both at once, and those of a patch in a wrong place are in a wrong place
with it, so that next to it nothing is odd. Given the component k of the patch, the n members of its ring are draws from
a distribution over components that is k's own, with a Dirichlet prior about the shares of all rings. With that
distribution integrated out, the ring has a Dirichlet-multinomial probability, and Bayes' rule gives the component of
the patch:

    p(k | ring) is proportional to p(k) DirichletMultinomial(ring; a m + counts of k)^exponent

Neighbours look alike for more reasons than the patch between them, so that taking them as independent is
overconfident; the exponent tempers that, 1 for independent ones, and held-out images choose it (`choose_context`).

Counts add up over images: they are learned in a stream, merged and subtracted exactly. Of K x K pairs few ever occur,
so counts are a sparse matrix: for 2,340 components of 234,000 patches some megabytes in place of the 44 of a dense
table twice over, and the logarithms that a ring needs are sparse as well, since they are zero where a count is. An
image of P patches needs P x K numbers, as its scores do. Next file to read: `histograms.py`.

References:
    Madan et al. (2023), Self-supervised masked convolutional transformer block for anomaly detection (there a network
    predicts a masked centre from what is some way off).
    Bae, Lee and Kim (2023), PNI: industrial anomaly detection using position and neighborhood information (there by
    a network). Minka (2000), Estimating a Dirichlet distribution (the Dirichlet-multinomial).
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int
from scipy.special import gammaln, logsumexp

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.distances import relative_squares, squared_norms
from jaxdpmm.model import Mixture, Posterior
from jaxdpmm.precision import full_precision
from jaxdpmm.scoring import Scorer, component_means
from jaxdpmm.scoring.distance import Means, barrier

CONCENTRATIONS = (1.0, 10.0, 100.0)
EXPONENTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


class Context(NamedTuple):
    """What stands around what, a sum over images.

    Attributes:
        pairs: how often component j is in a ring around component k, whole numbers, sparse (K, K).
        centres: how many patches have component k.
    """

    pairs: Any
    centres: Int[np.ndarray, " K"]


class Ring(NamedTuple):
    """Which patches are around a patch: in eight directions, four of them diagonals, those `inner` to `outer` away."""

    inner: int
    outer: int


NEAREST = Ring(1, 1)
"""The eight patches next to a patch."""


class LearnedContext(NamedTuple):
    """All that is learned of a context: what a model file keeps.

    Attributes:
        counts: of training images.
        ring: that they were counted with.
        concentration: a, how many ring members the prior of each component's ring counts for.
        exponent: of a ring's probability, in (0, 1].
    """

    counts: Context
    ring: Ring = NEAREST
    concentration: float = 10.0
    exponent: float = 0.25


class ContextModel(NamedTuple):
    """A `LearnedContext` ready for probabilities.

    Attributes:
        ring: as the context was counted.
        exponent: of a ring's probability.
        log_shares: log p(k).
        totals: counts and prior counts of all ring members of k.
        logs: for m = 0, 1, ... what the (m + 1)-th ring member of one component adds, sparse (K, K) each.
    """

    ring: Ring
    exponent: float
    log_shares: Float[np.ndarray, " K"]
    totals: Float[np.ndarray, " K"]
    logs: tuple[Any, ...]


@lru_cache
def nearest_component(mixture: Mixture) -> Scorer:
    """The number of the component whose mean is nearest to a patch, of those that hold data; no anomaly score itself.

    It has the form of a score, so that whatever is done with scores, such as leaving an image out, is done with it.

    Raises:
        TypeError: components of this family have no means.
    """

    def prepare(posterior: Posterior) -> Means:
        means = component_means(mixture, posterior)
        return Means(means, squared_norms(means) + barrier(posterior))

    @full_precision()
    def score(params: Means, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        squares = relative_squares(x, params.vectors, params.constant)
        return jnp.argmin(squares, axis=1).astype(x.dtype)  # exact below 2^24

    return Scorer(prepare, score)


def ring_apart(grids: Iterable[Int[np.ndarray, "h w"]]) -> Ring:
    """The patches in eight directions, from an eighth to a quarter of the shorter side of the smallest image away.

    A part that is not larger, and not where it belongs, is held against what surrounds it.

    Args:
        grids: of images, at least one.
    """
    away = max(1, min(min(one.shape) for one in grids) // 4)
    return Ring(max(1, away // 2), away)


def count_context(
    grids: Iterable[Int[np.ndarray, "h w"]], num_components: int, ring: Ring = NEAREST
) -> Context:
    """Count what stands around what.

    Args:
        grids: the component of each patch, an image at a time.
        num_components: K.
        ring: which patches are around a patch.

    Raises:
        ValueError: a ring without patches.
    """
    pairs = scipy.sparse.csr_array((num_components, num_components), dtype=np.int64)
    centres = np.zeros(num_components, np.int64)
    for labels in grids:
        own = _one_hot(np.arange(labels.size), labels.ravel(), (labels.size, num_components))
        pairs = pairs + own.T @ rings(labels, num_components, ring)
        centres += np.bincount(labels.ravel(), minlength=num_components)
    return Context(pairs.tocsr(), centres)


def rings(labels: Int[np.ndarray, "h w"], num_components: int, ring: Ring) -> Any:
    """How often each component is in the ring around each patch, sparse (h w, K); rings end where the image does.

    Raises:
        ValueError: a ring without patches.
    """
    check_at_least_one("inner", ring.inner, "the patch itself is left out")
    check_at_least_one("outer", ring.outer - ring.inner + 1, "a ring ends where it begins or later")
    height, width = labels.shape
    number = np.arange(labels.size).reshape(labels.shape)
    patches, members = [], []
    for away in range(ring.inner, ring.outer + 1):
        for down, right in itertools.product((-away, 0, away), repeat=2):
            if down or right:
                here, there = zip(_overlap(height, down), _overlap(width, right), strict=True)
                patches.append(number[here].ravel())
                members.append(labels[there].ravel())
    shape = labels.size, num_components
    return _one_hot(np.concatenate(patches), np.concatenate(members), shape)


def without(context: Context, other: Context) -> Context:
    """The counts of a context less those of some of its images."""
    pairs = (context.pairs - other.pairs).tocsr()
    pairs.eliminate_zeros()
    return Context(pairs, context.centres - other.centres)


def prepare_context(learned: LearnedContext) -> ContextModel:
    """What `context_scores` needs.

    Args:
        learned: counts, and how they are to be taken.

    Raises:
        ValueError: no patch was counted.
    """
    context, ring, concentration, exponent = learned
    total = int(context.centres.sum())
    check_at_least_one("the number of patches of a context", total, "count some images first")
    num_components = len(context.centres)
    members = np.asarray(context.pairs.sum(axis=0), float).ravel()
    prior = concentration * (members + 1 / num_components) / (members.sum() + 1)
    shares = (context.centres + 1 / num_components) / (total + 1)
    totals = np.asarray(context.pairs.sum(axis=1), float).ravel() + concentration
    most = 8 * (ring.outer - ring.inner + 1)
    columns = context.pairs.T.tocsr()  # a row for each member of a ring
    prior_of_entry = np.repeat(prior, np.diff(columns.indptr))
    logs = tuple(
        _with_data(columns, np.log1p(columns.data / (prior_of_entry + m))) for m in range(most)
    )
    return ContextModel(ring, exponent, np.log(shares), totals, logs)


def log_context(model: ContextModel, labels: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "P K"]:
    """Log p(k | ring) of every component k in place of each patch of an image, in nats; each row sums to one."""
    num_components = len(model.totals)
    members = rings(labels, num_components, model.ring)
    likelihood = np.zeros((labels.size, num_components), np.float32)
    for times, logs in enumerate(model.logs):
        repeated = (members > times).astype(np.float32)
        if not repeated.nnz:
            break
        found = (repeated @ logs).tocoo()
        likelihood[found.row, found.col] += found.data
    sizes = np.asarray(members.sum(axis=1)).ravel()
    for size in np.unique(sizes):
        constant = gammaln(model.totals) - gammaln(model.totals + size)
        likelihood[sizes == size] += constant.astype(np.float32)
    joint = model.exponent * likelihood + model.log_shares.astype(np.float32)
    return joint - logsumexp(joint, axis=1, keepdims=True)


def context_scores(model: ContextModel, labels: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """-log p(component of the patch | ring around it), in nats: to add to minus a log density, or to fuse with others.

    Args:
        model: from `prepare_context`.
        labels: the component of each patch of one image.
    """
    own = np.take_along_axis(log_context(model, labels), labels.reshape(-1, 1), axis=1)
    return -own.reshape(labels.shape)


def choose_context(
    context: Context, held_out: Sequence[Int[np.ndarray, "h w"]], ring: Ring = NEAREST
) -> LearnedContext:
    """The context, with the concentration and the exponent under which held-out normal images are most probable.

    Args:
        context: counts of other images.
        held_out: the component of each patch, an image at a time.
        ring: that the context was counted with.

    Raises:
        ValueError: no images, or no patch was counted.
    """
    check_at_least_one(
        "the number of held-out images", len(held_out), "hold out some normal images"
    )
    each = [
        LearnedContext(context, ring, concentration, exponent)
        for concentration, exponent in itertools.product(CONCENTRATIONS, EXPONENTS)
    ]
    models = map(prepare_context, each)
    losses = [sum(context_scores(model, labels).sum() for labels in held_out) for model in models]
    return each[int(np.argmin(losses))]


def _overlap(length: int, shift: int) -> tuple[slice, slice]:
    """Places that have a neighbour `shift` further, and these neighbours."""
    here = slice(max(0, -shift), max(0, length - max(0, shift)))
    return here, slice(max(0, shift), max(0, length - max(0, -shift)))


def _one_hot(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    ones = np.ones(len(rows), np.int64)
    return scipy.sparse.coo_array((ones, (rows, columns)), shape=shape).tocsr()


def _with_data(matrix: Any, data: np.ndarray) -> Any:
    """Other entries at the same places, which are shared."""
    entries = data.astype(np.float32), matrix.indices, matrix.indptr
    return scipy.sparse.csr_array(entries, shape=matrix.shape)
