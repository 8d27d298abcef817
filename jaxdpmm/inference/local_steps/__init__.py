"""E-steps that every variational backend takes: all components, the best few, or cut over devices."""

from jaxdpmm.inference.local_steps.dense import (
    dense,
)
from jaxdpmm.inference.local_steps.sharded import (
    sharded,
    sharded_components,
)
from jaxdpmm.inference.local_steps.sparse import (
    candidates,
    sparse,
)

__all__ = ["candidates", "dense", "sharded", "sharded_components", "sparse"]
