"""The predictive density over a few components per point: what full covariance costs N K D^2 for, at N C D^2.

In hundreds of dimensions a point's density is that of its best component, which is almost always among those whose
means are nearest: cheap to find, N K D, and cheaper by a screen or by groups where there are thousands
(`shortlist.py`). Sums over fewer components are smaller, so the score is never below that of all, `density.predictive`,
and equals it where C = K.
Next file to read: `distance.py`.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxdpmm.checks import check_at_least_one
from jaxdpmm.chosen import chosen_entries
from jaxdpmm.distances import relative_squares, squared_norms
from jaxdpmm.model import Mixture, Posterior, centre
from jaxdpmm.scoring.density import Predictive, predictive
from jaxdpmm.scoring.distance import Means, barrier, component_means
from jaxdpmm.scoring.scorer import Scorer
from jaxdpmm.scoring.screen import Screen, screen_of
from jaxdpmm.scoring.shortlist import is_screened, nearest_rows

NUM_CANDIDATES = 8


class Nearest(NamedTuple):
    """Prepared predictive, and what chooses its components.

    Attributes:
        means: of the components and |mean|^2, which is infinity for components without data: these come last, since
            all have the prior's mean and could be the nearest C together; or a screen of them.
        predictive: densities of all components.
    """

    means: Means | Screen
    predictive: Predictive


@lru_cache
def nearest_predictive(
    mixture: Mixture, num_candidates: int = NUM_CANDIDATES, grouped: bool = True
) -> Scorer:
    """Minus log sum of E[w_k] p(x | data of k) over the components whose means are nearest to x.

    With `shortlist.LEAST_SCREENED` components or more, the nearest means are searched through a screen, and on a
    processor with `groups.LEAST_GROUPED` or more through groups, which miss few of them;
    `shortlist.shortlist_recall` says how many.

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
        means = component_means(mixture, posterior)
        without_data = barrier(posterior)
        if grouped and is_screened(len(means), num_candidates):
            ranked: Any = screen_of(means, without_data)
        else:
            ranked = Means(means, squared_norms(means) + without_data)
        return Nearest(ranked, predictive(mixture).prepare(posterior))

    def score(params: Nearest, x: Num[Array, "N D"]) -> Float[Array, " N"]:
        if isinstance(params.means, Screen):
            chosen = nearest_rows(params.means, x, num_candidates)
        else:
            chosen = jax.lax.top_k(-relative_squares(x, *params.means), num_candidates)[1]
        weights, of_components, offset = params.predictive
        matrix, x = mixture.family.log_predictive_matrix, centre(x, offset)
        if grouped:
            densities = chosen_entries(matrix, of_components, x, chosen)
        else:
            densities = jnp.take_along_axis(matrix(of_components, x), chosen, axis=1)
        weights = weights.at[chosen].get(mode="fill", fill_value=-jnp.inf)  # K stands for none
        return -jax.nn.logsumexp(weights + densities, axis=1)

    return Scorer(prepare, score)
