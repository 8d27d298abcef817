"""Every way to score patches that is compared, by name: mixtures, means, memory banks, all in the form of `scored.py`.

A method learns from patch features and a configuration and gives a function from patches to scores. Next file to read:
`comparison.py`, which compares them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdpmm.checks import check_choice
from jaxdpmm.detection.banks import faiss_bank, greedy_coreset, k_means_rows, memory_bank
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.scored import ScoreImages, ScorePatches, compile_scorer, num_bytes
from jaxdpmm.detection.scores.composition import compile_images
from jaxdpmm.detection.scores.joint import compile_score
from jaxdpmm.detection.settings import ScoreSettings
from jaxdpmm.detection.state import DetectorState

CORESET_SHARE = 0.01  # PatchCore's smallest


class Fitted(NamedTuple):
    """A method that has learned.

    Attributes:
        score_patches: patch features of one image to patch scores.
        num_bytes: size of the arrays that it must keep.
        num_rows: how many components, means or patches these are.
        score_images: patch features of images to scores of these; None for the mean of their highest patch scores.
    """

    score_patches: ScorePatches
    num_bytes: int
    num_rows: int
    score_images: ScoreImages | None = None


Method = Callable[[Float[np.ndarray, "N D"], DetectorConfig], Fitted]


def of_state(state: DetectorState, config: ScoreSettings) -> Fitted:
    """A mixture that is fitted already."""
    score_patches = compile_score(state, config.score)
    size = num_bytes((state.posterior, state.reduction))
    return Fitted(score_patches, size, state.mixture.num_components, compile_images(state))


def _mixture(features: np.ndarray, config: DetectorConfig) -> Fitted:
    alone = dataclasses.replace(
        config, p_values=False
    )  # which patches of unknown images do not tell
    return of_state(fit_mixture(features, alone), alone)


def _finite_mixture(features: np.ndarray, config: DetectorConfig) -> Fitted:
    return _mixture(features, dataclasses.replace(config, weights="finite"))


def _bank_of(rows: np.ndarray) -> Fitted:
    kept = jnp.asarray(rows)
    return Fitted(compile_scorer(memory_bank(), kept), kept.nbytes, len(rows))


def _bank(features: np.ndarray, config: DetectorConfig) -> Fitted:
    del config
    return _bank_of(features)


def _coreset(features: np.ndarray, config: DetectorConfig) -> Fitted:
    fewest = min(len(features), config.truncation(len(features)))
    size = max(round(CORESET_SHARE * len(features)), fewest)
    chosen = greedy_coreset(features, size, key=jax.random.key(config.seed))
    return _bank_of(features[chosen])


def _k_means(features: np.ndarray, config: DetectorConfig) -> Fitted:
    num_rows = config.truncation(len(features))
    return _bank_of(k_means_rows(features, num_rows, key=jax.random.key(config.seed)))


def _faiss(features: np.ndarray, config: DetectorConfig) -> Fitted:
    del config
    bank = faiss_bank(features)
    return Fitted(bank.score_patches, bank.num_bytes, len(features))


METHODS: dict[str, Method] = {
    "mixture": _mixture,
    "finite": _finite_mixture,
    "k-means": _k_means,
    "bank": _bank,
    "coreset": _coreset,
    "faiss": _faiss,
}
ANEW = "mixture-anew"  # a mixture that is fitted beside the one of a model file
NAMES = {
    "mixture": "mixture, {:,} components",
    ANEW: "mixture anew, {:,} components",
    "finite": "finite mixture, {:,} components",
    "k-means": "k-means, {:,} means",
    "bank": "memory bank, {:,} patches",
    "coreset": "coreset, {:,} patches",
    "faiss": "faiss bank, {:,} patches",
}


def check_methods(names: Sequence[str]) -> None:
    """Before long work: that all methods exist.

    Raises:
        ValueError: one does not.
    """
    for name in names:
        check_choice("method", name, METHODS)
