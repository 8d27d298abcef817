"""The algorithms that fit a mixture, one file each, all with the same names: `XState` and the function `x`."""

from jaxdpmm.inference.backends.cavi import (
    CaviState,
    cavi,
)
from jaxdpmm.inference.backends.gibbs import (
    GibbsInfo,
    GibbsState,
    gibbs,
)
from jaxdpmm.inference.backends.gibbs_moves import (
    Move,
    Partition,
    label_switching,
)
from jaxdpmm.inference.backends.gibbs_split_merge import (
    split_merge,
)
from jaxdpmm.inference.backends.memoized import (
    MemoizedState,
    memoized,
)
from jaxdpmm.inference.backends.online_em import (
    OnlineState,
    online_em,
)
from jaxdpmm.inference.backends.stochastic import (
    StochasticState,
    robbins_monro,
    stochastic,
)

__all__ = [
    "CaviState",
    "GibbsInfo",
    "GibbsState",
    "MemoizedState",
    "Move",
    "OnlineState",
    "Partition",
    "StochasticState",
    "cavi",
    "gibbs",
    "label_switching",
    "memoized",
    "online_em",
    "robbins_monro",
    "split_merge",
    "stochastic",
]
