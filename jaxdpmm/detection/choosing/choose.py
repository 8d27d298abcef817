"""A detector's settings chosen without a single anomaly: what is tried, on what, and which setting is best.

A quarter of the normal images is held out. Copies of them over which parts of others lie or shine through
(`../../images/transplants.py`) go through the backbone once, like all other images. Every setting is fitted to the
rest, and judged by how well it tells these copies from the held-out images (`trials.py`). Anomalies of features
(`synthetic.py`) have no part in it: those of one block are made of that block, so that another block is judged by
others. How far the choice agrees with real anomalies is measured in `benchmarks/choose.py`. Read `trials.py` next.
"""

import dataclasses
import os
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdpmm.choices import CONTEXT, PRESETS
from jaxdpmm.detection.backbones import backbone_for
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.choosing.trials import FIGURE, Material, Trial, trials
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.patches import ImagePatches, stream_patches
from jaxdpmm.features import Backbone
from jaxdpmm.features.given import is_given
from jaxdpmm.images.depth import value_range_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.transplants import transplants

MOST_LEARNED, MOST_HELD_OUT, NUM_SYNTHETIC = 100, 40, 64  # images
IMAGES_PER_HELD_OUT, FEWEST_HELD_OUT = 4, 2
MARGIN = 2.0  # standard errors
LEAST_GAIN = 0.01
DEPTH = 3  # last blocks of the backbone that are tried
ROTATIONS = 4

PLAIN = {"covariance": "spherical", "share": 0.01}
WIDER = {"covariance": "spherical", "share": 0.02}
TANGENT = {name: PRESETS["accurate"][name] for name in ("covariance", "rank", "share")}

MIXTURES: tuple[tuple[dict[str, Any], tuple[Any, ...]], ...] = (
    (PLAIN, ("cosine", "nearest_predictive")),
    (WIDER, ("cosine", "nearest_predictive")),
    (TANGENT, ("cosine", "residual")),
)
"""Mixtures that are tried, and scores of each; the cheapest first."""

FUSED = (
    (PLAIN, ("cosine", "nearest_predictive")),
    (PLAIN, ("cosine", CONTEXT)),
    (TANGENT, PRESETS["accurate"]["score"]),
)
"""Scores that are tried as one, of the features of the last block."""


class Choice(NamedTuple):
    """Which setting to take.

    Attributes:
        chosen: the trial of it.
        usual: the trial of the settings that one started from.
        errors: of each trial, in order, the standard error of its figure's distance from that of the best.
        reason: one sentence.
    """

    chosen: Trial
    usual: Trial
    errors: tuple[float, ...]
    reason: str


def settings_to_try(
    config: DetectorConfig, given: Collection[str] = ()
) -> tuple[DetectorConfig, ...]:
    """The settings that are tried, those that one starts from first.

    Every mixture with each of its scores on the features of the last block, on those of the one before, and on the
    mean of the last three; and on those of the last block, fused scores, the cheapest without the background of
    images, and all of them with rotated images. One score as p-values orders patches as it does without.

    Args:
        config: settings to start from, resolved.
        given: names of settings that stay as they are.
    """
    pairs = [{**mixture, "score": score} for mixture, scores in MIXTURES for score in scores]
    usual = {"rotations": 1, "foreground": False}
    features = _features_to_try(config.layers or ())
    everything: list[dict[str, Any]] = []
    for mixture, scores in MIXTURES:  # neighbours share a fit
        fused = tuple(names for of, names in FUSED if of is mixture)
        everything += [{**mixture, **usual, "score": one} for one in scores + fused]
    everything.insert(1, {**everything[0], "foreground": True})
    everything += [{**pair, **usual, **one} for one in features for pair in pairs]
    rotated = {"rotations": ROTATIONS, "foreground": False}  # with as many components as without
    everything += [{**pair, **rotated, "share": pair["share"] / ROTATIONS} for pair in pairs]
    if "num_components" in given:  # a share would change nothing
        everything = [{**one, "share": config.share} for one in everything]
    kept = {name: getattr(config, name) for name in given}
    fitting = [one for one in everything if all(one.get(n, v) == v for n, v in kept.items())]
    return tuple(dict.fromkeys([config, *(dataclasses.replace(config, **one) for one in fitting)]))


def _features_to_try(layers: tuple[int, ...]) -> list[dict[str, Any]]:
    """Other blocks than the one that one starts from; none beside several."""
    if len(layers) != 1:
        return []
    (last,) = layers
    before = tuple(range(max(1, last - DEPTH + 1), last + 1))
    found: list[dict[str, Any]] = [{"layers": before[-2:-1]}, {"layers": before, "join": "mean"}]
    return found if len(before) > 1 else []


