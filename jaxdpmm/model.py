"""The mixture: one idea, posterior = prior + sum of sufficient statistics, in two verbs.

    summarize       responsibilities of points    -> Stats (additive)
    global_update   Stats                         -> Posterior

Backends (`inference/`) differ only in how components are read out (`Readout`) and how `Stats` are accumulated.
Everything is a pure function of arrays; the static `Mixture` says which family and which sticks.

Features enter as the user has them. Families that lose precision far from zero name a reference point (`Prior.offset`),
which is subtracted on the way in; natural parameters are relative to it. Next file to read: `bound.py`.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from jaxdpmm import trees
from jaxdpmm.checks import check_at_least_one, check_kind
from jaxdpmm.families import Family, Likelihood
from jaxdpmm.points import check_finite, check_points, compute_type
from jaxdpmm.sticks import DirichletProcess, StickBreaking, Sticks, expected_log_weights


@dataclass(frozen=True)
class Mixture:
    """Which mixture: component family, prior of the weights, truncation K. Static under jit.

    Attributes:
        family: what a component looks like; for NumPyro alone, a `Likelihood` will do.
        num_components: truncation K, the most components there can be.
        sticks: prior of the weights.

    Raises:
        TypeError: an argument is of another kind, such as a number in the place of the family.
        ValueError: `num_components` is below 1.
    """

    family: Any  # a Likelihood, but nearly everything needs a Family
    num_components: int
    sticks: StickBreaking = field(default_factory=DirichletProcess)

    def __post_init__(self) -> None:
        check_kind("family", self.family, Likelihood, "pass Mixture(family, num_components)")
        check_kind("sticks", self.sticks, StickBreaking, "leave it out for a DirichletProcess()")
        advice = "start with 100, unused components empty themselves"
        check_at_least_one("num_components", self.num_components, advice)


class Prior(NamedTuple):
    """Hyper-parameters.

    Attributes:
        component: natural parameter of one component's prior, shaped like T(x).
        concentration: the sticks' own prior, for the Dirichlet process a `Gamma` on alpha.
        offset: subtracted from every point, of the shape of one point; None for nothing.
    """

    component: Any
    concentration: Any
    offset: Array | None = None


class Posterior(NamedTuple):
    """q of everything but the assignments.

    Attributes:
        sticks: q(v), q(alpha).
        components: natural parameters, leaves lead with K.
        counts: expected number of points by component, (K,).
        offset: as in `Prior`; scoring needs it.
    """

    sticks: Sticks
    components: Any
    counts: Float[Array, " K"]
    offset: Array | None = None


class Stats(NamedTuple):
    """All that data say of a posterior: a tree to add, subtract, scale and `psum`.

    Attributes:
        counts: sum_n w_n r_nk, (K,).
        components: sum_n w_n r_nk T(x_n), leaves lead with K.
        entropy: -sum_n w_n sum_k r_nk log r_nk, a scalar; inside so that partial sums have an exact ELBO. Families
            with local variables add theirs.
        log_base: sum_n w_n log h(x_n), a scalar.
    """

    counts: Float[Array, " K"]
    components: Any
    entropy: Float[Array, ""]
    log_base: Float[Array, ""]


class Readout(NamedTuple):
    """What an E-step needs of a posterior: expected, point or sampled, as the backend chooses."""

    log_weights: Float[Array, " K"]
    params: Any
    offset: Array | None


class Batch(NamedTuple):
    """Some points, of the same number in every batch so that a step compiles once.

    Attributes:
        x: points, (B, ...).
        weight: sample weights, (B,); 0 marks padding.
        slot: which part of the data this is, 0 <= slot < number of batches.
        is_last: whether the sweep over the data ends here.
        total: sum of the weights of the whole data.
    """

    x: Num[Array, "B ..."]
    weight: Float[Array, " B"]
    slot: Int[Array, ""]
    is_last: Any
    total: Float[Array, ""]


@partial(jax.jit, static_argnums=0)
def expected_readout(mixture: Mixture, posterior: Posterior) -> Readout:
    """Expected log weights and expected parameters: the read-out of variational inference."""
    _require_conjugate(mixture)
    return Readout(
        expected_log_weights(posterior.sticks),
        jax.vmap(mixture.family.expected_params)(posterior.components),
        posterior.offset,
    )


def _require_conjugate(mixture: Mixture) -> None:
    if not isinstance(mixture.family, Family):
        raise TypeError(
            f"the family must be a conjugate Family, got {type(mixture.family).__name__}, a Likelihood; fit it with "
            "numpyro_model of jaxdpmm.inference.numpyro."
        )


def centre(x: Num[Array, "N ..."], offset: Array | None) -> Num[Array, "N ..."]:
    """Points relative to the reference point, or as they are where there is none.

    Whole numbers and half precision, which cannot hold the difference, are taken in the reference point's type.
    """
    if offset is None:
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating) or jnp.finfo(x.dtype).bits < 32:
        x = x.astype(offset.dtype)
    return x - offset[None].astype(x.dtype)


def log_joint(mixture: Mixture, readout: Readout, x: Num[Array, "N ..."]) -> Float[Array, "N K"]:
    """Log w_k + log p(x_n | theta_k) of raw points, as the read-out has it."""
    likelihood = mixture.family.log_likelihood_matrix(readout.params, centre(x, readout.offset))
    return readout.log_weights[None] + likelihood


def summarize(
    mixture: Mixture,
    responsibilities: Float[Array, "N K"],
    x: Num[Array, "N ..."],
    weight: Float[Array, " N"],
    offset: Array | None,
    params: Any = None,
) -> Stats:
    """Sufficient statistics of raw points under given responsibilities.

    Args:
        mixture: static description.
        responsibilities: r_nk.
        x: raw points.
        weight: sample weights.
        offset: the reference point.
        params: what the responsibilities were read out with, for families with local variables.
    """
    centred = centre(x, offset)
    weighted = responsibilities * weight[:, None]
    statistics, local = mixture.family.local_statistics(params, centred, weighted)
    entropy, log_base = entropy_and_base(mixture, responsibilities, centred, weight)
    return Stats(jnp.sum(weighted, axis=0), statistics, entropy + local, log_base)


def entropy_and_base(
    mixture: Mixture,
    responsibilities: Float[Array, "N C"],
    centred: Num[Array, "N ..."],
    weight: Float[Array, " N"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Entropy of the assignments and sum of log h(x), as in `Stats`; zero responsibilities may be left out."""
    entropy = jnp.sum(jax.scipy.special.entr(responsibilities), axis=1)
    log_base = jax.vmap(mixture.family.log_base_measure)(centred)
    return jnp.sum(weight * entropy), jnp.sum(weight * log_base)


