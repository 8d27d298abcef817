"""A mixture as the index of a memory bank: all patches by the mixture, the most suspicious by the training patches.

The training patches lie on disk, those of one component side by side, in half or a quarter of their size, and are
mapped into memory. Of each image the share of patches with the largest cosine score is compared with the training
patches of the components nearest to each; all other patches keep the score of the mixture, in the bank's units. Where
all patches are compared with all components, scores are those of `exact.memory_bank`. Read `exact.py` first.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.detection.scored import ScorePatches, compile_scorer, num_bytes
from jaxdpmm.model import Mixture, Posterior
from jaxdpmm.programs import jitted
from jaxdpmm.scoring import in_tiles, nearest_cosine
from jaxdpmm.scoring.distance import Means, cosine
from jaxdpmm.scoring.scorer import TILE_SIZE
from jaxdpmm.storage.files import replace_file

ROWS, INDEX = "rows.npy", "index.npz"
DTYPES = ("float32", "float16", "int8")
SHARE, NUM_COMPONENTS = 0.05, 4
SAMPLE_SIZE = 2000  # training patches that tell the bank's units from the mixture's


class CascadeBank(NamedTuple):
    """A cascade ready to score.

    Attributes:
        score_patches: patch features (..., h, w, D) or (P, D) of one image to patch scores, in NumPy.
        num_bytes: of what is held in memory.
        num_rows: training patches on disk.
        scale: median over training patches of distance to the nearest other patch over that to the nearest mean.
    """

    score_patches: ScorePatches
    num_bytes: int
    num_rows: int
    scale: float


def write_cascade(
    folder: Path | str,
    features: Any,
    mixture: Mixture,
    posterior: Posterior,
    dtype: str = "float16",
) -> None:
    """Training patches written to a folder, sorted by component: each to the one whose mean points nearest.

    The features are read twice, a tile at a time.

    Args:
        folder: is made.
        features: normal patch features, (N, D), in memory or a `FeatureStore`.
        mixture: of components that have means.
        posterior: fitted to such features.
        dtype: on disk, "float32", "float16", or "int8", in which a row keeps its direction to about 1 %.

    Raises:
        TypeError: components of this family have no means.
        ValueError: unknown type, or features of another dimension.
        OSError: the disk is full or cannot be written.
    """
    means = jitted(cosine(mixture).prepare)(posterior)
    dim = means.vectors.shape[1]
    if dtype not in DTYPES or np.shape(features)[1:] != (dim,):
        raise ValueError(
            f"dtype must be one of {', '.join(DTYPES)} and features of shape (N, {dim}), got {dtype!r} and "
            f"{np.shape(features)}; float16 loses nothing that scores show."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    nearest = jitted(_nearest, 1)
    tiles = range(0, len(features), TILE_SIZE)
    component = np.concatenate(
        [in_tiles(nearest, means, _tile(features, start))[:, 0] for start in tiles]
    )
    starts = np.searchsorted(np.sort(component), np.arange(len(means.vectors) + 1))
    place = np.empty(len(component), int)
    place[np.argsort(component, kind="stable")] = np.arange(len(component))

    def write_rows(path: Path) -> None:
        rows = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (len(component), dim))
        for start in tiles:
            tile = _tile(features, start)
            rows[place[start : start + len(tile)]] = _packed(tile, dtype)
        rows.flush()

    replace_file(folder / ROWS, write_rows)
    scale = _scale(means, np.load(folder / ROWS, mmap_mode="r"), starts)
    replace_file(folder / INDEX, lambda path: np.savez(path, starts=starts, scale=scale))


def cascade_bank(
    folder: Path | str,
    mixture: Mixture,
    posterior: Posterior,
    *,
    share: float = SHARE,
    num_components: int = NUM_COMPONENTS,
) -> CascadeBank:
    """Scores of a mixture, the largest of each image replaced by distances to training patches.

    Args:
        folder: of `write_cascade`, with the same posterior.
        mixture: static description.
        posterior: whose components the patches were sorted by.
        share: of an image's patches that are compared with training patches.
        num_components: of whose training patches each is compared, the nearest ones.

    Raises:
        FileNotFoundError: `write_cascade` has not written there.
        ValueError: a share outside of (0, 1], no components, or patches of another mixture.
    """
    folder = Path(folder)
    if not 0 < share <= 1:
        raise ValueError(
            f"share must be above 0 and at most 1, got {share}; the default is {SHARE}."
        )
    check_at_least_one("num_components", num_components, f"the default is {NUM_COMPONENTS}")
    if not (folder / INDEX).exists():
        raise FileNotFoundError(
            f"folder must hold what write_cascade wrote, got {folder} without {INDEX}; write it first."
        )
    with np.load(folder / INDEX) as index:
        starts, scale = index["starts"], float(index["scale"])
    rows = np.load(folder / ROWS, mmap_mode="r")
    means = jitted(cosine(mixture).prepare)(posterior)
    if (len(starts) - 1, rows.shape[1]) != means.vectors.shape:
        raise ValueError(
            f"folder must hold the patches of a mixture of {len(means.vectors)} components in "
            f"{means.vectors.shape[1]} dimensions, got {len(starts) - 1} and {rows.shape[1]}; write it with this one."
        )
    nearest = jitted(_nearest, min(num_components, mixture.num_components))
    by_mixture = compile_scorer(nearest_cosine(mixture), posterior)

    def of_image(features: np.ndarray) -> np.ndarray:
        scores = scale * np.array(by_mixture(features))
        number = math.ceil(share * len(scores))
        chosen = np.argpartition(scores, len(scores) - number)[len(scores) - number :]
        x = features[chosen]
        found = 1 - _closest(rows, starts, _unit(x), in_tiles(nearest, means, x), 1)[:, 0]
        scores[chosen] = np.where(np.isfinite(found), np.maximum(found, 0), scores[chosen])
        return scores

    def score_patches(features: Any) -> Float[np.ndarray, "..."]:
        features = np.asarray(features)
        images = features.reshape(-1, math.prod(features.shape[-3:-1]), features.shape[-1])
        return np.stack([of_image(image) for image in images]).reshape(features.shape[:-1])

    return CascadeBank(score_patches, num_bytes(means), len(rows), scale)


def _nearest(num: int, means: Means, x: Float[Array, "N D"]) -> Int[Array, "N num"]:
    """The components that hold data whose means point nearest, best first."""
    return jax.lax.top_k(x @ means.vectors.T - means.constant[None], num)[1]


def _closest(
    rows: np.ndarray, starts: np.ndarray, x: np.ndarray, components: np.ndarray, num: int
) -> Float[np.ndarray, "N num"]:
    """The largest cosines of unit vectors with rows of their components, best first; -inf where there are no more."""
    best = np.full((len(x), num), -np.inf, np.float32)
    for k in np.unique(components):
        part = _unit(rows[starts[k] : starts[k + 1]])
        own = np.flatnonzero((components == k).any(axis=1))
        found = np.concatenate([best[own], x[own] @ part.T], axis=1)
        best[own] = -np.sort(np.partition(-found, num - 1, axis=1)[:, :num], axis=1)
    return best


def _scale(means: Means, rows: np.ndarray, starts: np.ndarray) -> float:
    """See `CascadeBank.scale`; 1 where patches have no others near them."""
    sample = np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE_SIZE)).astype(int)
    x = _unit(rows[sample])
    component = in_tiles(jitted(_nearest, 1), means, x)
    to_mean = 1 - np.sum(x * np.asarray(means.vectors)[component[:, 0]], axis=1)
    to_other = 1 - _closest(rows, starts, x, component, 2)[:, 1]  # the closest is the patch itself
    known = np.isfinite(to_other) & (to_mean > np.finfo(np.float16).eps)
    return float(np.median(to_other[known] / to_mean[known])) if known.any() else 1.0


def _tile(features: Any, start: int) -> np.ndarray:
    return np.asarray(features[start : start + TILE_SIZE], np.float32)


def _packed(tile: np.ndarray, dtype: str) -> np.ndarray:
    """Unit vectors in a type; whole numbers are as large as fit, so that they keep the direction alone."""
    unit = _unit(tile)
    if dtype != "int8":
        return unit.astype(dtype)
    largest = np.maximum(np.abs(unit).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.round(unit * (127 / largest)).astype(np.int8)


def _unit(rows: np.ndarray) -> Float[np.ndarray, "N D"]:
    rows = np.asarray(rows, np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, np.finfo(np.float32).tiny)
