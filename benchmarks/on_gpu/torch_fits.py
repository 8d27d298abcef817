"""The sweeps as one writes them in torch: products, softmax and statistics, a piece of the points at a time.

No prior, no sticks and no ELBO are in them, which cost next to nothing; so this is the peer at its best. Read
`backbones.py` next.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from on_gpu import torch_side
from on_gpu.cases import Case
from on_gpu.data import clusters
from on_gpu.fits import LLOYD_STEPS, k_means_work, sweep_work
from on_gpu.plan import Sizes
from on_gpu.precision import kind_of

PIECE = 65_536  # points; with K = 1,024, 256 MB of responsibilities
FLOOR = 1e-6  # of a variance


def cases(sizes: Sizes) -> Iterator[Case]:
    """Diagonal and spherical sweeps of the plan, in float32 and in TF32; the k-means start."""
    for sweep in sizes.sweeps[:2]:
        for precision in ("float32", "tf32"):
            yield sweep_case(*sweep, precision)
    yield k_means_case(*sizes.k_means)


def sweep_case(
    covariance: str, num_points: int, dim: int, num_components: int, precision: str
) -> Case:
    """One E-step and the statistics of one M-step."""

    def build() -> Callable[[], Any]:
        import torch

        torch_side.set_precision(precision)
        points, labels = (torch_side.shared(a) for a in clusters(num_points, dim, num_components))
        pieces = (points - points.mean(0)).split(PIECE)
        shares = torch.nn.functional.one_hot(labels[:PIECE].long(), num_components).float()
        params = _update(covariance, *_statistics(covariance, shares, pieces[0]))

        def run():
            nonlocal params
            with torch.inference_mode():
                total = None
                for x in pieces:
                    found = _statistics(covariance, _joint(covariance, params, x).softmax(1), x)
                    total = (
                        found
                        if total is None
                        else [a + b for a, b in zip(total, found, strict=True)]
                    )
                params = _update(covariance, *total)
                return params

        return run

    labels = {
        "what": f"one sweep, {covariance}",
        "by": "torch, by hand",
        "size": f"{num_points:,} x {dim}, K = {num_components:,}",
        "precision": precision,
    }
    work = sweep_work(covariance, num_points, dim, num_components)
    return Case(labels, build, work._replace(kind=kind_of(precision)), torch_side.wait)


def k_means_case(num_points: int, dim: int, num_clusters: int) -> Case:
    """Greedy k-means++ and Lloyd steps, as `jaxdpmm.inference.initialize` does them."""

    def build() -> Callable[[], Any]:
        import torch

        torch_side.set_precision("float32")
        torch.manual_seed(0)
        x = torch_side.shared(clusters(num_points, dim, num_clusters)[0])
        x = x - x.mean(0)
        return lambda: _lloyd(x, _plus_plus(x, num_clusters))

    labels = {
        "what": f"k-means start, {LLOYD_STEPS} steps of Lloyd",
        "by": "torch, by hand",
        "size": f"{num_points:,} x {dim}, K = {num_clusters:,}",
        "precision": "float32",
    }
    return Case(labels, build, k_means_work(num_points, dim, num_clusters), torch_side.wait)


def _plus_plus(x, num_clusters):
    """Seeds (K, D): of some points drawn by squared distance, the one after which the distances are least."""
    import torch

    squares = (x * x).sum(1)
    trials = 2 + int(math.log(num_clusters))
    seeds = [x[0]]
    nearest = _squared_distances(x[:1], x, squares)[0]
    for _ in range(num_clusters - 1):
        drawn = x[torch.multinomial(nearest, trials, replacement=True)]
        distances = torch.minimum(_squared_distances(drawn, x, squares), nearest)
        best = distances.sum(1).argmin()
        seeds.append(drawn[best])
        nearest = distances[best]
    return torch.stack(seeds)


def _squared_distances(points, x, squares):
    own = (points * points).sum(1, keepdim=True)
    return (own + squares - 2 * (points @ x.T)).clamp_min(0)


def _lloyd(x, centres):
    """Labels after some steps; a cluster without points keeps its centre."""
    import torch

    for _ in range(LLOYD_STEPS):
        labels = ((centres * centres).sum(1) - 2 * (x @ centres.T)).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, labels, x)
        counts = torch.bincount(labels, minlength=len(centres))[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    return ((centres * centres).sum(1) - 2 * (x @ centres.T)).argmin(1)


def _statistics(covariance, shares, x):
    """Counts (K,), sums (K, D), and sums of squares: (K, D), or (K, 1) where there is one variance."""
    squares = x * x if covariance == "diagonal" else (x * x).sum(1, keepdim=True)
    return [shares.sum(0), shares.T @ x, shares.T @ squares]


def _update(covariance, counts, first, second):
    """Log weights, means and precisions of the largest likelihood, with one point of the data's scale beside."""
    counts = counts[:, None]
    means = first / (counts + 1)
    spread = first * first / (counts + 1)
    if covariance == "spherical":
        spread = spread.sum(1, keepdim=True)
    size = 1 if covariance == "diagonal" else first.shape[1]
    variances = ((second - spread) / (size * (counts + 1))).clamp_min(FLOOR)
    return (counts + 1).log()[:, 0], means, 1 / variances


def _joint(covariance, params, x):
    """Log weight and log density of every point and component, but for constants, (N, K)."""
    log_weights, means, precisions = params
    shift = precisions * means
    constant = (shift * means).sum(1) - _log_det(covariance, precisions, x.shape[1])
    if covariance == "diagonal":
        squares = (x * x) @ precisions.T - 2 * (x @ shift.T)
    else:
        squares = precisions.T * ((x * x).sum(1, keepdim=True) - 2 * (x @ means.T))
    return log_weights - 0.5 * (squares + constant)


def _log_det(covariance, precisions, dim):
    return precisions.log().sum(1) * (1 if covariance == "diagonal" else dim)