def empty_stats(posterior: Posterior) -> Stats:
    """Statistics of no data, of the shapes and types of a posterior's."""
    scalar = jnp.zeros((), posterior.counts.dtype)
    counts, components = trees.zeros_like((posterior.counts, posterior.components))
    return Stats(counts, components, scalar, scalar)


def stats_of(
    prior: Prior, posterior: Posterior, total_weight: float | Float[Array, ""] | None = None
) -> Stats:
    """The statistics that a posterior holds, posterior - prior; entropy and log h are not in it and are 0.

    Args:
        prior: the prior that the posterior was made from.
        posterior: of any backend.
        total_weight: scale the statistics to this many points, so that a start from a sample weighs as
            much as the data; None to leave them as they are.
    """
    zero = jnp.zeros((), posterior.counts.dtype)
    components = trees.subtract(posterior.components, prior.component)
    stats = Stats(posterior.counts, components, zero, zero)
    if total_weight is None:
        return stats
    return trees.scale(stats, total_weight / jnp.sum(posterior.counts))


def global_update(
    mixture: Mixture, prior: Prior, stats: Stats, previous: Posterior | None = None
) -> Posterior:
    """Posterior = prior + statistics, for every component; then the sticks.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        stats: statistics of all data.
        previous: the last posterior, whose E[alpha] the sticks use; None at the start.
    """
    sticks = mixture.sticks.posterior(
        stats.counts, prior.concentration, None if previous is None else previous.sticks
    )
    return Posterior(sticks, components_of(mixture, prior, stats), stats.counts, prior.offset)


def components_of(mixture: Mixture, prior: Prior, stats: Stats) -> Any:
    """Natural parameters prior + statistics of all components, as far as the family allows; leaves lead with K."""
    _require_conjugate(mixture)
    return mixture.family.restrict(trees.add(stats.components, prior.component))


def default_prior(mixture: Mixture, x: Num[Array | np.ndarray, "N ..."]) -> Prior:
    """A weak prior at the scale of the data.

    Args:
        mixture: static description.
        x: points, or a sample of them (some thousands are enough).

    Returns:
        A prior whose components lie where the data lie and share their volume; see the family's
        `default_prior`.

    Raises:
        TypeError: the family has no data-driven prior, points that are not numbers, or a mixture that is none.
        ValueError: no points, or points of the wrong shape, not finite, or too large for their type.
    """
    check_kind("mixture", mixture, Mixture, "call default_prior(mixture, x), in this order")
    _require_conjugate(mixture)
    points = check_points(x, mixture.family)
    points = jnp.asarray(points, compute_type(np.dtype(points.dtype)))
    if not isinstance(points, jax.core.Tracer):
        check_finite(points)
    offset = mixture.family.reference_point(points)
    component = mixture.family.default_prior(centre(points, offset), mixture.num_components)
    dtype = jax.tree.leaves(component)[0].dtype
    return Prior(component, mixture.sticks.default_prior(dtype), offset)


def active_components(posterior: Posterior, minimum_count: float = 0.5) -> Bool[Array, " K"]:
    """Which components hold data: expected number of points of at least `minimum_count`, (K,) bool."""
    return posterior.counts >= minimum_count


def compact(
    mixture: Mixture, prior: Prior, posterior: Posterior, minimum_count: float = 0.5
) -> tuple[Mixture, Posterior]:
    """Drop empty components and sort the rest by size, largest first.

    The sticks are made anew from the counts that stay, since they depend on the order; the components stay
    as they are. At least one component is kept.

    Returns:
        A mixture of the smaller truncation, and its posterior.
    """
    order = jnp.argsort(-posterior.counts)
    num_active = max(1, int(jnp.sum(active_components(posterior, minimum_count))))
    kept = order[:num_active]
    counts = posterior.counts[kept]
    smaller = Mixture(mixture.family, num_active, mixture.sticks)
    sticks = mixture.sticks.posterior(counts, prior.concentration, posterior.sticks)
    components = trees.take(posterior.components, kept)
    return smaller, Posterior(sticks, components, counts, posterior.offset)
