"""The predictive density over a few components a point: what full covariance costs N K D^2 for, at N C D^2.

In hundreds of dimensions a point's density is that of its best component, which is almost always among those whose
means are nearest: cheap to find, N K D. Sums over fewer components are smaller, so the score is never below that of
all, `density.predictive`, and equals it where C = K. Next file to read: `distance.py`.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.distances import relative_squares
from jaxdpmm.grouping import chosen_entries
from jaxdpmm.model import Mixture, Posterior, centre
from jaxdpmm.scoring.density import Predictive, predictive
from jaxdpmm.scoring.distance import component_means
from jaxdpmm.scoring.scorer import Scorer

NUM_CANDIDATES = 8


class Nearest(NamedTuple):
    """Prepared predictive, and the means (K, D) that choose its components."""

    means: Float[Array, "K D"]
    predictive: Predictive


@lru_cache
def nearest_predictive(
    mixture: Mixture, num_candidates: int = NUM_CANDIDATES, grouped: bool = True
) -> Scorer:
    """Minus log sum of E[w_k] p(x | data of k) over the components whose means are nearest to x.

    Args:
        mixture: of components that have means.
        num_candidates: C, components per point, at most K of them.
        grouped: compute the densities of the chosen components alone. False computes those of all K and picks, the
            same scores by simpler operations, for converters to other formats (ONNX) that do not know all of JAX's.

    Raises:
        TypeError: components of this family have no means.
        ValueError: `num_candidates` is below 1.
    """
    check_at_least_one("num_candidates", num_candidates, f"the default is {NUM_CANDIDATES}")
    num_candidates = min(num_candidates, mixture.num_components)

    def prepare(posterior: Posterior) -> Nearest:
        return Nearest(component_means(mixture, posterior), predictive(mixture).prepare(posterior))

    def score(params: Nearest, x: Num[Array, "N D"]) -> Float[Array, " N"]:
        chosen = jax.lax.top_k(-relative_squares(x, params.means), num_candidates)[1]
        weights, of_components, offset = params.predictive
        matrix, x = mixture.family.log_predictive_matrix, centre(x, offset)
        if grouped:
            densities = chosen_entries(matrix, of_components, x, chosen)
        else:
            densities = jnp.take_along_axis(matrix(of_components, x), chosen, axis=1)
        return -jax.nn.logsumexp(weights[chosen] + densities, axis=1)

    return Scorer(prepare, score)
