"""What a family of one's own costs, and which family, prior and score suit patch features.

Without `--data` the records run: a user's family against a kernel written for it by hand, and low rank against full
covariance.

    python benchmarks/families.py --json families.json

With `--data`, a folder in MVTec AD layout or "elpv", families are fitted to the patches of its normal images and
their scores set beside an exact memory bank's. A tenth of the normal images is held out of every fit, the bank's too;
the density of their patches is what chooses among families, no label is used. Features are extracted once, into the
folder `--cache`, and every row is written there when it is done, so that a run may be cut and gone on with.

    python benchmarks/families.py --data magnetic_tile --cache cache --short-side 336
    python benchmarks/families.py --data elpv --cache cache --short-side 294

Pixel figures are of every fourth row and column. Densities are in nats per patch; those of directions live on the
sphere and are compared with nothing else.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from families_data import Patches, detection_figures, load_patches
from harness import Case, main, record, write_report
from jax.scipy.special import digamma, gammaln
from table_parts import spread

import jaxdpmm
from jaxdpmm import families
from jaxdpmm.bound import elbo_after_update
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.base import LocalStep
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.inference.initialize import clustered_prior
from jaxdpmm.inference.local_steps.dense import dense, sum_over_tiles
from jaxdpmm.inference.local_steps.sparse import candidates
from jaxdpmm.model import expected_readout, global_update
from jaxdpmm.scoring import SCORERS

SAMPLE_SIZE = 20_000  # patches that the prior is set by
NUM_SWEEPS, TOLERANCE = 15, 0.1  # the latter in nats per patch; detection does not change beyond


# ------------------------------------------------------------------ a user's family against a hand-written kernel


@dataclasses.dataclass(frozen=True)
class PoissonGamma(jaxdpmm.Family):
    """As in README: nothing but what a user writes."""

    def sufficient_statistics(self, x):
        """Sum and number of counts."""
        return x, jnp.ones_like(x)

    def log_partition(self, natural):
        """Log Gamma(a) - a log b."""
        a, b = natural
        return gammaln(a) - a * jnp.log(b)

    def log_base_measure(self, x):
        """Minus log x!."""
        return -gammaln(x + 1)


@record("poisson-gamma-1e6-k100", peer="hand-written")
def poisson_gamma(quick: bool) -> Case:
    """One sweep of CAVI with the ELBO, against the same arithmetic in a kernel that knows the family."""
    num_points, num_components = 100_000 if quick else 1_000_000, 100
    generator = np.random.default_rng(0)
    x = generator.poisson(generator.gamma(2, 20, num_components)[np.arange(num_points) % 100])
    x = x.astype(np.float32)
    mixture = jaxdpmm.Mixture(PoissonGamma(), num_components)
    component = (jnp.float32(1.0), jnp.float32(0.05))
    prior = jaxdpmm.Prior(component, mixture.sticks.default_prior(jnp.float32))
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    algorithm = jaxdpmm.cavi(mixture, prior)
    (batch,) = ArraySource(x, mixture.family).sweep()
    state, step, key = algorithm.init(start), jax.jit(algorithm.step), jax.random.key(0)
    kernel = jax.jit(lambda posterior, x: by_hand(mixture, prior, posterior, x))
    ours, theirs = step(key, state, batch)[1].objective, kernel(start, batch.x)[1]
    difference = float(abs(ours - theirs) / num_points)
    extras = {"num_points": num_points, "num_components": 100, "elbo_difference": difference}
    return Case(lambda: step(key, state, batch), lambda: kernel(start, batch.x), extras)


def by_hand(mixture, prior, posterior, x):
    """One sweep of a Poisson mixture: tiles in the cache, log x! once a point, no trees."""
    a, b = posterior.components
    log_weights = expected_readout(mixture, posterior).log_weights
    log_rate, rate = digamma(a) - jnp.log(b), a / b

    def of_tile(x, weight):
        joint = (log_weights - rate)[None] + x[:, None] * log_rate[None]
        highest = jnp.max(joint, axis=1, keepdims=True)
        unnormalised = jnp.exp(joint - highest)
        total = jnp.sum(unnormalised, axis=1, keepdims=True)
        r = unnormalised / total * weight[:, None]
        evidence = weight * (highest + jnp.log(total))[:, 0]
        entropy = jnp.sum(evidence) - jnp.sum(r * joint)
        return jnp.sum(r, axis=0), x @ r, entropy, -jnp.sum(weight * gammaln(x + 1))

    counts, sums, entropy, log_base = sum_over_tiles(of_tile, x, jnp.ones_like(x))
    stats = jaxdpmm.Stats(counts, (sums, counts), entropy, log_base)
    new = global_update(mixture, prior, stats, posterior)
    return new, elbo_after_update(mixture, prior, new, stats)


# ------------------------------------------------------------------ low rank against full covariance


@record("low-rank-32-k100", peer="full covariance")
def low_rank(quick: bool) -> Case:
    """One dense sweep in 384 dimensions, 32 factors against all of the covariance."""
    return against_full(32, 2048 if quick else 8192)


@record("low-rank-64-k100", peer="full covariance", in_quick=False)
def lower_rank(quick: bool) -> Case:
    """The same with 64 factors."""
    return against_full(64, 2048 if quick else 8192)


def against_full(rank: int, num_points: int, num_components: int = 100, dim: int = 384) -> Case:
    """Sweeps of CAVI from the same k-means start."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((num_components, dim))
    labels = np.arange(num_points) % num_components
    x = (centres[labels] + 0.3 * generator.standard_normal((num_points, dim))).astype(np.float32)
    steps = []
    for family in (families.GaussianLowRank(dim, rank), families.GaussianFull(dim)):
        mixture = jaxdpmm.Mixture(family, num_components)
        prior = jaxdpmm.default_prior(mixture, x)
        algorithm = jaxdpmm.cavi(mixture, prior)
        start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
        state, step = algorithm.init(start), jax.jit(algorithm.step)
        (batch,) = ArraySource(x, family).sweep()
        steps.append(functools.partial(step, jax.random.key(0), state, batch))
    extras = {"num_points": num_points, "num_components": num_components, "dim": dim, "rank": rank}
    return Case(*steps, extras, num_runs=5)


