"""A local step that gives each point whole to one component, the one whose mean is nearest.

So does a start for coverage (`../covering.py`), and a component of few points keeps them. Soft responsibilities favour
heavy and wide components, which take them away. A q(z) of zeros and ones is one of those that the bound is over, so
that what the step reports stays a bound, but sweeps need not raise it. Next file to read: `../../grouping.py`.

References:
    Kulis and Jordan (2012), Revisiting k-means: new algorithms via Bayesian nonparametrics (hard assignments).
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from jaxdpmm.distances import nearest_centres
from jaxdpmm.families import Gaussian
from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.base import LocalResult, LocalStep, Memory
from jaxdpmm.inference.local_steps.dense import over_tiles
from jaxdpmm.inference.local_steps.sparse import candidate_log_joint
from jaxdpmm.model import Batch, Mixture, Readout, centre
from jaxdpmm.precision import full_precision


def nearest_mean() -> LocalStep:
    """Each point whole to the component whose mean is nearest, distances taken as they are; of Gaussian components."""
    return NearestMean()


@dataclass(frozen=True)
class NearestMean(LocalStep):
    """The step that `nearest_mean` makes."""

    def step(self, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        """Statistics of the points that are nearest to each component.

        Raises:
            TypeError: the components are not Gaussian.
        """
        if not isinstance(mixture.family, Gaussian):
            raise TypeError(
                f"mixture must have Gaussian components for nearest_mean, got {type(mixture.family).__name__}; use "
                "candidates()."
            )
        labels = _nearest(readout, batch.x)
        params, offset = readout.params, readout.offset
        stats = label_statistics(mixture, labels, batch.x, batch.weight, offset, params)
        joint = candidate_log_joint(mixture, readout, batch.x, labels[:, None])[:, 0]
        return LocalResult(stats, jnp.sum(batch.weight * joint), memory)


@full_precision()
def _nearest(readout: Readout, x: Num[Array, "B D"]) -> Int[Array, " B"]:
    means = readout.params.mean
    return over_tiles(lambda tile: nearest_centres(centre(tile, readout.offset), means), x)
