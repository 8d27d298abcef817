"""Thresholds and p-values from normal images alone, held or left out of the fit: no anomaly is needed, none looked at.

A `Survival` tells which share of normal samples scores at least so much. A conformal p-value counts the new image among
the normal ones, (1 + I share) / (I + 1) with I held-out images: if the new image is exchangeable with them, the
probability of a p-value of at most r is at most r, whatever the scores are and however few images there are. For
patches and pixels, which are not independent within an image, the share is averaged over images, and the same holds of
a sample drawn from a new image. So the rate is that of images like these: images of one patient or one part must not
lie on both sides, and a new camera needs new normal images (`Detector.calibrate`).

With few images none can be spared, and each is scored with itself left out (`leaving_out.py`). Then the new image is
scored by a mixture of one image more than each of the others was. For scores that adding a normal image never raises,
such as the distance to the nearest of all patches, a p-value of at most r still has at most probability r
(jackknife-minmax, theorem 3 of Barber et al.: the score under all images is at most the least of those under all but
one); for other scores at most 2 r, where the new image is scored by each of the left-out mixtures (jackknife+,
theorem 1). Both hold of refits. More images raise a mixture's scores by about 1 / I nats through the weights alone, and
what subtraction neglects is measured (`benchmarks/leave_out.py`); who needs the exact guarantee holds images out.
Read `diagnosis.py` next.

References:
    Barber, Candes, Ramdas and Tibshirani (2021), Predictive inference with the jackknife+. arXiv 1905.02928.
    Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World, chapter 2.
    Lee, Barber and Willett (2023), Distribution-free inference with hierarchical data. arXiv 2306.06342.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.metrics import ScoreTable, add_scores, upper_edge
from jaxdpmm.detection.metrics.curves import at_least
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.detection.state import Calibration, Survival

KEPT_POINTS = 256  # of a survival function of patches or pixels, half of them for the tail
MOST = 0.75  # of the patches of an image
MIN_HELD_OUT = 5
ENOUGH_HELD_OUT = 19  # for a threshold at a rate of 5 %
METHODS = ("conformal", "quantile")

T = TypeVar("T")


def split_held_out(
    items: Sequence[T], share: float, seed: int, fewest: int = MIN_HELD_OUT
) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Items to learn from and items held out for thresholds, each in their order, drawn by a seed.

    Args:
        items: for example records of images.
        share: part to hold out, rounded down.
        seed: the same gives the same split.
        fewest: when the part is less than so many, none are held out.
    """
    number = int(share * len(items) + 1e-9)
    if number < fewest:
        return tuple(items), ()
    chosen = set(np.random.default_rng(seed).permutation(len(items))[:number].tolist())
    learned, held_out = (
        tuple(item for place, item in enumerate(items) if (place in chosen) == wanted)
        for wanted in (False, True)
    )
    return learned, held_out


def learned_and_held_out(
    train: Sequence[T],
    validation: Sequence[T],
    share: float,
    seed: int,
    fewest: int = MIN_HELD_OUT,
) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """What to learn from, and what thresholds come from: validation images, else a share of the others."""
    if validation:
        return tuple(train), tuple(validation)
    return split_held_out(train, share, seed, fewest)


def calibrate(
    images: Iterable[ScoredImage], sigma: float, kept_points: int = KEPT_POINTS
) -> Calibration:
    """What normal images score. Memory does not grow with their number.

    Args:
        images: scored normal images that were not learned from.
        sigma: smoothing of maps.
        kept_points: of the scores of patches and of pixels.

    Raises:
        ValueError: there are none, or a score is not finite.
    """
    tables: list[ScoreTable | None] = [None] * len(Calibration._fields)
    number = 0
    for image in images:
        number += 1
        samples = (
            np.array([image.score]),
            image.patch_scores,
            image.pixel_scores(sigma),
            np.array([image.quantile(MOST)]),
        )
        for place, values in enumerate(samples):
            even = np.full(values.shape, 1 / values.size)
            tables[place] = add_scores(tables[place], np.zeros(values.shape, bool), values, even)
    if not number:
        raise ValueError(
            "images must hold at least one normal image that was not learned from, got none; give some."
        )
    parts = [_survival(table, number) for table in tables if table is not None]
    return _thin(Calibration(*parts), kept_points)


def merged(parts: Sequence[Calibration]) -> Calibration:
    """What the images of several calibrations score, taken together.

    Args:
        parts: at least one, of different images.
    """

    def of(name: str) -> Survival:
        return _merged([getattr(part, name) for part in parts])

    most = of("most") if all(part.most is not None for part in parts) else None
    return _thin(Calibration(of("image"), of("patch"), of("pixel"), most), KEPT_POINTS)


def survival_of(calibration: Calibration | None, of: str) -> Survival:
    """What normal images, their patches, pixels, or most of their patches score.

    Args:
        calibration: from `calibrate`; None where no images were held or left out.
        of: "image", "patch", "pixel" or "most".

    Raises:
        ValueError: no images were held or left out, or `of` is none of these.
    """
    if calibration is None or of not in Calibration._fields:
        raise ValueError(
            f"a threshold needs held-out normal images and of one of {', '.join(Calibration._fields)}, got "
            f"{'no images' if calibration is None else 'images'} and {of!r}; give some to Detector.calibrate."
        )
    return getattr(calibration, of)


