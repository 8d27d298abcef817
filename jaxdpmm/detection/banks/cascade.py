"""A mixture as the index of a memory bank: all patches by the mixture, the most suspicious by the training patches.

The training patches lie on disk, those of one component side by side, in half or a quarter of their size, and are
mapped into memory. A patch whose cosine score exceeds that of all but a share of normal patches is compared with the
training patches of the components nearest to it; any other keeps the score of the mixture, in the bank's units. A fixed
share of each image would leave most of a large defect in the mixture's units, which cost 4 points of pixel AUPR where
defects cover more than the share. Where all patches are compared with all components, scores are those of
`exact.memory_bank`. Read `exact.py` first, `grouped.py` next.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.detection.banks.grouped import closest_of_groups
from jaxdpmm.detection.scored import ScorePatches, compile_scorer, num_bytes
from jaxdpmm.model import Mixture, Posterior
from jaxdpmm.programs import jitted
from jaxdpmm.scoring import cosine, in_tiles
from jaxdpmm.scoring.distance import Means, unit_means
from jaxdpmm.scoring.scorer import TILE_SIZE
from jaxdpmm.storage.files import replace_file

ROWS, INDEX = "rows.npy", "index.npz"
DTYPES = ("float32", "float16", "int8")
SHARE, NUM_COMPONENTS = 0.05, 4
HELD_OUT, SAMPLE_SIZE = 0.05, 2000  # training patches that tell the bank's units from the mixture's


class CascadeBank(NamedTuple):
    """A cascade ready to score.

    Attributes:
        score_patches: patch features (..., D) to patch scores (...), in NumPy.
        num_bytes: of what is held in memory.
        num_rows: training patches on disk.
        scale: median over the last training images of the distance to the nearest patch of an earlier image over that
            to the nearest mean.
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
        features: normal patch features, (N, D), image after image, in memory or a `FeatureStore`.
        mixture: of components that have means.
        posterior: fitted to such features.
        dtype: on disk, "float32", "float16", or "int8", in which a row keeps its direction to about 1 %.

    Raises:
        TypeError: components of this family have no means.
        ValueError: unknown type, or features of another dimension.
        OSError: the disk is full or cannot be written.
    """
    means = jitted(unit_means, mixture)(posterior)
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
    order = np.argsort(component, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))

    def write_rows(path: Path) -> None:
        rows = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (len(component), dim))
        for start in tiles:
            tile = _tile(features, start)
            rows[place[start : start + len(tile)]] = _packed(tile, dtype)
        rows.flush()

    replace_file(folder / ROWS, write_rows)
    normal, scale = _units(means, np.load(folder / ROWS, mmap_mode="r"), starts, order)
    replace_file(
        folder / INDEX, lambda path: np.savez(path, starts=starts, normal=normal, scale=scale)
    )


def cascade_bank(
    folder: Path | str,
    mixture: Mixture,
    posterior: Posterior,
    *,
    share: float = SHARE,
    num_components: int = NUM_COMPONENTS,
) -> CascadeBank:
    """Scores of a mixture, the largest replaced by distances to training patches.

    Args:
        folder: of `write_cascade`, with the same posterior.
        mixture: static description.
        posterior: whose components the patches were sorted by.
        share: of the patches of normal images that are compared with training patches; of anomalous ones it is more.
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
        starts, scale, normal = index["starts"], float(index["scale"]), index["normal"]
    rows = np.load(folder / ROWS, mmap_mode="r")
    means = jitted(unit_means, mixture)(posterior)
    if (len(starts) - 1, rows.shape[1]) != means.vectors.shape:
        raise ValueError(
            f"folder must hold the patches of a mixture of {len(means.vectors)} components in "
            f"{means.vectors.shape[1]} dimensions, got {len(starts) - 1} and {rows.shape[1]}; write it with this one."
        )
    threshold = np.quantile(normal, 1 - share) if share < 1 else -np.inf
    nearest = jitted(_nearest, min(num_components, mixture.num_components))
    by_mixture = compile_scorer(cosine(mixture), posterior)

    def score_patches(features: Any) -> Float[np.ndarray, "..."]:
        x = np.asarray(features).reshape(-1, features.shape[-1])
        by_means = np.asarray(by_mixture(x))
        scores, chosen = scale * by_means, np.flatnonzero(by_means >= threshold)
        if len(chosen):
            components = in_tiles(nearest, means, x[chosen])
            found = 1 - closest_of_groups(rows, starts, _unit(x[chosen]), components)
            scores[chosen] = np.where(np.isfinite(found), np.maximum(found, 0), scores[chosen])
        return scores.reshape(features.shape[:-1])

    return CascadeBank(score_patches, num_bytes(means), len(rows), scale)


def _nearest(num: int, means: Means, x: Float[Array, "N D"]) -> Int[Array, "N num"]:
    """The components that hold data whose means point nearest, best first."""
    return jax.lax.top_k(x @ means.vectors.T - means.constant[None], num)[1]


def _units(
    means: Means, rows: np.ndarray, starts: np.ndarray, order: np.ndarray
) -> tuple[Float[np.ndarray, " M"], float]:
    """The mixture's scores of some normal patches, and `CascadeBank.scale`, 1 where too few of them tell.

    Patches of one image are alike, so the last images are held against all earlier ones.

    Args:
        means: of the components.
        rows: as they lie on disk.
        starts: first row of each component, and the number of rows.
        order: number of each row among the training patches.
    """
    cut = len(order) - max(1, round(HELD_OUT * len(order)))
    late = np.flatnonzero(order >= cut)
    sample = late[:: -(-len(late) // SAMPLE_SIZE)]
    x = _unit(rows[sample])
    components = in_tiles(jitted(_nearest, min(NUM_COMPONENTS, len(starts) - 1)), means, x)
    to_mean = 1 - np.sum(x * np.asarray(means.vectors)[components[:, 0]], axis=1)
    to_row = 1 - closest_of_groups(rows, starts, x, components, order < cut)
    known = np.isfinite(to_row) & (to_mean > np.finfo(np.float16).eps)
    scale = float(np.median(to_row[known] / to_mean[known])) if known.any() else 1.0
    return to_mean, scale


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
