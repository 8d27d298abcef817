"""How well a posterior explains the data: the evidence lower bound, and the evidence of points that share a component.

Not here: how bounds of batches are put together (`inference/backends/`) and proposals compared by them
(`inference/growth/`). Next file to read: `inference/backends/cavi.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm import trees
from jaxdpmm.model import Mixture, Posterior, Prior, Stats
from jaxdpmm.sticks import expected_log_weights


def elbo(mixture: Mixture, prior: Prior, posterior: Posterior, stats: Stats) -> Float[Array, ""]:
    """Evidence lower bound, with all constants, of any q given the statistics of its responsibilities.

    E[log w] counts + <E[eta], T> + log h + entropy - KL(components) - KL(sticks). The second and the fifth term
    are joined: <E[eta], T + prior - posterior> + A(posterior) - A(prior), in which the large parts cancel before
    they are rounded.

    References:
        Blei and Jordan (2006), equation 16.
    """
    surplus = trees.subtract(trees.add(stats.components, prior.component), posterior.components)
    expected = jax.vmap(mixture.family.expected_natural)(posterior.components)
    return trees.dot(expected, surplus) + _elbo_without_surplus(mixture, prior, posterior, stats)


def elbo_after_update(
    mixture: Mixture, prior: Prior, posterior: Posterior, stats: Stats
) -> Float[Array, ""]:
    """`elbo` of the posterior that `global_update` makes of the statistics.

    Its components are exactly prior + statistics, so that no expectation is needed; but for families that restrict q.
    """
    bound = elbo if mixture.family.is_restricted else _elbo_without_surplus
    return bound(mixture, prior, posterior, stats)


def _elbo_without_surplus(
    mixture: Mixture, prior: Prior, posterior: Posterior, stats: Stats
) -> Float[Array, ""]:
    evidence = jnp.sum(_evidence_of(mixture, prior, posterior.components))
    weights = jnp.sum(expected_log_weights(posterior.sticks) * stats.counts)
    sticks = mixture.sticks.kl_divergence(posterior.sticks, prior.concentration)
    return evidence + weights + stats.entropy + stats.log_base - sticks


def log_evidence(mixture: Mixture, prior: Prior, components: Any) -> Float[Array, " K"]:
    """Log p(points of k | one component): A(prior + T_k) - A(prior), without log h.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        components: T_k, sum of T(x) over the points of each component, as in `Stats`; leaves lead with K.
    """
    return _evidence_of(mixture, prior, trees.add(components, prior.component))


def _evidence_of(mixture: Mixture, prior: Prior, natural: Any) -> Float[Array, " K"]:
    log_partition = mixture.family.log_partition
    return jax.vmap(log_partition)(natural) - log_partition(prior.component)