def p_values(survival: Survival, scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Conformal p-values, (1 + I share) / (I + 1): small for scores that normal samples rarely reach.

    Between the kept scores of a survival function the larger share is taken, so that the guarantee stays.

    Args:
        survival: of the same kind of score.
        scores: of new samples.
    """
    shares = survival.shares[np.searchsorted(survival.scores, scores)]
    values = (1 + survival.num_images * shares) / (survival.num_images + 1)
    return np.asarray(np.round(values, 12))  # so that 2 in 20 is not more than 0.1


def p_value(calibration: Calibration | None, score: float, of: str = "image") -> float | None:
    """Conformal p-value of one score; None where no images were held or left out.

    Args:
        calibration: from `calibrate`, or None.
        score: of a new image, patch or pixel.
        of: "image", "patch", "pixel" or "most", which of these it is.
    """
    if calibration is None:
        return None
    return float(p_values(survival_of(calibration, of), np.asarray(score)))


def p_value_of_most(calibration: Calibration | None, image: ScoredImage) -> float | None:
    """Conformal p-value of an image, half of whose patches may be anything: small where hardly any patch is normal.

    The score that a quarter of its patches does not exceed is held against those that three quarters of the patches of
    normal images do not exceed. Where up to half of the patches of a normal image have been changed, at least a quarter
    of all are unchanged and among its lower three quarters, so that the first is no higher than the second was: the
    p-value is no smaller than one that is at most r with probability r.

    Args:
        calibration: from `calibrate`; one that is None, or does not hold this, gives None.
        image: a new one.
    """
    if calibration is None or calibration.most is None:
        return None
    return p_value(calibration, image.quantile(1 - MOST), "most")


def threshold(survival: Survival, rate: float, method: str = "conformal") -> float:
    """Lowest score that is called anomalous, so that normal samples are at most at a given rate.

    Args:
        survival: of the kind of score.
        rate: false positive rate, in (0, 1).
        method: "conformal", the rate holds for new images whatever I is; or "quantile", it holds for the held-out ones,
            and for new ones only as I grows.

    Raises:
        ValueError: an unknown method, a rate outside of (0, 1), or one too small for so few images.
    """
    if method not in METHODS or not 0 < rate < 1:
        raise ValueError(
            f"method must be one of {', '.join(METHODS)} and rate between 0 and 1, got {method!r} and {rate}; "
            "0.05 is a usual rate."
        )
    number = survival.num_images
    allowed = rate if method == "quantile" else (rate * (number + 1) - 1) / number
    if allowed < -1e-12:
        raise ValueError(
            f"rate must be at least 1 / {number + 1} = {1 / (number + 1):.4f} with {number} normal images, got "
            f"{rate:g}; give more of them, or use the method 'quantile', which promises nothing."
        )
    first = int(np.flatnonzero(survival.shares <= allowed + 1e-12)[0])
    return float(np.nextafter(survival.scores[first - 1], np.inf))


def _thin(found: Calibration, kept_points: int) -> Calibration:
    """What has many samples per image is thinned."""
    patch, pixel = (_thinned(part, kept_points) for part in (found.patch, found.pixel))
    return found._replace(patch=patch, pixel=pixel)


def _survival(table: ScoreTable, num_images: int) -> Survival:
    """Every row of a table, whose `regions` hold the shares within images."""
    shares = np.append(at_least(table.regions) / num_images, 0.0)
    if not table.dropped_bits:
        return Survival(np.append(table.scores, np.inf), shares, num_images)
    # A row of a coarse table stands for scores from its own to the next: it may lie above a score within it.
    scores = np.concatenate([table.scores, [upper_edge(table), np.inf]])
    return Survival(scores, np.concatenate([shares[:1], shares]), num_images)


def _merged(parts: Sequence[Survival]) -> Survival:
    """The mean of step functions, each weighted by its number of images."""
    scores = np.unique(np.concatenate([part.scores for part in parts]))
    number = sum(part.num_images for part in parts)
    shares = np.zeros(len(scores))
    for part in parts:
        shares += part.num_images / number * part.shares[np.searchsorted(part.scores, scores)]
    return Survival(scores, shares, number)


def _thinned(survival: Survival, kept_points: int = KEPT_POINTS) -> Survival:
    """Some of the scores, at even shares and at shares that halve; between them the larger share."""
    half = kept_points // 2
    wanted = np.concatenate([np.linspace(1, 0, half), 2.0 ** -np.linspace(1, 30, half - 1)])
    last = len(survival.shares) - 1
    ends = [
        last - 1,
        last,
    ]  # the highest score, so that the share beyond it is 0 however many share it
    kept = np.unique(np.append(np.searchsorted(-survival.shares, -wanted), ends))
    bounds = survival.shares[np.concatenate([[0], kept[:-1] + 1])]
    return Survival(survival.scores[kept], bounds, survival.num_images)
