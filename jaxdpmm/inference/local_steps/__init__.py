"""E-steps that every variational backend takes: all components, the best few, the nearest one, or cut over devices."""

from jaxdpmm.inference.local_steps.dense import (
    dense,
)
from jaxdpmm.inference.local_steps.nearest_mean import (
    nearest_mean,
)
from jaxdpmm.inference.local_steps.sharded import (
    sharded,
    sharded_components,
)
from jaxdpmm.inference.local_steps.sparse import (
    candidates,
    sparse,
)

__all__ = ["candidates", "dense", "nearest_mean", "sharded", "sharded_components", "sparse"]
