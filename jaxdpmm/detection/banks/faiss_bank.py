"""The memory bank searched by faiss, exactly or approximately: another engine, where it is installed.

Gives the same scores as `exact.py` with the index "Flat". Needs the extra `faiss`, imported on first use.

References:
    Douze et al. (2024), The Faiss library. arXiv 2401.08281.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.scored import ScorePatches

METRICS = ("cosine", "euclidean")


class FaissBank(NamedTuple):
    """A bank ready to be searched.

    Attributes:
        score_patches: patch features, (..., D), to patch scores, (...), in NumPy.
        index: faiss's own, for its further settings, for example `index.nprobe`.
        num_bytes: size of the index as faiss would write it.
    """

    score_patches: ScorePatches
    index: Any
    num_bytes: int


def faiss_bank(
    features: Float[np.ndarray, "M D"],
    metric: str = "cosine",
    num_neighbours: int = 1,
    index: str = "Flat",
) -> FaissBank:
    """A memory bank searched by faiss: mean distance to the nearest rows.

    Args:
        features: normal patch features.
        metric: "cosine" or "euclidean", as in `exact.memory_bank`.
        num_neighbours: over how many nearest rows the distance is averaged.
        index: faiss's description of an index: "Flat" is exact, "IVF1024,Flat" or "HNSW32,Flat" are not.

    Raises:
        ImportError: the extra `faiss` is not installed.
        ValueError: unknown metric, a description that faiss does not know, or fewer rows than neighbours.
    """
    faiss = _import_faiss()
    if metric not in METRICS or not 1 <= num_neighbours <= len(features):
        raise ValueError(
            f"metric must be one of {', '.join(METRICS)} and num_neighbours between 1 and {len(features)}, got "
            f"{metric!r} and {num_neighbours}; choose others."
        )
    is_cosine = metric == "cosine"
    rows = _rows(features, is_cosine)
    try:
        kind = faiss.METRIC_INNER_PRODUCT if is_cosine else faiss.METRIC_L2
        searched = faiss.index_factory(rows.shape[1], index, kind)
        searched.train(rows)
    except RuntimeError as error:
        raise ValueError(
            f"index must be a description that faiss can build of {len(rows)} rows, got {index!r} "
            f"({str(error).splitlines()[-1]}); 'Flat' is exact."
        ) from error
    searched.add(rows)

    def score_patches(features: Any) -> Float[np.ndarray, "..."]:
        x = _rows(np.asarray(features).reshape(-1, features.shape[-1]), is_cosine)
        found = searched.search(x, num_neighbours)[0]
        distances = 1 - found if is_cosine else np.sqrt(np.maximum(found, 0))
        return np.maximum(distances, 0).mean(axis=1).reshape(features.shape[:-1])

    return FaissBank(score_patches, searched, faiss.serialize_index(searched).nbytes)


def _rows(features: np.ndarray, is_cosine: bool) -> np.ndarray:
    rows = np.ascontiguousarray(features, np.float32)
    if not is_cosine:
        return rows
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, np.finfo(np.float32).tiny)


def _import_faiss() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its wrapper, on new Pythons
            import faiss
    except ImportError:
        raise ImportError(
            "this bank needs faiss, which is not installed; install the extra: "
            'pip install "jaxdpmm[faiss]", or use memory_bank, which needs nothing.'
        ) from None
    return faiss
