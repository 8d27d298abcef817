"""Where batches come from: arrays in memory or on disk, data in pieces, many devices."""

from jaxdpmm.inference.data.arrays import (
    ArraySource,
    DataSource,
)
from jaxdpmm.inference.data.mesh import (
    ShardedSource,
    component_sharded,
    device_mesh,
    replicated,
)
from jaxdpmm.inference.data.pieces import (
    IterableSource,
    as_source,
    draw_sample,
)

__all__ = [
    "ArraySource",
    "DataSource",
    "IterableSource",
    "ShardedSource",
    "as_source",
    "component_sharded",
    "device_mesh",
    "draw_sample",
    "replicated",
]
