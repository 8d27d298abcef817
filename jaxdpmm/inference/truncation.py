"""Whether the truncation binds: a mixture with too few components to be what its prior says.

A stick-breaking prior has no end; K components are enough when the last stick, which holds all that the first
K - 1 left over, holds nothing. Next file to read: `fit.py`.
"""

import warnings

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdpmm.model import Posterior, active_components
from jaxdpmm.sticks import log_mean_weights


def last_stick_mass(posterior: Posterior) -> Float[Array, ""]:
    """Expected weight of the smallest component, which is the last stick once components are sorted by size."""
    return jnp.exp(jnp.min(log_mean_weights(posterior.sticks)))


def truncation_binds(posterior: Posterior) -> bool:
    """Whether every component, of two or more, holds data, so that more of them would be used."""
    return len(posterior.counts) > 1 and bool(jnp.all(active_components(posterior)))


def warn_if_truncation_binds(posterior: Posterior) -> bool:
    """`truncation_binds`; if so, a `UserWarning` says it."""
    binds = truncation_binds(posterior)
    if binds:
        warnings.warn(
            f"all {len(posterior.counts)} components hold data and the last stick has mass "
            f"{float(last_stick_mass(posterior)):.2g}, so the truncation decides how many there are; raise "
            "num_components if that is not meant.",
            UserWarning,
            stacklevel=2,
        )
    return binds