# ------------------------------------------------------------------ families on patch features


class Row(NamedTuple):
    """A family with its prior, how it is fitted, and what it is scored by.

    Attributes:
        family: of the number of features.
        num_components: truncation K.
        scores: names in `SCORERS`.
        local_step: the E-step.
        dof: how many points the prior's covariance counts for; None for the family's default.
        unit_norm: whether features are scaled to unit norm first.
        within: whether the prior is `clustered_prior` and not `default_prior`.
    """

    family: Callable[[int], jaxdpmm.Family]
    num_components: int
    scores: tuple[str, ...] = ("predictive", "cosine")
    local_step: LocalStep = dense
    dof: float | None = None
    unit_norm: bool = False
    within: bool = False


FULL_SCORES = ("predictive", "nearest_predictive")
ROWS = {
    "spherical-k200": Row(families.GaussianSpherical, 200, ("predictive",)),
    "diagonal-k200": Row(families.GaussianDiagonal, 200),
    "von-mises-fisher-k200": Row(families.VonMisesFisher, 200, unit_norm=True),
    "low-rank-32-k100": Row(
        lambda dim: families.GaussianLowRank(dim, 32), 100, local_step=candidates(8, 2)
    ),
    "full-k100": Row(families.GaussianFull, 100, FULL_SCORES, candidates(8, 2), dof=2000.0),
    "full-k100-within": Row(
        families.GaussianFull, 100, FULL_SCORES, candidates(8, 2), dof=2000.0, within=True
    ),
}
BANK = "bank"


