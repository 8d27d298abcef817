"""Ideas that learn from more than normal images, for `ideas.py`; what an idea gives."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from ideas_data import (
    DENSITY,
    Grids,
    Setting,
    features_of,
    figures,
    fused_grids,
    timed,
    with_base,
)

from jaxdpmm.detection import ImagePatches, compile_scorer
from jaxdpmm.detection.scores.known import compile_odds, learn_known
from jaxdpmm.detection.scores.prevalence import compile_evidence
from jaxdpmm.detection.scores.unlabelled import with_unlabelled

NUM_UNLABELLED = 40


class Outcome(NamedTuple):
    """Scores of test images with an idea.

    Attributes:
        grids: of patches.
        seconds: per image that the idea adds.
        chosen: which test images count; None for all.
        whole: scores of whole images, where they are not made of those of patches.
        more: further entries of the record.
        base: scores of patches without the idea, where they are not the detector's.
    """

    grids: Grids
    seconds: list[float]
    chosen: Sequence[int] | None = None
    whole: Sequence[float] | None = None
    more: dict[str, Any] = {}  # noqa: RUF012, never changed
    base: Grids | None = None


def joined(
    setting: Setting,
    held_out: Grids,
    test: Grids,
    seconds: list[float],
    chosen: Sequence[int] | None = None,
    more: dict[str, Any] | None = None,
    in_nats: Collection[int] = (),
) -> Outcome:
    """The detector's score and others, fused: by the sum, and beside it by the largest; some in nats already."""
    normal = with_base(setting.base_held_out[-len(held_out) :], held_out)
    new = with_base(setting.base_test, test)
    by = {combine: fused_grids(normal, new, combine, in_nats) for combine in ("sum", "largest")}
    of_largest = figures(setting, by["largest"], chosen)
    more = (more or {}) | {"with_largest": of_largest}
    return Outcome(by["sum"], seconds, chosen, more=more)


def known(number: int, setting: Setting) -> Outcome:
    """Posterior odds with so many known anomalous images of half of the kinds, judged by the rest, kinds apart."""
    kinds = sorted({one.record.kind for one in setting.test if one.record.label})
    seen = set(kinds[setting.config.seed % len(kinds) :: 2])
    by_kind = [place for place, one in enumerate(setting.test) if one.record.kind in seen]
    order = np.random.default_rng(setting.config.seed).permutation(by_kind)
    learned = order[: min(number, len(order) // 2)].tolist()
    state = setting.state
    density = compile_scorer(*state.scorer(DENSITY))
    held_out = [np.asarray(density(one)) for one in features_of(setting.held_out)]
    test = [np.asarray(density(one)) for one in features_of(setting.test)]
    images = [setting.test[place] for place in learned]
    normal = np.concatenate([one.ravel() for one in held_out])
    of_known = learn_known(state, setting.config, images, normal)
    odds = compile_odds(state, of_known)
    grids, seconds = timed(
        lambda one: odds(one, np.asarray(density(one))), features_of(setting.test)
    )
    usual = [odds(one.features, grid) for one, grid in zip(setting.held_out, held_out, strict=True)]
    more: dict[str, Any] = {"num_known_images": len(learned)}
    chosen = [place for place in range(len(setting.test)) if place not in learned]
    more |= {"density": figures(setting, test, chosen), "alone": figures(setting, grids, chosen)}
    found = joined(setting, usual, grids, seconds, chosen)
    fused = found.grids
    for name, is_kind in (("seen", True), ("unseen", False)):
        some = [
            place
            for place in chosen
            if not (one := setting.test[place].record).label or (one.kind in seen) == is_kind
        ]
        if any(setting.test[place].record.label for place in some):
            both = (figures(setting, of, some) for of in (setting.base_test, fused))
            more[name] = dict(zip(("without", "with"), both, strict=True))
    return found._replace(more=found.more | more)


def unlabelled(percent: int, setting: Setting) -> Outcome:
    """The detector's score, and the evidence of unlabelled images, so many in a hundred of which are anomalous."""
    is_spare = bool(setting.spare)
    chosen = range(len(setting.test))[int(not is_spare) :: 1 + (not is_spare)]
    mixed = _mixed(setting.spare or setting.test[::2], setting.config.seed, percent)
    state = with_unlabelled(setting.state, setting.config, setting.patches, features_of(mixed))
    score = partial(compile_evidence(state, state.unlabelled), column=None)
    found, seconds = timed(score, features_of(setting.test))
    held_out = [score(one) for one in features_of(setting.held_out)]
    more = {"alone": figures(setting, found, chosen), "num_unlabelled": len(mixed)}
    more |= {"num_anomalous": sum(bool(one.record.label) for one in mixed)}
    return joined(setting, held_out, found, seconds, chosen, more, in_nats=[1])


def _mixed(images: list[ImagePatches], seed: int, percent: int) -> list[ImagePatches]:
    """Some of the images, so that the share of anomalous ones is as asked for.

    Raises:
        ValueError: there are too few for that.
    """
    drawn = [images[place] for place in np.random.default_rng(seed).permutation(len(images))]
    by_label = [
        [one for one in drawn if bool(one.record.label) == label] for label in (False, True)
    ]
    number = min(NUM_UNLABELLED, int(len(by_label[0]) / (1 - percent / 100)))
    num_anomalous = round(number * percent / 100)
    if not 1 <= num_anomalous <= len(by_label[1]):
        raise ValueError(f"{len(by_label[0])} normal images are too few")
    return by_label[0][: number - num_anomalous] + by_label[1][:num_anomalous]
