"""The score that the settings name, as a function of images: one score of patches, or several and the context as one.

A score of `jaxdpmm.scoring` is of a patch alone, and one such score runs as it is. Several are numbers side by side,
one column per score, that a fusion makes one of (`../scoring/fusion.py`). The context is of a patch among those around
it: its column holds numbers of components, of which `context.py` makes scores where an image's grid is known. What is
fused is minus the log of a p-value among patches of normal images, in nats.

Fusion and context are learned from training images that are scored as if they had not been there (`leaving_out.py`).
Where thresholds come from the same images, each is fused as the others say (`FOLDS`), so that its own patches are not
among those that tell what is usual. The exponent of the context alone, one of twelve settings, is chosen by images
that are judged with it. Next file to read: `leaving_out.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.choices import CONTEXT
from jaxdpmm.detection.context import (
    LearnedContext,
    choose_context,
    context_scores,
    count_context,
    nearest_component,
    prepare_context,
    without,
)
from jaxdpmm.detection.reduction import reduced
from jaxdpmm.detection.scored import ScorePatches, compile_scorer
from jaxdpmm.detection.settings import is_joint, names_of
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.model import Mixture
from jaxdpmm.programs import reshaped
from jaxdpmm.scoring import SCORERS, Fusion, Scorer, fused_scores, learn_fusion

FOLDS = 10  # parts of the images, each of which is fused as the others say
MOST_CHOOSING = 8  # images that choose how a context is taken
USUAL, RARE = (
    float(np.log(2)),
    float(np.log(1000)),
)  # of minus log p-values, the median and the 99.9 % quantile
COLOUR_LIMITS = USUAL, 2 * RARE - USUAL  # as `overlay.colour_limits` would find them


class Joint(NamedTuple):
    """What is learned beside a mixture where several scores, or the context, are one.

    Attributes:
        context: None where it is none of the scores.
        fusion: of the scores.
        grids: fused scores of the images that it was learned from, each as the others say.
    """

    context: LearnedContext | None
    fusion: Fusion
    grids: list[Float[np.ndarray, "h w"]]


@lru_cache
def columns(mixture: Mixture, names: tuple[str, ...]) -> Scorer:
    """What scores see in a patch alone, a column for each: (N, J) in place of (N,).

    Args:
        mixture: static description.
        names: in `SCORERS`, or the context, for which the number of the patch's component stands.

    Raises:
        TypeError: the family does not have one of the scores.
    """
    makers = {**SCORERS, CONTEXT: nearest_component}
    scorers = [makers[name](mixture) for name in names]

    def prepare(posterior: Any) -> tuple[Any, ...]:
        return tuple(scorer.prepare(posterior) for scorer in scorers)

    def score(params: tuple[Any, ...], x: Float[Array, "N D"]) -> Float[Array, "N J"]:
        pairs = zip(scorers, params, strict=True)
        return jnp.stack([scorer.score(one, x) for scorer, one in pairs], axis=1)

    return Scorer(prepare, score)


def compile_score(state: DetectorState, score: str | tuple[str, ...]) -> ScorePatches:
    """The score of the settings, ready to run on the patches of images, (..., h, w, D) to (..., h, w).

    Args:
        state: with a fusion where there are several scores, and a context where it is one of them.
        score: names of the scores. Without the context the patches need not be those of images.

    Raises:
        ValueError: what the scores need was not learned.
    """
    if not is_joint(score):
        return compile_scorer(*state.scorer(names_of(score)[0]))
    names, fusion, context = names_of(score), state.fusion, state.context
    if fusion is None or (CONTEXT in names and context is None):
        raise ValueError(
            f"score must be one of a patch alone where training patches are not known as images, got "
            f"{' and '.join(names)}, which are fused as left-out images say; fit with Detector.fit, or name one score."
        )
    of_patch = compile_scorer(
        reduced(columns(state.mixture, names)), (state.posterior, state.reduction)
    )
    model = None if context is None else prepare_context(context)

    def score_patches(features: Any) -> Any:
        found = of_patch(features)
        if model is not None:
            found = np.array(found)
            for image in found.reshape(-1, *found.shape[-3:]):
                place = names.index(CONTEXT)
                image[..., place] = context_scores(model, image[..., place].astype(int))
        fused = fused_scores(fusion, reshaped(found, -1, len(names)))
        return reshaped(fused, *features.shape[:-1])

    return score_patches


def components_of(
    state: DetectorState, images: Iterable[Float[np.ndarray, "h w D"]]
) -> Iterator[Int[np.ndarray, "h w"]]:
    """The number of the component whose mean is nearest to each patch of each image, as a context counts them."""
    found = compile_scorer(
        reduced(nearest_component(state.mixture)), (state.posterior, state.reduction)
    )
    return (np.asarray(found(features)).astype(int) for features in images)


def learn_joint(
    names: tuple[str, ...],
    left_out: Mapping[int, Float[np.ndarray, "h w J"]],
    labels: Sequence[Int[np.ndarray, "h w"]],
    num_components: int,
) -> Joint:
    """Learn a context, if it is one of the scores, and a fusion.

    Args:
        names: of the scores.
        left_out: `columns` of images that were left out, by the number of the image; they are not changed.
        labels: `components_of` all training images, where the context is one of the scores.
        num_components: K.

    Raises:
        ValueError: fewer than 100 patches, or scores that are not finite.
    """
    context = None
    if CONTEXT in names:
        place = names.index(CONTEXT)
        inner = {number: grid[..., place].astype(int) for number, grid in left_out.items()}
        context = _learn_context(inner, labels, num_components)
        left_out = {
            number: _with_context(context, grid, labels[number], place)
            for number, grid in left_out.items()
        }
    rows = [grid.reshape(-1, len(names)) for grid in left_out.values()]
    fusion = learn_fusion(np.concatenate(rows))
    return Joint(context, fusion, _as_others_say(list(left_out.values())))


def _learn_context(
    left_out: Mapping[int, np.ndarray], labels: Sequence[np.ndarray], num_components: int
) -> LearnedContext:
    """Counts of all images, taken as some of those that are left out from the counts say."""
    counts = count_context(labels, num_components)
    step = max(
        2, -(-len(left_out) // MOST_CHOOSING)
    )  # at most half of them, so that counts are left
    chosen = list(left_out)[::step]
    rest = without(counts, count_context((labels[one] for one in chosen), num_components))
    best = choose_context(rest, [left_out[one] for one in chosen])
    return best._replace(counts=counts)


def _with_context(
    context: LearnedContext, grid: np.ndarray, counted: np.ndarray, place: int
) -> np.ndarray:
    """Columns of a left-out image, with its scores by the context without it."""
    num_components = len(context.counts.centres)
    rest = without(context.counts, count_context([counted], num_components))
    model = prepare_context(context._replace(counts=rest))
    new = np.array(grid)
    new[..., place] = context_scores(model, grid[..., place].astype(int))
    return new


def _as_others_say(grids: list[np.ndarray]) -> list[np.ndarray]:
    """Each image fused by a fusion that was learned from the others, some of them at a time."""
    fused: list[Any] = [None] * len(grids)
    number = min(FOLDS, len(grids))
    for fold in range(number):
        others = [grid for place, grid in enumerate(grids) if place % number != fold]
        rows = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in others])
        fusion = learn_fusion(rows)
        for place in range(fold, len(grids), number):
            flat = grids[place].reshape(-1, grids[place].shape[-1])
            fused[place] = np.asarray(fused_scores(fusion, flat)).reshape(grids[place].shape[:-1])
    return fused
