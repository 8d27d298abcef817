"""Ideas that learn from more than normal images, or from several sites, for `ideas.py`; what an idea gives."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
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

from jaxdpmm.detection import compile_scorer
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.scores.known import compile_odds, learn_known
from jaxdpmm.inference import from_stats, initialize, merge, partial_fit
from jaxdpmm.model import Posterior
from jaxdpmm.scoring import SCORERS, log_ratio
from jaxdpmm.scoring.ratio import Hypotheses
from jaxdpmm.sites import merge_for

EXPOSURE = re.compile(r"exp\d")  # in names of tiles


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
) -> Outcome:
    """The detector's score and others, fused: by the sum, and beside it by the largest."""
    normal = with_base(setting.base_held_out[-len(held_out) :], held_out)
    new = with_base(setting.base_test, test)
    by = {combine: fused_grids(normal, new, combine) for combine in ("sum", "largest")}
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


def unlabelled(setting: Setting) -> Outcome:
    """The detector's score, and the log ratio of the density of all patches to that of normal ones."""
    seen = features_of(setting.test[::2])
    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in [*setting.train, *seen]])
    both, normal = fit_mixture(rows, setting.config), setting.state
    scorer = log_ratio(SCORERS[DENSITY](both.mixture), SCORERS[DENSITY](normal.mixture))
    score = compile_scorer(scorer, Hypotheses(both.posterior, normal.posterior))
    found, seconds = timed(score, features_of(setting.test))
    held_out = [score(one) for one in features_of(setting.held_out)]
    chosen = range(1, len(setting.test), 2)
    more = {"alone": figures(setting, found, chosen)}
    return joined(setting, held_out, found, seconds, chosen, more)


def sites(setting: Setting) -> Outcome:
    """Sites by the exposure of tiles: the exact merge against weights by how much of each image a site explains."""
    numbers = [EXPOSURE.search(name) for name in setting.names]
    found = sorted({one.group() for one in numbers if one})
    if len(found) < 2:
        raise ValueError("names tell no exposures")
    rows = {
        site: np.concatenate(
            [
                grid.reshape(-1, grid.shape[-1])
                for grid, one in zip(setting.train, numbers, strict=True)
                if one and one.group() == site
            ]
        )
        for site in found
    }
    mixture, prior = setting.state.mixture, setting.state.prior
    key = jax.random.key(setting.config.seed)
    start = initialize(mixture, prior, np.concatenate(list(rows.values()))[::10], key=key)
    stats = [partial_fit(mixture, prior, start, one)[1] for one in rows.values()]
    parts = [from_stats(mixture, prior, one) for one in stats]
    scorer = SCORERS[setting.config.score](mixture)

    def by(posterior: Posterior) -> Grids:
        score = compile_scorer(scorer, posterior)
        return [score(one) for one in features_of(setting.test)]

    def weighed(features: np.ndarray) -> np.ndarray:
        flat = features.reshape(-1, features.shape[-1])
        return compile_scorer(scorer, merge_for(mixture, prior, parts, flat))(features)

    exact = merge(mixture, prior, parts)
    grids, seconds = timed(weighed, features_of(setting.test))
    alone = [figures(setting, by(one)) for one in parts]
    means = {
        name: float(np.mean([one[name] for one in alone])) for name in alone[0] if alone[0][name]
    }
    return Outcome(grids, seconds, more={"alone": means}, base=by(exact))