def table(options: argparse.Namespace) -> None:
    """Fit and score every row and seed that the cache lacks; print and write all."""
    from jaxdpmm.images.layouts import open_data_set

    data_set = open_data_set(options.data)
    folder = options.cache / f"{data_set.name}-{options.short_side}"
    patches = load_patches(data_set, folder, options.short_side)
    for name, seed in wanted(options):
        path = folder / f"{name}-{seed}.json"
        if not path.exists():
            of = bank_row if name == BANK else mixture_row
            path.write_text(json.dumps(of(patches, name, seed), indent=1) + "\n")
            print(f"{path} written", file=sys.stderr, flush=True)
    names = [BANK, *ROWS]
    files = [path for name in names for path in sorted(folder.glob(f"{name}-[0-9]*.json"))]
    results = [json.loads(path.read_text()) for path in files]
    print_table(results)
    if options.json:
        write_report(options.json, results, data=data_set.name)


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Rows and seeds that the command line asks for; nothing is random in a bank."""
    for seed in range(options.seeds):
        for name in options.only or [BANK, *ROWS]:
            if seed == 0 or name != BANK:
                yield name, seed


def mixture_row(patches: Patches, name: str, seed: int) -> dict[str, Any]:
    """Fit one row and score the test images."""
    from jaxdpmm.detection import num_bytes

    row = ROWS[name]
    learned, held_out = (in_form(row, x) for x in (patches.learned, patches.held_out))
    mixture = jaxdpmm.Mixture(row.family(learned.shape[1]), row.num_components)
    key_prior, key_start = jax.random.split(jax.random.key(seed))
    prior = prior_of(row, mixture, learned, key_prior)
    begin = time.perf_counter()
    start = jaxdpmm.initialize(mixture, prior, learned, key=key_start)
    algorithm = jaxdpmm.cavi(mixture, prior, row.local_step)
    result = jaxdpmm.fit(algorithm, learned, start, num_epochs=NUM_SWEEPS, tolerance=TOLERANCE)
    seconds = time.perf_counter() - begin
    mixture, posterior = jaxdpmm.compact(mixture, prior, result.posterior)
    density = jaxdpmm.log_predictive_density(mixture, posterior, held_out[::4])
    scorers = {score: (SCORERS[score](mixture), posterior) for score in row.scores}
    return {
        "row": name,
        "seed": seed,
        "num_components": mixture.num_components,
        "num_sweeps": len(result.history),
        "held_out_density": float(np.mean(density, dtype=np.float64)),
        "fit_seconds": seconds,
        "model_bytes": num_bytes(posterior),
        "scores": detection_figures(patches, scorers, lambda x: in_form(row, x)),
    }


def in_form(row: Row, x: np.ndarray) -> np.ndarray:
    """Features as the row wants them."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True) if row.unit_norm else x


def prior_of(row: Row, mixture: jaxdpmm.Mixture, x: np.ndarray, key: jax.Array) -> jaxdpmm.Prior:
    """The data-driven prior, with the row's degrees of freedom where it has any."""
    if row.within:
        prior = clustered_prior(mixture, x, key=key, sample_size=SAMPLE_SIZE)
    else:
        prior = jaxdpmm.default_prior(mixture, jnp.asarray(draw_sample(key, x, SAMPLE_SIZE)))
    if row.dof is None:
        return prior
    c = prior.component
    covariance = c.second / c.dof  # the prior's mean is zero
    stronger = mixture.family.prior(c.first, covariance, float(c.mean_count), row.dof)
    return prior._replace(component=stronger)


def bank_row(patches: Patches, name: str, seed: int) -> dict[str, Any]:
    """The exact memory bank of the same patches that mixtures learn from."""
    from jaxdpmm.detection.banks import memory_bank

    rows = jnp.asarray(patches.learned)
    scorers = {"cosine": (memory_bank(), rows)}
    figures = detection_figures(patches, scorers, lambda x: x)
    return {"row": name, "seed": seed, "model_bytes": rows.nbytes, "scores": figures}


def print_table(results: list[dict[str, Any]]) -> None:
    """Mean and spread (standard deviation) over seeds, one line a row and score."""
    print(
        "| row | score | held-out density | image AUROC | pixel AUROC | pixel AUPR | fit | scoring | bytes |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for name in dict.fromkeys(result["row"] for result in results):
        runs = [result for result in results if result["row"] == name]
        for score in runs[0]["scores"]:
            of = [run | run["scores"][score] for run in runs]
            columns = [
                spread(of, "held_out_density", "{:.1f}"),
                *(
                    spread(of, key, "{:.3f}")
                    for key in ("image_auroc", "pixel_auroc", "pixel_aupr")
                ),
                spread(of, "fit_seconds", "{:.0f}", " s"),
                spread(of, "scoring_ms", "{:.1f}", " ms"),
                f"{statistics.mean(run['model_bytes'] for run in of) / 1e6:.1f} MB",
            ]
            print(f"| {name} | {score} | {' | '.join(columns)} |")


def parse_options() -> argparse.Namespace:
    """The options of the table; those of the records are the harness's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help='folder in MVTec AD layout, or "elpv"')
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="features and results")
    parser.add_argument("--short-side", type=int, default=336)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=[BANK, *ROWS], help="repeatable")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    if "--data" in sys.argv:
        table(parse_options())
    else:
        main()
