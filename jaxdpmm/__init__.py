"""Dirichlet process mixtures in JAX that learn what is normal from patch features and find what is not.

A map of the package, in the order of the data:

    images      from disk to arrays
    features    from arrays to patch features (DINOv2 in Flax)
    families    what one component looks like
    sticks      how many components there are and how large
    model       the mixture: posterior = prior + sum of sufficient statistics
    inference   how it is fitted
    scoring     from a posterior to a number a patch
    detection   from numbers to decisions

The names below are the modelling library; it loads neither Flax nor an image library. `images`, `features` and
`detection` are imported by name.
"""

from jaxdpmm import families, inference, scoring, sticks, testing
from jaxdpmm.families import Family, GaussianDiagonal, GaussianFull, GaussianSpherical
from jaxdpmm.inference import FitResult, cavi, fit, initialize
from jaxdpmm.model import (
    Mixture,
    Posterior,
    Prior,
    Stats,
    active_components,
    compact,
    default_prior,
)
from jaxdpmm.scoring import log_predictive_density, score
from jaxdpmm.sticks import DirichletProcess, Gamma

__version__ = "0.1.0"

__all__ = [
    "DirichletProcess",
    "Family",
    "FitResult",
    "Gamma",
    "GaussianDiagonal",
    "GaussianFull",
    "GaussianSpherical",
    "Mixture",
    "Posterior",
    "Prior",
    "Stats",
    "active_components",
    "cavi",
    "compact",
    "default_prior",
    "families",
    "fit",
    "inference",
    "initialize",
    "log_predictive_density",
    "score",
    "scoring",
    "sticks",
    "testing",
]
