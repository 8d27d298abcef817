"""The mixture in NumPyro: a Gibbs kernel for its MCMC, a model and a guide for its SVI and NUTS.

Importing this package loads NumPyro, so that `jaxdpmm.inference` does not import it.
"""

from jaxdpmm.inference.numpyro.families import (
    component_readout,
    component_variational,
)
from jaxdpmm.inference.numpyro.kernel import (
    DPMMGibbs,
    DPMMGibbsState,
)
from jaxdpmm.inference.numpyro.svi import (
    draw_readouts,
    initial_values,
    numpyro_model,
    posterior_of_readout,
    structured_guide,
    to_posterior,
)

__all__ = [
    "DPMMGibbs",
    "DPMMGibbsState",
    "component_readout",
    "component_variational",
    "draw_readouts",
    "initial_values",
    "numpyro_model",
    "posterior_of_readout",
    "structured_guide",
    "to_posterior",
]
