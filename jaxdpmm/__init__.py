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
`detection` are imported by name. Each name is loaded when it is first used, so that the command line can heed Ctrl-C
before JAX is there.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdpmm import families, inference, scoring, sticks, testing
    from jaxdpmm.families import Family, GaussianDiagonal, GaussianFull, GaussianSpherical
    from jaxdpmm.inference import cavi
    from jaxdpmm.inference.fit import FitResult, fit
    from jaxdpmm.inference.initialize import initialize
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

_HOMES = {
    "families": ("Family", "GaussianDiagonal", "GaussianFull", "GaussianSpherical"),
    "inference": ("FitResult", "cavi", "fit", "initialize"),
    "model": (
        "Mixture",
        "Posterior",
        "Prior",
        "Stats",
        "active_components",
        "compact",
        "default_prior",
    ),
    "scoring": ("log_predictive_density", "score"),
    "sticks": ("DirichletProcess", "Gamma"),
    "testing": (),
}
"""Modules of the public names."""


def __getattr__(name: str) -> Any:
    """A public name on its first use."""
    if name in _HOMES:
        return importlib.import_module(f"{__name__}.{name}")
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
