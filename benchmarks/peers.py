"""What users would pick in place of a mixture, each as its own recipe has it, on the same patch features.

A peer learns from the features of all training patches and gives a `Fitted`, as the methods of
`jaxdpmm.detection.methods` do. Approximate searches are set by their recall: the smallest setting that finds the
nearest training patch of at least that share of held-out patches. faiss needs the extra `faiss`; its OpenBLAS may not
know a new CPU: OPENBLAS_CORETYPE=Haswell in the environment gives it its due there.
Read `quality.py` for their accuracy, `inference.py` for their time.

References:
    Roth et al. (2022), Towards Total Recall in Industrial Anomaly Detection. CVPR.
    Douze et al. (2024), The Faiss library. arXiv 2401.08281.
"""

import bisect
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from harness import num_cores

from jaxdpmm.detection.banks import faiss_bank, greedy_coreset, k_means_rows, memory_bank
from jaxdpmm.detection.maps import image_scores
from jaxdpmm.detection.methods import Fitted
from jaxdpmm.detection.reduction import reduce_features
from jaxdpmm.detection.scored import compile_scorer
from jaxdpmm.detection.whitening import learn_whitening
from jaxdpmm.scoring import in_tiles
from jaxdpmm.scoring.distance import unit_vectors
from jaxdpmm.scoring.fusion import OF_EACH, learn_survival, minus_log_p

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


def bank_in_nats(learned: Learned) -> Peer:
    """The exact bank, its distances as minus logs of p-values among held-out patches, the unit of our presets."""
    fitted = _bank_of(learned.features).fitted
    usual = learn_survival(fitted.score_patches(learned.queries), OF_EACH)
    in_nats = jax.jit(minus_log_p)

    def score_patches(features: Any) -> np.ndarray:
        distances = jnp.asarray(fitted.score_patches(features))
        return np.asarray(in_nats(usual, distances.ravel())).reshape(distances.shape)

    def image_score(features: np.ndarray, scores: np.ndarray) -> float:
        del features
        return float(image_scores(scores[None], exponent=OF_EACH)[0])

    return Peer(fitted._replace(score_patches=score_patches), image_score)


def bank_whitened(learned: Learned) -> Peer:
    """The same of features that are whitened as those of our presets are."""
    whitened = learn_whitening(learned.features, jax.random.key(learned.seed))
    rows, queries = (reduce_features(whitened, x) for x in (learned.features, learned.queries))
    peer = bank_in_nats(learned._replace(features=rows, queries=queries))

    def score_patches(features: Any) -> np.ndarray:
        x = np.asarray(features)
        reduced = reduce_features(whitened, x.reshape(-1, x.shape[-1]))
        return peer.fitted.score_patches(reduced.reshape(x.shape))

    return peer._replace(fitted=peer.fitted._replace(score_patches=score_patches))


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
    return _faiss_at(recall, learned, f"IVF{lists},Flat", "nprobe", lists)


def ivf_pq(recall: float, learned: Learned) -> Peer:
    """faiss: inverted lists of 96 bytes per row, the best 16 compared again in 16 bits, the best 64 if need be.

    At most an eighth of the lists is visited: beyond it is what is compared again that limits the recall.
    """
    lists = _num_lists(learned)
    description = f"IVF{lists},PQ96,Refine(SQfp16)"
    most = max(lists // 8, 1)
    return _faiss_at(recall, learned, description, "nprobe", most, "k_factor_rf", (16, 64))


def hnsw(recall: float, learned: Learned) -> Peer:
    """faiss: a graph of 32 links per row."""
    return _faiss_at(recall, learned, "HNSW32,Flat", "efSearch", EXHAUSTED)


def _num_lists(learned: Learned) -> int:
    return round(4 * len(learned.features) ** 0.5)


def smallest(reaches: Callable[[int], bool], most: int) -> int | None:
    """The smallest of 1 to `most` that reaches; None where none does. What is larger than one that does must, too."""
    low, high = 0, 1
    while not reaches(high):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    between = range(low + 1, high)
    return low + 1 + bisect.bisect_left(between, True, key=reaches)


def _faiss_at(
    recall: float,
    learned: Learned,
    description: str,
    name: str,
    most: int,
    other: str = "",
    values: Iterable[int] = (0,),
) -> Peer:
    """The smallest value of a setting, up to `most`, that reaches a recall, with the first of another's that lets it.

    Where none does, the largest of both.
    """
    import faiss

    faiss.omp_set_num_threads(num_cores())
    bank = _faiss_index(description, learned)
    exact = in_tiles(_compiled_bank(), _prepared(learned), learned.queries)
    space = faiss.ParameterSpace()

    def recall_at(value: int) -> float:
        space.set_index_parameter(bank.index, name, value)
        return _recall(bank.index, learned, exact)

    for fixed in values:
        if other:
            space.set_index_parameter(bank.index, other, fixed)
        found = smallest(lambda value: recall_at(value) >= recall, most)
        if found is not None:
            break
    used = {name: found or most} | ({other: fixed} if other else {})
    extras = {"recall": recall_at(used[name]), "index": description, "settings": used}
    return Peer(Fitted(bank.score_patches, bank.num_bytes, len(learned.features)), extras=extras)


def _recall(index: Any, learned: Learned, exact: np.ndarray) -> float:
    """Share of queries that a row is found for which is as near as the nearest, by exact distances of found rows."""
    queries = np.asarray(unit_vectors(jnp.asarray(learned.queries)))
    found = index.search(queries, 1)[1][:, 0]
    rows = np.asarray(unit_vectors(jnp.asarray(learned.features[np.maximum(found, 0)])))
    distances = 1 - np.einsum("qd,qd->q", queries, rows)
    return float(np.mean((found >= 0) & (distances <= exact + CLOSE)))


_indices: dict[str, tuple[np.ndarray, Any]] = {}  # the last one, and what it was built of


def _faiss_index(description: str, learned: Learned) -> Any:
    """Built once for all recalls on the same features."""
    if description not in _indices or _indices[description][0] is not learned.features:
        _indices.clear()
        _indices[description] = learned.features, faiss_bank(learned.features, index=description)
    return _indices[description][1]


@functools.cache
def _compiled_bank() -> Callable[..., Any]:
    return jax.jit(memory_bank().score)


def _prepared(learned: Learned) -> Any:
    return jax.jit(memory_bank().prepare)(jnp.asarray(learned.features))


def _bank_of(rows: np.ndarray) -> Peer:
    kept = jnp.asarray(rows)
    return Peer(Fitted(compile_scorer(memory_bank(), kept), kept.nbytes, len(rows)))


PEERS: dict[str, Callable[[Learned], Peer]] = {
    "bank-p": bank_in_nats,
    "bank-whitened": bank_whitened,
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
