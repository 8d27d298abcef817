"""Scoring images of 1,024 patches of 384 numbers: the mixture's scores, and exact memory banks of growing size.

What the numbers are does not matter for the time. A bank from 40,000 rows on is drawn on the device as it is kept
(`inference.drawn_bank`). Read `torch_scoring.py` next, for the same in torch.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from inference import (
    CHUNK,
    DIM,
    NUM_PATCHES,
    as_type,
    check_memory,
    drawn_bank,
    fitted,
    patches,
    random_features,
)

from jaxdpmm.detection.banks import Bank, memory_bank
from jaxdpmm.scoring import SCORERS
from on_gpu.cases import Case, Work
from on_gpu.plan import Sizes
from on_gpu.precision import as_compiled, kind_of

FAST = ("tf32", "bfloat16")
DRAWN = 10 * CHUNK
NUM_CANDIDATES = 8  # of `nearest_predictive`


def mixtures(sizes: Sizes) -> Iterator[Case]:
    """Every score as users get it, of one image and of the most; the cosine in all types; then what is between."""
    ends, middle = ends_first(sizes.images)
    for images in ends:
        for scored in sizes.scored:
            yield mixture_case(*scored, images)
    for precision in ("tf32", "bfloat16", "float32"):
        for images in ends:
            yield mixture_case(*sizes.scored[0], images, precision)
    for images in middle:
        for scored in sizes.scored:
            yield mixture_case(*scored, images)


def mixture_case(
    score: str, covariance: str, number: int, images: int, precision: str = "library"
) -> Case:
    """One score of one mixture on the patches of some images."""

    def build() -> Callable[[], Any]:
        scorer, params = prepared(score, covariance, number)
        params, x = in_type((params, patches(images)), precision)
        return as_compiled(scorer.score, params, x, precision=precision)

    operations, num_bytes = _needs(score, covariance, number, images * NUM_PATCHES)
    labels = {
        **named(f"mixture, {score}, {covariance}", images, number, precision),
        "by": "jaxdpmm",
        "size": f"{images_in_words(images)}, K = {number:,}",
    }
    return Case(labels, build, Work(operations, num_bytes, kind_of(precision)))


def banks(sizes: Sizes) -> Iterator[Case]:
    """The exact bank of every size in TF32 and in bfloat16; in float32 and as users get it where that is not long."""
    ends, middle = ends_first(sizes.images)
    for images, precision in [(i, p) for p in FAST for i in ends] + [(i, "tf32") for i in middle]:
        for rows in sizes.bank_rows:
            yield bank_case(rows, images, precision)
    for precision in ("float32", "library"):
        for images in ends:
            for rows in sizes.bank_rows[-4:]:
                if rows * images <= sizes.work_limit:
                    yield bank_case(rows, images, precision)


def bank_case(rows: int, images: int, precision: str) -> Case:
    """The exact bank on the patches of some images."""

    def build() -> Callable[[], Any]:
        bank = prepared_bank(rows, type_of(precision))
        x = in_type(patches(images), precision)
        return as_compiled(memory_bank().score, bank, x, precision=precision)

    labels = {
        **named("bank", images, rows, precision),
        "by": "jaxdpmm",
        "size": f"{images_in_words(images)}, {rows:,} rows",
    }
    return Case(labels, build, bank_work(rows, images, precision))


@functools.lru_cache(maxsize=1)  # a bank may be half of the device's memory
def prepared_bank(rows: int, dtype: str) -> Bank:
    """A bank of random rows on the device, their number a multiple of that of a chunk.

    Raises:
        MemoryError: the device has no room for it.
    """
    if rows >= DRAWN:
        check_memory(2 * rows * DIM * jnp.dtype(dtype).itemsize, drawn=True)
        return drawn_bank(rows, dtype)
    return as_type(memory_bank().prepare(jnp.asarray(random_features(rows, 3))), dtype)


@functools.cache
def prepared(score: str, covariance: str, number: int) -> tuple[Any, Any]:
    """A scorer and its parameters."""
    mixture, posterior = fitted(covariance, number)
    scorer = SCORERS[score](mixture)
    return scorer, jax.jit(scorer.prepare)(posterior)


def bank_work(rows: int, images: int, precision: str) -> Work:
    """One product of all patches and all rows; every row is read once."""
    size = jnp.dtype(type_of(precision)).itemsize
    points = images * NUM_PATCHES
    operations = 2.0 * points * rows * DIM
    return Work(operations, size * DIM * (rows + points), kind_of(precision))


def named(what: str, images: int, rows: int, precision: str) -> dict[str, Any]:
    """Labels that the tables go by: `rows` are those of a bank, or the components of a mixture."""
    return {"what": what, "images": images, "rows": rows, "precision": precision}


def ends_first(images: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The fewest and the most images at once, and those between."""
    return (images[0], images[-1]), images[1:-1]


def images_in_words(images: int) -> str:
    """1 image, 8 images."""
    return f"{images} image{'s' * (images > 1)}"


def type_of(precision: str) -> str:
    """Type of the arrays."""
    return "bfloat16" if precision == "bfloat16" else "float32"


def in_type(tree: Any, precision: str) -> Any:
    """Floating arrays in the type that a precision asks for."""
    return as_type(tree, jnp.dtype(type_of(precision)))


def _needs(score: str, covariance: str, number: int, points: int) -> tuple[float, float]:
    """Operations in products and bytes (float32) of a score: what the formula asks for, not what the code does.

    A diagonal Student-t is a product over the features and no matrix product: it counts six operations per feature, at
    the rate of products, which no code can reach.
    """
    nearest = score == "nearest_predictive"
    chosen = min(NUM_CANDIDATES, number) if nearest else number
    means = 2.0 * points * number * DIM
    per_component = {"diagonal": 6.0 * DIM, "full": 1.0 * DIM**2, "spherical": 2.0 * DIM}
    parameters = {"diagonal": 2 * DIM, "full": DIM + DIM**2 / 2, "spherical": DIM}
    if score == "cosine":
        return means, 4.0 * DIM * (number + points)
    operations = points * chosen * per_component[covariance] + (means if nearest else 0)
    return operations, 4.0 * (number * parameters[covariance] + points * DIM)