def prepare(
    records: Sequence[ImageRecord],
    config: DetectorConfig,
    configs: Sequence[DetectorConfig],
    backbone: Backbone,
    *,
    strict: bool = False,
    progress: bool = False,
    cache: str | os.PathLike | None = None,
) -> Material:
    """Images to try settings on: some of the normal ones to learn from, others held out, and anomalies made of these.

    Args:
        records: normal images.
        config: settings that all have in common, and the seed.
        configs: settings to try, for the blocks and the rotations that they need.
        backbone: the one that the configuration names.
        strict: an image that cannot be read is an error, instead of a warning and a gap.
        progress: show bars on standard error.
        cache: folder to keep features in, of images that are not rotated.

    Raises:
        ValueError: too few images, none that can be read, or features in their place.
    """
    if is_given(backbone):
        raise ValueError(
            f"records must be images, got features in {records[0].path}; give the images, since parts of some are laid "
            "over others."
        )
    num_held_out = min(MOST_HELD_OUT, len(records) // IMAGES_PER_HELD_OUT)
    if num_held_out < FEWEST_HELD_OUT:
        raise ValueError(
            f"records must hold at least {FEWEST_HELD_OUT * IMAGES_PER_HELD_OUT} normal images, got {len(records)}; "
            "give more, since a quarter of them is held out."
        )
    order = np.random.default_rng(config.seed).permutation(len(records))
    held_out, learned = (
        [records[place] for place in part]
        for part in np.split(order[: num_held_out + MOST_LEARNED], [num_held_out])
    )
    synthetic = transplants(
        held_out, NUM_SYNTHETIC, seed=config.seed, value_range=config.value_range
    )
    layers = tuple(sorted({layer for one in configs for layer in one.layers or ()}))
    rotations = max(one.rotations for one in configs)
    wide = dataclasses.replace(config, layers=layers, join="concatenate")

    def features_of(part: Sequence[ImageRecord], name: str, copies: int = 1) -> list[ImagePatches]:
        options: dict[str, Any] = {"strict": strict, "progress": name if progress else None}
        if cache is not None and copies == 1:
            stream = cached_patches(part, wide, backbone, cache, **options)
        else:
            stream = stream_patches(part, wide, backbone, rotations=copies, **options)
        return [one._replace(features=np.asarray(one.features, np.float16)) for one in stream]

    return Material(
        layers,
        features_of(learned, "images to learn from", rotations),
        rotations,
        features_of(held_out, "held-out images"),
        features_of(synthetic, "synthetic anomalies"),
    )


def decide(tried: Sequence[Trial]) -> Choice:
    """Which of some trials to take: that of the settings that one starts from, unless others are clearly better.

    A setting is clearly better where its pixel AUROC, the mean over the recipes of anomalies, is so by more than 0.01
    and by twice the standard error of the difference, over images drawn anew. Of clearly better settings the best is
    taken, or the smallest of those within one standard error of it.

    Args:
        tried: at least one; the first is that of the settings that one starts from.
    """
    usual = tried[0]
    better = [trial for trial in tried if _is_better(trial, usual)]
    best = max(better or tried, key=lambda trial: trial.figures[FIGURE])
    errors = tuple(_error(best, trial) for trial in tried)
    found = f"{_gain(best, usual):.3f} with a standard error of {_error(best, usual):.3f}"
    if not better:
        least = f"{LEAST_GAIN:g} and twice the standard error"
        reason = f"No other setting is better by {least}; the best is so by {found}."
        return Choice(usual, usual, errors, reason)
    near = [trial for trial in better if _gain(best, trial) <= _error(best, trial)]
    chosen = min(near, key=lambda trial: trial.num_bytes)
    is_best = "the best" if chosen is best else "the smallest of those that are as good as the best"
    reason = f"Of settings that are clearly better it is {is_best}, which is so by {found}."
    return Choice(chosen, usual, errors, reason)


def choose(
    records: Sequence[ImageRecord],
    config: DetectorConfig | None = None,
    *,
    given: Collection[str] = (),
    backbone: Backbone | None = None,
    **options: Any,
) -> Choice:
    """The settings to fit a detector with, chosen by synthetic anomalies of some of the normal images.

    Args:
        records: normal images.
        config: settings to start from; None for the defaults.
        given: names of settings that stay as they are.
        backbone: loaded already; by default the one that the settings name.
        **options: of `prepare`.

    Raises:
        FileNotFoundError: no such backbone or image.
        ValueError: too few images, or none that can be read.
    """
    config = config or DetectorConfig()
    backbone = backbone or backbone_for(records, config)
    config = config.resolved(backbone)
    if config.value_range is None:
        config = dataclasses.replace(config, value_range=value_range_of(records))
    configs = settings_to_try(config, given)
    material = prepare(records, config, configs, backbone, **options)
    return decide(list(trials(material, configs)))


def _is_better(one: Trial, other: Trial) -> bool:
    return _gain(one, other) > max(LEAST_GAIN, MARGIN * _error(one, other))


def _gain(one: Trial, other: Trial) -> float:
    return one.figures[FIGURE] - other.figures[FIGURE]


def _error(one: Trial, other: Trial) -> float:
    """Standard error of the gain of one trial over another, the images being the same."""
    return float(np.std(one.replicates - other.replicates))
