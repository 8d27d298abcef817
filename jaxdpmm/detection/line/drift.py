"""Whether what comes in is still what was learned: a test between images, with a false alarm rate that holds.

Two groups of normal images that a mixture has not learned from, a reference and new ones, are compared in two ways: the
mean score of an image's patches, and the share of its patches in each component. Patches of one image are alike, so
images are what is exchanged: if both groups come from one source, every assignment of the images to the groups is as
probable as the one at hand, and a difference larger than under all but a share r of random assignments comes with
probability r at most, whatever the images, scores and components are. The smaller of the two p-values, doubled, is that
of both.

The reference is images that were held out, where those hold exactly; or what a model keeps of its training images
(`kept.py`), each looked at by the mixture without it. New images are then looked at by the mixture without one of the
kept ones, so that all mixtures have learned from as many images: under one image more the scores of new images are
lower, and alarms more frequent than stated (`benchmarks/drift.py` counts them).
Next file to read: `../../pictures/drift.py`, which draws it.

References:
    Phipson and Smyth (2010), Permutation p-values should never be zero. Stat. Appl. Genet. Mol. Biol. 9.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.choices import names_of
from jaxdpmm.detection.assigning import assign
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.line.kept import total_of
from jaxdpmm.detection.patches import ImagePatches, stream_patches
from jaxdpmm.detection.scored import ScorePatches, compile_scorer, score_images
from jaxdpmm.detection.state import DetectorState, KeptImage
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.leave_out import GroupSums, posterior_without
from jaxdpmm.model import empty_stats, expected_readout

NUM_PERMUTATIONS = 999
AT_ONCE = 100  # permutations; of 10,000 components, 8 MB of float64
NUM_TESTS = 2
TIE = 1e-9  # differences, relative to the largest, that rounding makes


class Looks(NamedTuple):
    """What images look like to a mixture.

    Attributes:
        scores: mean score of the patches of each image.
        shares: of its patches in each component.
    """

    scores: Float[np.ndarray, " I"]
    shares: Float[np.ndarray, "I K"]


class Shift(NamedTuple):
    """How a component has grown or emptied.

    Attributes:
        component: its number.
        reference: mean share of the patches of reference images.
        new: of new images.
        deviations: their difference in standard deviations of a random assignment of images.
        stands_out: whether random assignments rarely have any component so far from 0, at the rate of the test.
    """

    component: int
    reference: float
    new: float
    deviations: float
    stands_out: bool


class Drift(NamedTuple):
    """Result of the test.

    Attributes:
        p_value: of both comparisons together; a drift where it is at most the rate.
        p_scores: of the mean scores alone.
        p_components: of the shares of components alone.
        rate: of false alarms.
        num_reference: images.
        num_new: images.
        mean_scores: of reference and of new images.
        shifts: of all components, those that have changed most first.
    """

    p_value: float
    p_scores: float
    p_components: float
    rate: float
    num_reference: int
    num_new: int
    mean_scores: tuple[float, float]
    shifts: tuple[Shift, ...]

    @property
    def is_drift(self) -> bool:
        """Whether the images differ, at the rate."""
        return self.p_value <= self.rate


def drift(
    detector: Detector,
    records: Sequence[ImageRecord],
    reference: Sequence[ImageRecord] = (),
    *,
    rate: float = 0.05,
    strict: bool = False,
    progress: bool = False,
) -> Drift:
    """Compare images with what a detector has learned.

    Args:
        detector: fitted.
        records: the images that come in.
        reference: normal images that it has not learned from; none for those that it keeps, each left out.
        rate: of false alarms.
        strict: an image that cannot be read is an error, instead of a warning and a gap.
        progress: show bars on standard error.

    Raises:
        ValueError: no reference, too few images for the rate, or none that can be read.
    """
    if not reference and detector.state.kept is None:
        raise ValueError(
            "drift needs reference images, got none and a model that does not keep its own; give normal images that it "
            "has not learned from (--reference), or fit it with keep_images (--keep-images)."
        )

    config, state = detector.config, detector.state

    def images(of: Sequence[ImageRecord], name: str) -> Iterator[ImagePatches]:
        bar = f"{name} images" if progress else None
        return stream_patches(of, config, detector.backbone, strict=strict, progress=bar)

    if reference:
        before, after = (
            looks_of(state, config, detector.score_patches, stream)
            for stream in (images(reference, "reference"), images(records, "new"))
        )
    else:
        before = looks_of_kept(state, state.kept or ())
        after = looks_beside_kept(state, config, images(records, "new"))
    return compare_looks(before, after, rate, config.seed)


def looks_of(
    state: DetectorState,
    config: DetectorConfig,
    score_patches: ScorePatches,
    images: Iterable[ImagePatches],
) -> Looks:
    """What images that were not learned from look like to a mixture.

    Args:
        state: of the mixture.
        config: settings.
        score_patches: the score that the settings name, ready to run.
        images: with their features.
    """
    scores, shares = [], []
    for image in images:
        (scored,) = score_images([image], {"": score_patches}, config)
        labels, _ = assign(state, image.features.reshape(-1, image.features.shape[-1]))
        scores.append(float(np.mean(scored[""].patch_scores)))
        shares.append(_shares(labels, state))
    return Looks(np.array(scores), np.array(shares))


def looks_of_kept(state: DetectorState, kept: Sequence[KeptImage]) -> Looks:
    """What the images that a model keeps look like to the mixture without each of them."""
    shares = [_shares(image.labels, state) for image in kept]
    return Looks(np.array([image.mean_score for image in kept]), np.array(shares))


def looks_beside_kept(
    state: DetectorState, config: DetectorConfig, images: Iterable[ImagePatches]
) -> Looks:
    """What images that were not learned from look like to the mixture without one of the images that it keeps.

    Args:
        state: that keeps its images.
        config: settings; the seed draws which image is left out for which.
        images: with their features.
    """
    kept = state.kept or ()
    total, nothing = total_of(state, [one.rows for one in kept]), empty_stats(state.posterior)
    readout = expected_readout(state.mixture, state.posterior)
    sums = GroupSums(readout, total, nothing, state.posterior.sticks)
    order = np.random.default_rng(config.seed).permutation(len(kept))
    found = []
    for image, place in zip(images, itertools.cycle(order.tolist())):
        own = total_of(state, [kept[place].rows])
        posterior = posterior_without(state.mixture, state.prior, sums, own)
        without = state._replace(posterior=posterior)
        score_patches = compile_scorer(*without.scorer(names_of(config.score)[0]))
        found.append(looks_of(without, config, score_patches, [image]))
    return Looks(*map(np.concatenate, zip(*found, strict=True)))


def compare_looks(reference: Looks, new: Looks, rate: float = 0.05, seed: int = 0) -> Drift:
    """The test, on what images look like.

    Args:
        reference: images.
        new: images.
        rate: of false alarms.
        seed: of the random assignments.

    Raises:
        ValueError: there are too few images for the rate.
    """
    sizes = len(reference.scores), len(new.scores)
    _check_enough(sizes, rate)
    scores = np.concatenate([reference.scores, new.scores])
    shares = np.concatenate([reference.shares, new.shares])
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable").astype(float)
    columns = np.concatenate([_in_units(ranks[:, None]), _in_units(shares)], axis=1)
    number = max(NUM_PERMUTATIONS, math.ceil(20 / rate))
    found, others = _differences(columns, sizes, number, seed)
    p_scores = _p_value(found[0] ** 2, others.scores)
    p_components = _p_value(float(np.sum(found[1:] ** 2)), others.components)
    limit = np.quantile(others.largest, 1 - rate)
    means = reference.shares.mean(axis=0), new.shares.mean(axis=0)
    deviations = found[1:] / math.sqrt(sum(sizes) ** 2 / ((sum(sizes) - 1) * math.prod(sizes)))
    shifts = [
        Shift(place, float(before), float(after), float(size), bool(abs(difference) > limit))
        for place, (before, after, size, difference) in enumerate(
            zip(*means, deviations, found[1:], strict=True)
        )
    ]
    return Drift(
        p_value=min(1.0, NUM_TESTS * min(p_scores, p_components)),
        p_scores=p_scores,
        p_components=p_components,
        rate=rate,
        num_reference=sizes[0],
        num_new=sizes[1],
        mean_scores=(float(reference.scores.mean()), float(new.scores.mean())),
        shifts=tuple(sorted(shifts, key=lambda one: -abs(one.deviations))),
    )


class _Others(NamedTuple):
    """Statistics of random assignments: of scores, of all components, and of the component farthest from 0."""

    scores: Float[np.ndarray, " R"]
    components: Float[np.ndarray, " R"]
    largest: Float[np.ndarray, " R"]


def _differences(
    columns: Float[np.ndarray, "I C"], sizes: tuple[int, int], number: int, seed: int
) -> tuple[Float[np.ndarray, " C"], _Others]:
    """Mean of the new images less that of the reference in each column, as it is and of random assignments."""
    signs = np.repeat([-1 / sizes[0], 1 / sizes[1]], sizes)
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, number, AT_ONCE):
        rows = random.permuted(np.tile(signs, (min(AT_ONCE, number - start), 1)), axis=1)
        found = rows @ columns
        squares = found[:, 1:] ** 2
        parts.append((found[:, 0] ** 2, squares.sum(axis=1), np.sqrt(squares.max(axis=1))))
    others = (np.concatenate(part) for part in zip(*parts, strict=True))
    return signs @ columns, _Others(*others)


def _in_units(columns: Float[np.ndarray, "I C"]) -> Float[np.ndarray, "I C"]:
    """Columns about 0 with a standard deviation of 1; those that are constant are 0."""
    spread = columns.std(axis=0)
    return (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, np.inf)


def _p_value(found: float, others: Float[np.ndarray, " R"]) -> float:
    return float((1 + np.sum(others >= found * (1 - TIE))) / (1 + len(others)))


def _shares(labels: np.ndarray, state: DetectorState) -> Float[np.ndarray, " K"]:
    present = labels[labels >= 0]
    counts = np.bincount(present, minlength=state.mixture.num_components)
    return counts / max(len(present), 1)


def _check_enough(sizes: tuple[int, int], rate: float) -> None:
    if not 0 < rate < 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate:g}; 0.05 is a usual choice.")
    if NUM_TESTS / math.comb(sum(sizes), sizes[1]) > rate:
        raise ValueError(
            f"images must be enough for a false alarm rate of {rate:g}, got {sizes[0]} of the reference and {sizes[1]} "
            "new ones, which can be told apart by chance more often; give more of them."
        )
