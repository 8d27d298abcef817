"""What users would pick in place of a mixture, each as its own recipe has it, on the same patch features.

A peer learns from the features of all training patches and gives a `Fitted`, as the methods of
`jaxdpmm.detection.methods` do. Approximate searches are set by their recall: of all settings tried, the first that
finds the nearest training patch of at least that share of held-out patches. faiss needs the extra `faiss`; its OpenBLAS
may not know a new CPU: OPENBLAS_CORETYPE=Haswell in the environment gives it its due there.
Read `quality.py` for their accuracy, `inference.py` for their time.

References:
    Roth et al. (2022), Towards Total Recall in Industrial Anomaly Detection. CVPR.
    Douze et al. (2024), The Faiss library. arXiv 2401.08281.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from harness import num_cores

from jaxdpmm.detection.banks import faiss_bank, greedy_coreset, k_means_rows, memory_bank
from jaxdpmm.detection.methods import Fitted
from jaxdpmm.detection.scored import compile_scorer
from jaxdpmm.scoring import in_tiles

NUM_NEIGHBOURS = 3  # of PatchCore's reweighting; its default is 9
CLOSE = 1e-5  # difference of cosine distances, below which two rows count as equally near
EXHAUSTED = 4096  # the largest setting of a search that is tried


class Learned(NamedTuple):
    """What a peer learns from.

    Attributes:
        features: of all training patches, (N, D).
        grids: rows and columns of patches of each training image.
        queries: held-out patches, (Q, D), for the recall of a search.
        num_rows: rows of methods that are compared at equal size.
        seed: of everything random.
    """

    features: np.ndarray
    grids: tuple[tuple[int, int], ...]
    queries: np.ndarray
    num_rows: int
    seed: int


class Peer(NamedTuple):
    """A peer that has learned.

    Attributes:
        fitted: its patch scores, its size.
        image_score: of one image from its features (h, w, D) and patch scores, where not the mean of the largest.
        extras: what was searched for, such as a setting and the recall.
    """

    fitted: Fitted
    image_score: Callable[[np.ndarray, np.ndarray], float] | None = None
    extras: Mapping[str, Any] = {}


def coreset(share: float, learned: Learned) -> Peer:
    """The exact bank of a greedy coreset."""
    size = round(share * len(learned.features))
    chosen = greedy_coreset(learned.features, size, key=jax.random.key(learned.seed))
    return _bank_of(learned.features[chosen])


def k_means(learned: Learned) -> Peer:
    """The exact bank of as many means as a mixture has components."""
    key = jax.random.key(learned.seed)
    return _bank_of(k_means_rows(learned.features, learned.num_rows, key=key))


def patchcore(share: float, learned: Learned) -> Peer:
    """Means over 3 x 3 patches, a coreset of a share of them, Euclidean distances, reweighted image scores."""
    around, start = [], 0
    for height, width in learned.grids:
        part = learned.features[start : start + height * width]
        around.append(neighbourhood_mean(part.reshape(height, width, -1)).reshape(part.shape))
        start += height * width
    rows = np.concatenate(around)
    size = round(share * len(rows))
    rows = rows[greedy_coreset(rows, size, key=jax.random.key(learned.seed))]
    nearest = compile_scorer(memory_bank("euclidean"), jnp.asarray(rows))

    def score_patches(features: Any) -> np.ndarray:
        features = np.asarray(features)
        images = features.reshape(-1, *features.shape[-3:])
        found = np.stack([neighbourhood_mean(image) for image in images])
        return np.asarray(nearest(found)).reshape(features.shape[:-1])

    def image_score(features: np.ndarray, scores: np.ndarray) -> float:
        return reweighted(
            neighbourhood_mean(features).reshape(-1, features.shape[-1]), scores, rows
        )

    return Peer(Fitted(score_patches, rows.nbytes, len(rows)), image_score)


def neighbourhood_mean(grid: np.ndarray) -> np.ndarray:
    """Mean of each patch and its neighbours, of those there are at the border, (h, w, D)."""
    height, width = grid.shape[:2]
    padded = np.pad(
        np.concatenate([grid, np.ones_like(grid[..., :1])], -1), ((1, 1), (1, 1), (0, 0))
    )
    total = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    return total[..., :-1] / total[..., -1:]


def reweighted(x: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> float:
    """PatchCore's image score, equations 6 and 7: the largest distance, less if its row is far from other rows too.

    Args:
        x: features that distances are of, (P, D).
        scores: distances, P of them in any shape.
        rows: of the bank.
    """
    worst = int(np.argmax(scores))
    nearest = int(np.argmin(np.linalg.norm(rows - x[worst], axis=1)))
    around = np.argsort(np.linalg.norm(rows - rows[nearest], axis=1))[:NUM_NEIGHBOURS]
    distances = np.linalg.norm(rows[around] - x[worst], axis=1)
    share = np.exp(scores.max() - np.logaddexp.reduce(distances))
    return float((1 - share) * scores.max())


def ivf_flat(recall: float, learned: Learned) -> Peer:
    """faiss: inverted lists of whole rows, 4 sqrt(N) of them, as many visited as the recall needs."""
    lists = _num_lists(learned)
    return _faiss_at(recall, learned, f"IVF{lists},Flat", ({"nprobe": n} for n in _doubling(lists)))


def ivf_pq(recall: float, learned: Learned) -> Peer:
    """faiss: inverted lists of 96 bytes per row, the best compared again in 16 bits."""
    lists = _num_lists(learned)
    settings = (
        {"nprobe": probes, "k_factor_rf": factor}
        for factor in (16, 64)
        for probes in _doubling(lists)
    )
    return _faiss_at(recall, learned, f"IVF{lists},PQ96,Refine(SQfp16)", settings)


def hnsw(recall: float, learned: Learned) -> Peer:
    """faiss: a graph of 32 links per row."""
    return _faiss_at(
        recall, learned, "HNSW32,Flat", ({"efSearch": n} for n in _doubling(EXHAUSTED))
    )


def _num_lists(learned: Learned) -> int:
    return round(4 * len(learned.features) ** 0.5)


def _doubling(most: int) -> Iterable[int]:
    return (1 << power for power in range(most.bit_length()))


def _faiss_at(
    recall: float, learned: Learned, description: str, settings: Iterable[dict[str, int]]
) -> Peer:
    """The first of some settings, in the order of their cost, that reaches a recall; else the last."""
    import faiss

    faiss.omp_set_num_threads(num_cores())
    bank = _faiss_index(description, learned)
    exact = in_tiles(_compiled_bank(), _prepared(learned), learned.queries)
    space = faiss.ParameterSpace()
    reached, used = 0.0, {}
    for used in settings:
        for name, value in used.items():
            space.set_index_parameter(bank.index, name, value)
        found = bank.score_patches(learned.queries)
        reached = float(np.mean(found <= exact + CLOSE))
        if reached >= recall:
            break
    fitted = Fitted(bank.score_patches, bank.num_bytes, len(learned.features))
    return Peer(fitted, extras={"recall": reached, "index": description, "settings": used})


_indices: dict[Any, Any] = {}


def _faiss_index(description: str, learned: Learned) -> Any:
    """Built once for all recalls."""
    key = description, id(learned.features)
    if key not in _indices:
        _indices.clear()
        _indices[key] = faiss_bank(learned.features, index=description)
    return _indices[key]


@functools.cache
def _compiled_bank() -> Callable[..., Any]:
    return jax.jit(memory_bank().score)


def _prepared(learned: Learned) -> Any:
    return jax.jit(memory_bank().prepare)(jnp.asarray(learned.features))


def _bank_of(rows: np.ndarray) -> Peer:
    kept = jnp.asarray(rows)
    return Peer(Fitted(compile_scorer(memory_bank(), kept), kept.nbytes, len(rows)))


PEERS: dict[str, Callable[[Learned], Peer]] = {
    "coreset-10": functools.partial(coreset, 0.1),
    "k-means-equal": k_means,
    "patchcore": functools.partial(patchcore, 0.01),
    "patchcore-10": functools.partial(patchcore, 0.1),
    **{
        f"{name}-{round(100 * recall)}": functools.partial(search, recall)
        for name, search in (("ivf-flat", ivf_flat), ("ivf-pq", ivf_pq), ("hnsw", hnsw))
        for recall in (0.95, 0.99)
    },
}
