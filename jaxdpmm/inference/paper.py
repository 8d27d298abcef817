"""The published algorithm, arXiv 2509.19997, as a setting of `online_em` and a start.

What differs from the release is only what is a defect there (first-image start, alpha lost on resume, outer products
of every point); see `paper_start` for where the paper is silent. Next file to read: `fit.py`.

References:
    Schulthess and Konukoglu (2025), arXiv 2509.19997, section 2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike

from jaxdpmm import trees
from jaxdpmm.families import GaussianFull
from jaxdpmm.inference.backends.online_em import PAPER_STEP_SIZE, gaussian_of, online_em
from jaxdpmm.inference.base import Algorithm, LocalStep
from jaxdpmm.inference.data.pieces import draw_sample
from jaxdpmm.inference.local_steps.dense import dense
from jaxdpmm.model import Mixture, Posterior, Prior
from jaxdpmm.points import check_points
from jaxdpmm.sticks import Gamma, Sticks

PAPER_CONCENTRATION = 2.0  # alpha at the start
PAPER_RIDGE_FULL = 1e-3
PAPER_RIDGE = 1e-6
PAPER_SAMPLE = 100_000  # points for the variance at the start


def paper_preset(mixture: Mixture, local_step: LocalStep = dense) -> tuple[Algorithm, Prior]:
    """The algorithm of arXiv 2509.19997, step by step, as an `online_em` with nothing but zeros in its prior.

    Maximum-likelihood components (zero natural parameter) plus eps I (1e-6, 1e-3 for full covariance);
    v_k = s_k / (s_k + (alpha - 1)/n + R_k), the mode of Beta(1 + n s_k, alpha + n R_k); and
    alpha = (K-1) / sum_k [psi(n (s_k + R_k) + alpha + 1) - psi(n R_k + alpha)], the mean of q(alpha) under the
    improper prior Gamma(0, 0).

    Args:
        mixture: with a Gaussian family.
        local_step: the E-step, `dense` by default.

    Returns:
        The algorithm, and the prior that `paper_start` needs.

    Raises:
        TypeError: the family is not Gaussian.
    """
    family = gaussian_of(mixture, "paper_preset")
    ridge = PAPER_RIDGE_FULL if isinstance(family, GaussianFull) else PAPER_RIDGE
    point = jax.ShapeDtypeStruct((family.dim,), jnp.result_type(float))
    zero = trees.zeros_like(jax.eval_shape(family.sufficient_statistics, point))
    none = jnp.zeros((), point.dtype)
    prior = Prior(zero, Gamma(none, none))
    return online_em(mixture, prior, PAPER_STEP_SIZE, ridge, local_step), prior


def paper_start(
    mixture: Mixture, prior: Prior, x: ArrayLike, *, key: PRNGKeyArray, batch_size: int
) -> Posterior:
    """The start of arXiv 2509.19997: K random patches as means, the data's variances, v_k ~ Beta(1, alpha).

    Two differences: the patches come from all data (the release takes them all from the first image), and
    the running averages, of which the paper gives no start, begin at those of the model itself:
    s_k = w_k, m_k = w_k mu_k, S_k = w_k (Sigma_k + mu_k mu_k').

    Args:
        mixture: with a Gaussian family.
        prior: from `paper_preset`.
        x: all points, (N, D).
        key: random key.
        batch_size: n, the weight of the averages; the paper has 12,288.

    Raises:
        ValueError: data of the wrong shape.
        TypeError: the family is not Gaussian.
    """
    family = gaussian_of(mixture, "paper_start")
    key_means, key_sticks, key_variance = jax.random.split(key, 3)
    points = check_points(x, family)
    means = jnp.asarray(draw_sample(key_means, points, mixture.num_components))
    sample = jnp.asarray(draw_sample(key_variance, points, PAPER_SAMPLE))
    variance = jnp.var(sample, axis=0)
    fractions = jax.random.beta(
        key_sticks, 1.0, PAPER_CONCENTRATION, (mixture.num_components - 1,), means.dtype
    )
    rest = jnp.concatenate([jnp.ones(1, means.dtype), jnp.cumprod(1 - fractions)])
    weights = jnp.append(fractions, 1) * rest
    statistics = jax.vmap(family.sufficient_statistics)(means)
    wide = jax.vmap(lambda natural: family.widen(natural, variance))(statistics)
    counts = weights * batch_size
    components = jax.vmap(trees.scale)(wide, counts)
    alpha = jnp.asarray(PAPER_CONCENTRATION, means.dtype)
    sticks = Sticks(*mixture.sticks.fractions(counts, alpha), Gamma(alpha, jnp.ones_like(alpha)))
    return Posterior(sticks, components, counts, prior.offset)
