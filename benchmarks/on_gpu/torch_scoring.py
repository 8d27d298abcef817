"""The memory bank and the cosine score as one writes them in torch: eager, and compiled by `torch.compile`.

"matmul" is one product per piece of the bank and a running maximum, for unit-norm rows; "cdist" is the Euclidean
distance by `torch.cdist`. The arrays are those of `scoring.py`. Read `fits.py` next.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from inference import DIM, NUM_PATCHES, patches

from on_gpu import torch_side
from on_gpu.cases import Case, Work
from on_gpu.plan import Sizes
from on_gpu.precision import kind_of
from on_gpu.scoring import (
    FAST,
    bank_work,
    ends_first,
    images_in_words,
    in_type,
    named,
    prepared,
    prepared_bank,
    type_of,
)

PRODUCTS = 2**29  # entries of the largest matrix of products, 2 GB in float32


def eager(sizes: Sizes) -> Iterator[Case]:
    """The cosine score of a mixture's means, banks by matmul in three types, then by cdist."""
    ends, _ = ends_first(sizes.images)
    for images in ends:
        yield cosine_case(sizes.scored[0], images, "tf32")
    for precision in (*FAST, "float32"):
        for images in ends:
            for rows in sizes.bank_rows:
                if precision in FAST or rows * images <= sizes.work_limit:
                    yield bank_case("matmul", rows, images, precision)
    for images in ends:
        for rows in sizes.bank_rows:
            if rows * images <= sizes.work_limit:
                yield bank_case("cdist", rows, images, "tf32")


def compiled(sizes: Sizes) -> Iterator[Case]:
    """The cosine score, and banks but for the smallest and the largest."""
    ends, _ = ends_first(sizes.images)
    for images in ends:
        yield cosine_case(sizes.scored[0], images, "tf32", compile_it=True)
    for precision in FAST:
        for images in ends:
            for rows in sizes.bank_rows[-4:-1]:
                yield bank_case("matmul", rows, images, precision, compile_it=True)


def bank_case(how: str, rows: int, images: int, precision: str, compile_it: bool = False) -> Case:
    """A bank in torch."""

    def build() -> Callable[[], Any]:
        import torch

        torch_side.set_precision(precision)
        bank = torch_side.shared(prepared_bank(rows, type_of(precision)).rows).reshape(-1, DIM)
        x = torch_side.shared(in_type(patches(images), precision))
        visit, start = _VISITS[how]
        visit = torch_side.compiled(visit) if compile_it else visit
        pieces = bank.split(_piece(len(bank), len(x)))
        nothing = torch.full((len(x),), start, dtype=x.dtype, device=x.device)

        def run():
            with torch.inference_mode():
                best = nothing
                for piece in pieces:
                    best = visit(best, x, piece)
                return 1 - best if how == "matmul" else best

        return run

    labels = {
        **named("bank", images, rows, precision),
        "by": f"torch, {how}{', compiled' * compile_it}",
        "size": f"{images_in_words(images)}, {rows:,} rows",
    }
    return Case(labels, build, bank_work(rows, images, precision), torch_side.wait)


def cosine_case(
    scored: tuple[str, str, int], images: int, precision: str, compile_it: bool = False
) -> Case:
    """The cosine score to the means of a mixture in torch: what our own score costs elsewhere."""
    _, covariance, number = scored

    def build() -> Callable[[], Any]:
        torch_side.set_precision(precision)
        means = torch_side.shared(prepared("cosine", covariance, number)[1].vectors)
        x = torch_side.shared(patches(images))
        score = torch_side.compiled(_cosine) if compile_it else _cosine

        return lambda: score(x, means)

    labels = {
        **named(f"mixture, cosine, {covariance}", images, number, precision),
        "by": f"torch{', compiled' * compile_it}",
        "size": f"{images_in_words(images)}, K = {number:,}",
    }
    points = images * NUM_PATCHES
    work = Work(2.0 * points * number * DIM, 4.0 * DIM * (points + number), kind_of(precision))
    return Case(labels, build, work, torch_side.wait)


def _visit_matmul(best, x, piece):
    import torch

    return torch.maximum(best, (x @ piece.T).amax(1))


def _visit_cdist(best, x, piece):
    import torch

    return torch.minimum(best, torch.cdist(x, piece).amin(1))


_VISITS = {"matmul": (_visit_matmul, -float("inf")), "cdist": (_visit_cdist, float("inf"))}


def _cosine(x, means):
    return 1 - (x @ means.T).amax(1) / x.norm(dim=1)


@functools.cache
def _piece(rows: int, points: int) -> int:
    """Rows of a piece: the largest divisor of all of them that keeps the products small, so that all have one shape."""
    pieces = -(-rows * points // PRODUCTS)
    while rows % pieces:
        pieces += 1
    return rows // pieces
