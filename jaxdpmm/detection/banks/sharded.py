"""The exact memory bank cut over many devices: each searches its own rows, the best of all are put together.

Read `exact.py` first.
"""

from functools import lru_cache
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from jaxdpmm.detection.banks.exact import (
    CHUNK_SIZE,
    Bank,
    closest_rows,
    cut_in_chunks,
    mean_distances,
    memory_bank,
)
from jaxdpmm.inference.data.mesh import DATA
from jaxdpmm.scoring.scorer import Scorer

_CUT: Any = Bank(*(P(DATA), P(DATA), P()))  # type: ignore[arg-type]


@lru_cache
def sharded_memory_bank(
    mesh: Mesh, metric: str = "cosine", num_neighbours: int = 1, chunk_size: int = CHUNK_SIZE
) -> Scorer:
    """The score of `memory_bank`, with the bank's rows cut over the axis "data" of a mesh.

    Every device scores all points against its share of the rows; of each point, only the best closenesses travel.

    Args:
        mesh: for example `jaxdpmm.inference.local_steps.sharded.device_mesh()`.
        metric: as in `memory_bank`.
        num_neighbours: as in `memory_bank`.
        chunk_size: as in `memory_bank`.

    Raises:
        ValueError: as `memory_bank`.
    """
    memory_bank(metric, num_neighbours, chunk_size)  # whose arguments these are
    num_devices = mesh.shape[DATA]

    def prepare(features: Float[Array, "M D"]) -> Bank:
        if features.shape[0] < num_neighbours:
            memory_bank(metric, num_neighbours).prepare(features)
        bank = cut_in_chunks(metric, features, chunk_size, num_devices)
        places = jax.tree.map(lambda part: NamedSharding(mesh, part), _CUT)
        return jax.lax.with_sharding_constraint(bank, places)

    def score(bank: Bank, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        return mean_distances(metric, bank, x, closest(bank, x))

    def closest_here(bank: Bank, x: Float[Array, "N D"]) -> Float[Array, "N num"]:
        own = closest_rows(metric, bank, x, num_neighbours)
        found = jax.lax.all_gather(own, DATA, axis=1, tiled=True)
        return jax.lax.top_k(found, num_neighbours)[0]

    closest = jax.shard_map(
        closest_here, mesh=mesh, in_specs=(_CUT, P()), out_specs=P(), check_vma=False
    )
    return Scorer(prepare, score)
