"""How a mixture is fitted: backends, local steps, where data come from and where to start, and the one loop.

The wings, each with all of its public names, which are here as well:

    backends      what is computed: CAVI, memoized, stochastic, online EM, Gibbs
    local_steps   which components each point is compared with
    data          where batches come from
    growth        births, merges and deletions of components
    numpyro       NumPyro's MCMC and SVI; imported by name, since it loads NumPyro
"""

from jaxdpmm.inference.backends import (
    CaviState,
    GibbsInfo,
    GibbsState,
    MemoizedState,
    Move,
    OnlineState,
    Partition,
    StochasticState,
    cavi,
    gibbs,
    label_switching,
    memoized,
    online_em,
    robbins_monro,
    split_merge,
    stochastic,
)
from jaxdpmm.inference.base import (
    Algorithm,
    Info,
    Layout,
    LocalResult,
    LocalStep,
    Schedule,
)
from jaxdpmm.inference.data import (
    ArraySource,
    DataSource,
    IterableSource,
    ShardedSource,
    as_source,
    component_sharded,
    device_mesh,
    draw_sample,
    replicated,
)
from jaxdpmm.inference.empirical_bayes import (
    EmpiricalBayes,
    empirical_bayes,
)
from jaxdpmm.inference.fit import FitResult, fit
from jaxdpmm.inference.growth import (
    fit_adaptive,
    with_moves,
)
from jaxdpmm.inference.history import Epoch
from jaxdpmm.inference.initialize import (
    clustered_prior,
    initialize,
)
from jaxdpmm.inference.local_steps import (
    candidates,
    dense,
    sharded,
    sharded_components,
    sparse,
)
from jaxdpmm.inference.paper import (
    paper_preset,
    paper_start,
)
from jaxdpmm.inference.truncation import (
    truncation_binds,
)
from jaxdpmm.inference.update import (
    from_stats,
    merge,
    partial_fit,
    subtract,
)

__all__ = [
    "Algorithm",
    "ArraySource",
    "CaviState",
    "DataSource",
    "EmpiricalBayes",
    "Epoch",
    "FitResult",
    "GibbsInfo",
    "GibbsState",
    "Info",
    "IterableSource",
    "Layout",
    "LocalResult",
    "LocalStep",
    "MemoizedState",
    "Move",
    "OnlineState",
    "Partition",
    "Schedule",
    "ShardedSource",
    "StochasticState",
    "as_source",
    "candidates",
    "cavi",
    "clustered_prior",
    "component_sharded",
    "dense",
    "device_mesh",
    "draw_sample",
    "empirical_bayes",
    "fit",
    "fit_adaptive",
    "from_stats",
    "gibbs",
    "initialize",
    "label_switching",
    "memoized",
    "merge",
    "online_em",
    "paper_preset",
    "paper_start",
    "partial_fit",
    "replicated",
    "robbins_monro",
    "sharded",
    "sharded_components",
    "sparse",
    "split_merge",
    "stochastic",
    "subtract",
    "truncation_binds",
    "with_moves",
]
