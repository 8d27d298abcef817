"""Where a fit starts: points given to the nearest of some centres, then one global update.

The mixture's optimum depends on its start more than on anything else (`random patches of one image`, the start of the
published code, loses half of the accuracy), hence two careful ones. Greedy k-means++ and a few Lloyd steps, on points
drawn from all data, put components where points are many. Seeds for coverage (`coverage.py`) are chosen from all
points so that rare ones have a component too, which is what a detector of anomalies needs, given components enough.
The k-means clusters also tell how far points lie from their centre, which is what a component's covariance is before
its points are known. Next file to read: `../scoring/scorer.py`.

References:
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from jaxdpmm.checks import check_choice, check_key, check_kind
from jaxdpmm.choices import STARTS
from jaxdpmm.distances import nearest_centres, squared_distances, squared_norms
from jaxdpmm.families.gaussian import Gaussian
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.coverage import flat
from jaxdpmm.inference.covering import LOCAL_SWEEPS, covering_posterior
from jaxdpmm.inference.data.pieces import as_source, draw_sample
from jaxdpmm.model import (
    Mixture,
    Posterior,
    Prior,
    centre,
    default_prior,
    expected_readout,
    global_update,
)
from jaxdpmm.points import check_finite, check_points
from jaxdpmm.precision import full_precision

SAMPLE_PER_COMPONENT = 50
MINIMUM_SAMPLE = 10_000
PRIOR_SAMPLE = 20_000
K_MEANS_STEPS, COVERAGE_STEPS = 10, 1  # of Lloyd


def initialize(
    mixture: Mixture,
    prior: Prior,
    x: Any,
    *,
    key: PRNGKeyArray,
    sample_size: int | None = None,
    num_iterations: int | None = None,
    start: str = "k-means",
    one_unit: bool = False,
    adapt: bool = False,
) -> Posterior:
    """A posterior to start from: every point belongs to its nearest centre.

    Nearest by Euclidean distance, for Gaussians in units of each feature's spread, but for spherical ones
    and with `one_unit`.
    With "k-means", the points are a sample, and the centres those of k-means. With "coverage", they are all points,
    each with its sample weight, and the centres are farthest-first seeds: nothing is random, a rare kind of point has
    a component of its own, and the posterior's statistics are those of all data. Exact (`farthest_first`) of data that
    come in one batch, in few sweeps (`cover_batches`) of others. Components beyond the number of different points are
    empty.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        x: all points, (N, ...), of which rows are read where the sample needs them; or a `DataSource`.
        key: random key, of "k-means".
        sample_size: points that "k-means" uses, by default 50 per component and at least 10,000.
        num_iterations: Lloyd steps after the seeding, by default 10 with "k-means" and 1 with "coverage", where more of
            them take rare points' components to where points are many.
        start: "k-means" or "coverage".
        one_unit: features are all in one unit, as those of a backbone are, so that distances are taken as they are.
        adapt: with "coverage", only as many components hold data as raise the exact bound (`covering_number.py`), and
            those are joined that explain their points better together, as long as no point is farther from its mean
            than the farthest was before (`joining.py`). `truncation_binds` then tells whether more would be used than
            the mixture has, and `compact` drops those that stay empty.

    Raises:
        TypeError: a mixture, prior or key that is none, such as a number in place of the key.
        ValueError: unknown start, wrong shape, not finite, or, with "k-means", fewer points than components.
    """
    order = "call initialize(mixture, prior, x, key=key), in this order"
    check_kind("mixture", mixture, Mixture, order)
    check_kind("prior", prior, Prior, order)
    check_choice("start", start, STARTS)
    if adapt and start != "coverage":
        raise ValueError(
            f'adapt must be left out with start={start!r}, got True; take start="coverage", whose seeds are in order.'
        )
    if start == "coverage":
        steps = COVERAGE_STEPS if num_iterations is None else num_iterations
        source = as_source(x, mixture.family)
        return covering_posterior(mixture, prior, source, steps, one_unit, adapt)
    check_key(key)
    points = x if hasattr(x, "sweep") else check_points(x, mixture.family)
    num_components = mixture.num_components
    if sample_size is None:
        sample_size = max(SAMPLE_PER_COMPONENT * num_components, MINIMUM_SAMPLE)
    key_sample, key_seeds = jax.random.split(key)
    sample = draw_sample(key_sample, points, max(sample_size, num_components))
    _check_enough(num_components, len(sample))  # all of them, where there are too few
    check_finite(sample)
    steps = K_MEANS_STEPS if num_iterations is None else num_iterations
    in_sample = flat(sample) if one_unit else in_units(mixture, flat(sample))
    labels = k_means(key_seeds, in_sample, num_components, steps)
    return _posterior_of_labels(mixture, prior, jnp.asarray(sample), labels)


def clustered_prior(
    mixture: Mixture, x: Any, *, key: PRNGKeyArray, sample_size: int = PRIOR_SAMPLE
) -> Prior:
    """`default_prior` with the covariance of points about their k-means centre, pooled over centres.

    In D dimensions `default_prior` gives a component K^(-2/D) times the covariance of all data, which for hundreds of
    dimensions is all of it: too wide for the D + 2 points that a full covariance's prior counts for.

    Args:
        mixture: of Gaussian components.
        x: as in `initialize`.
        key: random key.
        sample_size: points to use.

    Raises:
        TypeError: the family is not Gaussian, or the key is none, such as a number.
        ValueError: wrong shape, not finite, or fewer points than components.
    """
    order = "call clustered_prior(mixture, x, key=key), in this order"
    check_kind("mixture", mixture, Mixture, order)
    if not isinstance(mixture.family, Gaussian):
        raise TypeError(
            f"mixture must have Gaussian components, got {type(mixture.family).__name__}; use default_prior."
        )
    x = x if hasattr(x, "sweep") else check_points(x, mixture.family)
    check_key(key)
    key_sample, key_seeds = jax.random.split(key)
    sample = draw_sample(key_sample, x, max(sample_size, mixture.num_components))
    _check_enough(mixture.num_components, len(sample))
    check_finite(sample)
    points = jnp.asarray(sample)
    prior = default_prior(mixture, points)
    centred = centre(points, prior.offset)
    residuals = _from_centres(key_seeds, mixture, centred)
    return prior._replace(component=mixture.family.default_prior(residuals, 1))


@partial(jax.jit, static_argnums=(2, 3))
@full_precision()
def k_means(
    key: PRNGKeyArray, x: Float[Array, "N D"], num_clusters: int, num_iterations: int = 10
) -> Int[Array, " N"]:
    """Labels of Lloyd's algorithm from greedy k-means++ seeds; empty clusters keep their centre."""
    x = x - jnp.mean(x, axis=0)[None]
    centres = _plus_plus(key, x, num_clusters)

    def improve(_: Any, centres: Array) -> Array:
        one_hot = jax.nn.one_hot(nearest_centres(x, centres), num_clusters, dtype=x.dtype)
        counts = jnp.sum(one_hot, axis=0)[:, None]
        return jnp.where(counts > 0, one_hot.T @ x / jnp.maximum(counts, 1), centres)

    return nearest_centres(x, jax.lax.fori_loop(0, num_iterations, improve, centres))


