"""The context of a patch, for `ideas.py`: real anomalies, and parts of an image in a wrong place of it.

A wrong place is made of features: what is in a region of a normal image is put into another region of it, that of
several where it differs most from what was there. Every patch of it is normal, and no context has a part in making it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from ideas_data import Grids, Setting, features_of, figures, labels_by, timed, truth_of
from ideas_more import Outcome, joined

from jaxdpmm.detection import compile_scorer
from jaxdpmm.detection.choosing.synthetic import Stock, stock_of, synthetic_patches
from jaxdpmm.detection.scores.context import (
    choose_context,
    context_scores,
    count_context,
    prepare_context,
    ring_apart,
)
from jaxdpmm.scoring import component_means

NUM_PLACES = 10  # of which the one that differs most is taken


def context(setting: Setting) -> Outcome:
    """The detector's score, and the probability of a patch's component given those around it."""
    labels = labels_by(setting.state)
    grids = [labels(one) for one in setting.train]
    ring = ring_apart(grids)
    counts = count_context(grids, setting.state.mixture.num_components, ring)
    chosen = choose_context(counts, [labels(one) for one in features_of(setting.held_out)], ring)
    model = prepare_context(chosen)

    def score(features: np.ndarray) -> np.ndarray:
        return context_scores(model, labels(features))

    found, seconds = timed(score, features_of(setting.test))
    held_out = [score(one) for one in features_of(setting.held_out)]
    more: dict[str, Any] = {
        "exponent": model.exponent,
        "away": ring.inner,
        "num_pairs": int(counts.pairs.nnz),
    }
    more |= {"alone": figures(setting, found), "moved": _of_moved_parts(setting, held_out, score)}
    return joined(setting, held_out, found, seconds, more=more)


def _of_moved_parts(
    setting: Setting, held_out: Grids, score: Callable[[np.ndarray], np.ndarray]
) -> dict[str, dict[str, float | None]]:
    """Figures of normal test images, and of these with a part in a wrong place."""
    normal = [one for one in setting.test if not one.record.label]
    means = np.asarray(component_means(setting.state.mixture, setting.state.posterior))
    stock = stock_of(means, setting.train)
    seed, recipes = setting.config.seed, {"moved": moved}
    images = [*normal, *synthetic_patches(normal, stock, len(normal), seed=seed, recipes=recipes)]
    base = compile_scorer(*setting.state.scorer(setting.config.score))
    usual = [np.asarray(base(one)) for one in features_of(images)]
    truth = [truth_of(one) for one in images]
    own = setting._replace(test=images, truth=truth, base_test=usual)
    found = joined(own, held_out, [score(one) for one in features_of(images)], [])
    return {"without": figures(own, usual), "with": figures(own, found.grids)}


def moved(
    stock: Stock, features: np.ndarray, region: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """What is elsewhere in the image, of several places where it differs most from what the region holds."""
    del stock
    shifts = [tuple(random.integers(1, side) for side in region.shape) for _ in range(NUM_PLACES)]
    found = [np.roll(features, shift, (0, 1))[region] for shift in shifts]
    return max(found, key=lambda one: np.square(one - features[region]).sum())
