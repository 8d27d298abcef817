"""The score that the settings name, as a function of images: one score of patches, or several and the context as one.

A score of `jaxdpmm.scoring` is of a patch alone, and one such score runs as it is. Several are numbers side by side,
one column per score, that a fusion makes one of (`../../scoring/fusion.py`). The context is of a patch among those
around it: its column holds numbers of components, of which `context.py` makes scores where an image's grid is known.
The odds of known anomalies begin as a density of normal patches, to which `known.py` adds the other. The discrepancy of
unlabelled images is of another mixture alone (`prevalence.py`), and its column is empty until then. What is fused is
minus the log of a p-value among patches of normal images, in nats; the discrepancy is in nats and added as it is.

Fusion and context are learned from training images that are scored as if they had not been there (`../leaving_out.py`).
Where thresholds come from the same images, each is fused as the others say (`FOLDS`), so that its own patches are not
among those that tell what is usual. The exponent of the context alone, one of eighteen settings, is chosen by images
that are judged with it. Next file to read: `../leaving_out.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.choices import CONTEXT, DISCREPANCY, ODDS, is_joint, names_of
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.patches import ImagePatches
from jaxdpmm.detection.reduction import reduced
from jaxdpmm.detection.scored import ScorePatches, compile_scorer
from jaxdpmm.detection.scores.context import (
    LearnedContext,
    choose_context,
    context_scores,
    count_context,
    nearest_component,
    prepare_context,
    ring_apart,
    without,
)
from jaxdpmm.detection.scores.known import compile_odds, learn_known
from jaxdpmm.detection.scores.nearest import components_of
from jaxdpmm.detection.scores.prevalence import compile_evidence
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.model import Mixture
from jaxdpmm.programs import reshaped
from jaxdpmm.scoring import (
    SCORERS,
    Fusion,
    Scorer,
    fuse,
    fused_scores,
    learn_fusion,
    nearest_predictive,
)

FOLDS = 10  # parts of the images, each of which is fused as the others say
MOST_CHOOSING = 8  # images that choose how a context is taken
USUAL, RARE = (
    float(np.log(2)),
    float(np.log(1000)),
)  # of minus log p-values, the median and the 99.9 % quantile
IN_NATS = (DISCREPANCY,)  # scores that are added as they are
COLOUR_LIMITS = USUAL, 2 * RARE - USUAL  # as `overlay.colour_limits` would find them

Finish = Callable[[Any, Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]
"""Features of images, (..., h, w, D), and a column of what is seen in each patch alone, (..., h, w), to scores."""


@lru_cache
def _empty(mixture: Mixture) -> Scorer:
    """A column of zeros, for a score that sees nothing in a patch by the mixture of normal ones."""
    del mixture
    return Scorer(lambda posterior: (), lambda params, x: jnp.zeros(len(x), x.dtype))


COLUMNS = {
    **SCORERS,
    CONTEXT: nearest_component,
    ODDS: nearest_predictive,
    DISCREPANCY: _empty,
}


@lru_cache
def columns(mixture: Mixture, names: tuple[str, ...]) -> Scorer:
    """What scores see in a patch alone, a column for each: (N, J) in place of (N,).

    Args:
        mixture: static description.
        names: in `COLUMNS`; the number of the patch's component stands for the context, a density for the odds,
            zero for the discrepancy.

    Raises:
        TypeError: the family does not have one of the scores.
    """
    scorers = [COLUMNS[name](mixture) for name in names]

    def prepare(posterior: Any) -> tuple[Any, ...]:
        return tuple(scorer.prepare(posterior) for scorer in scorers)

    def score(params: tuple[Any, ...], x: Float[Array, "N D"]) -> Float[Array, "N J"]:
        pairs = zip(scorers, params, strict=True)
        return jnp.stack([scorer.score(one, x) for scorer, one in pairs], axis=1)

    return Scorer(prepare, score)


def compile_score(state: DetectorState, score: str | tuple[str, ...]) -> ScorePatches:
    """The score of the settings, ready to run on the patches of images, (..., h, w, D) to (..., h, w).

    Args:
        state: with all that `learn_joint` adds where the scores need it.
        score: names of the scores. Without the context the patches need not be those of images.

    Raises:
        ValueError: what the scores need was not learned.
    """
    if not is_joint(score):
        return compile_scorer(*state.scorer(names_of(score)[0]))
    names, fusion = names_of(score), state.fusion
    if fusion is None:
        raise ValueError(
            f"score must be one of a patch alone where training patches are not known as images, got "
            f"{' and '.join(names)}, which are fused as left-out images say; fit with Detector.fit, or name one score."
        )
    fitted, scorer = (state.posterior, state.reduction), reduced(columns(state.mixture, names))
    finishers = _finishers(state, names)
    if not finishers:  # all of it is of a patch alone, and one program
        return compile_scorer(_of_columns(scorer), (fitted, fusion))
    of_patch = compile_scorer(scorer, fitted)

    def score_patches(features: Any) -> Any:
        found = _finished(finishers, of_patch(features), features)
        fused = fused_scores(fusion, reshaped(found, -1, len(names)))
        return reshaped(fused, *features.shape[:-1])

    return score_patches


@lru_cache
def _of_columns(scorer: Scorer) -> Scorer:
    """The columns of a scorer as one score. It is fitted on a pair: what `scorer` is fitted on, and a `Fusion`."""

    def prepare(fitted: tuple[Any, Fusion]) -> Any:
        return scorer.prepare(fitted[0]), fitted[1]

    def score(params: tuple[Any, Fusion], x: Float[Array, "N D"]) -> Float[Array, " N"]:
        prepared, fusion = params
        return fuse(fusion, scorer.score(prepared, x))

    return Scorer(prepare, score)


def in_unit(fusion: Fusion | None, found: Float[np.ndarray, "h w J"]) -> Float[np.ndarray, "h w"]:
    """The score of the settings from `columns` that are scores.

    Args:
        fusion: of the columns; None for one that is the score itself.
        found: of one image.
    """
    if fusion is None:
        return found[..., 0]
    fused = fused_scores(fusion, found.reshape(-1, found.shape[-1]))
    return np.asarray(fused).reshape(found.shape[:-1])


def learn_joint(
    state: DetectorState,
    config: DetectorConfig,
    left_out: Mapping[int, Float[np.ndarray, "h w J"]],
    images: Sequence[Float[np.ndarray, "h w D"]],
    anomalies: Sequence[ImagePatches] = (),
) -> tuple[DetectorState, Iterator[Float[np.ndarray, "h w"]]]:
    """Learn what the scores of the settings need: a context and known anomalies, if they are among them, and a fusion.

    Args:
        state: of the mixture, with what unlabelled images hold where the discrepancy is one of the scores.
        config: settings.
        left_out: `columns` of images that were left out, by the number of the image; they are not changed.
        images: features of all training images.
        anomalies: images that are known to be anomalous, where the odds are one of the scores.

    Returns:
        The state with these parts, and the fused scores of the images that were left out, each as the others say.

    Raises:
        ValueError: fewer than 100 patches, or scores that are not finite.
    """
    names = names_of(config.score)
    if ODDS in names:
        place = names.index(ODDS)
        normal = np.concatenate([grid[..., place].ravel() for grid in left_out.values()])
        known = learn_known(state, config, anomalies, normal)
        state, odds = state._replace(known=known), {place: compile_odds(state, known)}
        left_out = {n: _finished(odds, grid, images[n]) for n, grid in left_out.items()}
    if state.unlabelled is not None:
        finish = {names.index(DISCREPANCY): compile_evidence(state, state.unlabelled, 1)}
        left_out = {n: _finished(finish, grid, images[n]) for n, grid in left_out.items()}
    if CONTEXT in names:
        place = names.index(CONTEXT)
        labels = list(components_of(state, images))
        inner = {number: grid[..., place].astype(int) for number, grid in left_out.items()}
        context = _learn_context(inner, labels, state.mixture.num_components)
        state = state._replace(context=context)
        left_out = {
            number: _with_context(context, grid, labels[number], place)
            for number, grid in left_out.items()
        }
    grids = list(left_out.values())
    return state._replace(fusion=_fusion_of(grids, names)), _as_others_say(grids, names)


def _finishers(state: DetectorState, names: tuple[str, ...]) -> dict[int, Finish]:
    """What makes scores of the columns that are none yet, by their places."""
    finishers: dict[int, Finish] = {}
    if state.context is not None:
        finishers[names.index(CONTEXT)] = _compile_context(state.context)
    if state.known is not None:
        finishers[names.index(ODDS)] = compile_odds(state, state.known)
    if state.unlabelled is not None:
        finishers[names.index(DISCREPANCY)] = compile_evidence(state, state.unlabelled)
    return finishers


def _finished(finishers: Mapping[int, Finish], found: Any, features: Any) -> Any:
    """Columns of images, (..., h, w, J), all of them scores."""
    if finishers:
        found = np.array(found)
    for place, finish in finishers.items():
        found[..., place] = finish(features, found[..., place])
    return found


def _compile_context(context: LearnedContext) -> Finish:
    model = prepare_context(context)

    def finish(features: Any, numbers: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        del features
        grids = numbers.reshape(-1, *numbers.shape[-2:]).astype(int)
        return np.stack([context_scores(model, grid) for grid in grids]).reshape(numbers.shape)

    return finish


def _learn_context(
    left_out: Mapping[int, np.ndarray], labels: Sequence[np.ndarray], num_components: int
) -> LearnedContext:
    """Counts of all images, taken as some of those that are left out from the counts say."""
    ring = ring_apart(labels)
    counts = count_context(labels, num_components, ring)
    step = max(
        2, -(-len(left_out) // MOST_CHOOSING)
    )  # at most half of them, so that counts are left
    chosen = list(left_out)[::step]
    rest = without(counts, count_context((labels[one] for one in chosen), num_components, ring))
    best = choose_context(rest, [left_out[one] for one in chosen], ring)
    return best._replace(counts=counts)


def _with_context(
    context: LearnedContext, grid: np.ndarray, counted: np.ndarray, place: int
) -> np.ndarray:
    """Columns of a left-out image, with its scores by the context without it."""
    num_components = len(context.counts.centres)
    rest = without(context.counts, count_context([counted], num_components, context.ring))
    finish = _compile_context(context._replace(counts=rest))
    return _finished({place: finish}, grid, None)


def _fusion_of(grids: Sequence[np.ndarray], names: tuple[str, ...]) -> Fusion:
    """A fusion of the columns of these images, all of them scores."""
    rows = np.concatenate([grid.reshape(-1, len(names)) for grid in grids])
    return learn_fusion(rows, in_nats=[names.index(name) for name in IN_NATS if name in names])


def _as_others_say(
    grids: list[np.ndarray], names: tuple[str, ...]
) -> Iterator[Float[np.ndarray, "h w"]]:
    """Each image fused by a fusion that was learned from the others, some of them at a time, when it is asked for."""
    number = min(FOLDS, len(grids))
    fusions: dict[int, Fusion] = {}
    for place, grid in enumerate(grids):
        fold = place % number
        if fold not in fusions:
            others = [one for other, one in enumerate(grids) if other % number != fold]
            fusions[fold] = _fusion_of(others, names)
        yield in_unit(fusions[fold], grid)