def _plus_plus(key: PRNGKeyArray, x: Array, num_clusters: int) -> Float[Array, "K D"]:
    """Seeds far from each other: of some points drawn by squared distance, the one that helps most."""
    num_trials = 2 + int(np.log(num_clusters))
    norms = squared_norms(x)
    first = x[jax.random.randint(key, (), 0, x.shape[0])]
    seeds = jnp.zeros((num_clusters, x.shape[1]), x.dtype).at[0].set(first)

    def add_seed(number: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        seeds, nearest = carry
        drawn = jax.random.categorical(
            jax.random.fold_in(key, number), jnp.log(nearest), shape=(num_trials,)
        )
        candidates = x[drawn]
        distances = jnp.minimum(squared_distances(candidates, x, centre_norms=norms), nearest[None])
        best = jnp.argmin(jnp.sum(distances, axis=1))
        return seeds.at[number].set(candidates[best]), distances[best]

    start = (seeds, squared_distances(first[None], x, centre_norms=norms)[0])
    return jax.lax.fori_loop(1, num_clusters, add_seed, start)[0]


@partial(jax.jit, static_argnums=0)
def _posterior_of_labels(
    mixture: Mixture, prior: Prior, x: Num[Array, "N ..."], labels: Int[Array, " N"]
) -> Posterior:
    ones = jnp.ones(x.shape[0], jax.tree.leaves(prior.component)[0].dtype)

    def update(params: Any) -> Posterior:
        stats = label_statistics(mixture, labels, x, ones, prior.offset, params)
        return global_update(mixture, prior, stats)

    def improve(_: Any, posterior: Posterior) -> Posterior:
        return update(expected_readout(mixture, posterior).params)

    posterior = update(None)
    if not mixture.family.has_local_variables:
        return posterior
    return jax.lax.fori_loop(0, LOCAL_SWEEPS, improve, posterior)


def _check_enough(num_components: int, num_points: int) -> None:
    if num_components > num_points:
        raise ValueError(
            f"num_components must not exceed the number of points, got {num_components} components "
            f"for {num_points} points; use at most {num_points}."
        )


@partial(jax.jit, static_argnums=1)
def _from_centres(key: PRNGKeyArray, mixture: Mixture, x: Float[Array, "N D"]) -> Array:
    num_centres = mixture.num_components
    labels = k_means(key, in_units(mixture, x), num_centres)
    counts = jnp.maximum(jnp.bincount(labels, length=num_centres), 1).astype(x.dtype)
    return x - (jax.ops.segment_sum(x, labels, num_centres) / counts[:, None])[labels]


def in_units(mixture: Mixture, x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Points for k-means: centred, each feature of a Gaussian's over its spread, so that no unit decides."""
    if not isinstance(mixture.family, Gaussian):
        return x
    centred = x - mixture.family.reference_point(x)[None]
    return centred / mixture.family.units(centred)[None]
