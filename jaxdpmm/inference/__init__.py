"""How a mixture is fitted: backends, local steps, where data come from and where to start, and the one loop.

The wings, each with all of its public names, which are here as well:

    backends      what is computed: CAVI, memoized, stochastic, online EM, Gibbs
    local_steps   which components each point is compared with
    data          where batches come from
    growth        births, merges and deletions of components
    numpyro       NumPyro's MCMC and SVI; imported by name, since it loads NumPyro
"""

from jaxdpmm.inference import backends, data, growth, local_steps
from jaxdpmm.inference.backends import *  # noqa: F403
from jaxdpmm.inference.base import (
    Algorithm,
    Identity,
    Info,
    Layout,
    LocalResult,
    LocalStep,
    Objective,
    Schedule,
)
from jaxdpmm.inference.data import *  # noqa: F403
from jaxdpmm.inference.empirical_bayes import EmpiricalBayes, empirical_bayes
from jaxdpmm.inference.fit import FitResult, fit
from jaxdpmm.inference.growth import *  # noqa: F403
from jaxdpmm.inference.history import Epoch
from jaxdpmm.inference.initialize import clustered_prior, initialize
from jaxdpmm.inference.local_steps import *  # noqa: F403
from jaxdpmm.inference.moved import keep_old_names
from jaxdpmm.inference.paper import paper_preset, paper_start
from jaxdpmm.inference.truncation import truncation_binds
from jaxdpmm.inference.update import from_stats, match, merge, partial_fit, subtract

__all__ = [
    "Algorithm",
    "EmpiricalBayes",
    "Epoch",
    "FitResult",
    "Identity",
    "Info",
    "Layout",
    "LocalResult",
    "LocalStep",
    "Objective",
    "Schedule",
    "clustered_prior",
    "empirical_bayes",
    "fit",
    "from_stats",
    "initialize",
    "match",
    "merge",
    "paper_preset",
    "paper_start",
    "partial_fit",
    "subtract",
    "truncation_binds",
]
__all__ += backends.__all__
__all__ += data.__all__
__all__ += growth.__all__
__all__ += local_steps.__all__

keep_old_names(__name__)
