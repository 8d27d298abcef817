"""One blocked Gibbs sweep, of the two sizes of `../gibbs.py`. Read `agreement.py` next."""

from collections.abc import Iterator
from typing import Any

from gibbs import PUBLISHED, one_sweep

import jaxdpmm
from on_gpu.cases import Case, Fact, Work
from on_gpu.plan import Sizes

FAMILIES = {"full": jaxdpmm.GaussianFull, "diagonal": jaxdpmm.GaussianDiagonal}


def cases(sizes: Sizes) -> Iterator[Case | Fact]:
    """Full, diagonal, and what the library dpgmm publishes for the first."""
    for covariance, num_points, dim, num_components in sizes.gibbs:
        yield sweep_case(covariance, num_points, dim, num_components)
    labels: dict[str, Any] = {
        "what": "one sweep of Gibbs, full",
        "by": "published: dpgmm on its own GPU",
        "size": "1,000 x 512, K = 50",
        "precision": "float32",
        "published_seconds": PUBLISHED["published_dpgmm_gpu_seconds"],
    }
    yield Fact(labels, dict)


def sweep_case(covariance: str, num_points: int, dim: int, num_components: int) -> Case:
    """Weights, alpha, parameters and labels drawn once, and the statistics summed."""
    labels = {
        "what": f"one sweep of Gibbs, {covariance}",
        "by": "jaxdpmm",
        "size": f"{num_points:,} x {dim}, K = {num_components:,}",
        "precision": "library",
    }
    family = FAMILIES[covariance](dim)
    pairs = float(num_points * num_components)
    work = {
        "full": pairs * dim**2 + 2.0 * num_points * dim**2 + num_components * 2.0 * dim**3,
        "diagonal": 4 * pairs * dim,  # statistics of one component per point are no products
    }
    num_bytes = 8.0 * num_points * dim
    return Case(
        labels,
        lambda: one_sweep(family, num_points, num_components).ours,
        Work(work[covariance], num_bytes),
    )
