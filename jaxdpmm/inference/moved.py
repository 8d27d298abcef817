"""Old names of modules that have moved into the wings; each still works, with a `DeprecationWarning`, for one release.

An old name is only put into `sys.modules`: as an attribute of the package it may be a function by now (`memoized`).
"""

import importlib
import sys
import types
import warnings
from typing import Any

_WINGS = {
    "backends": ("cavi", "gibbs", "gibbs_moves", "memoized", "online_em", "stochastic"),
    "growth": ("adaptive", "moves", "proposals"),
    "local_steps": ("sparse",),
}
MOVED = {name: f"{wing}.{name}" for wing, names in _WINGS.items() for name in names} | {
    "local": "local_steps.dense",
    "sharding": "local_steps.sharded",
    "sources": "data.pieces",
    "numpyro_families": "numpyro.families",
    "numpyro_kernel": "numpyro.kernel",
    "numpyro_svi": "numpyro.svi",
}


class _Moved(types.ModuleType):
    """A module under its old name, loaded when something is taken from it."""

    def __init__(self, old: str, new: str):
        super().__init__(old, f"Moved to {new}.")
        self._new = new

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        message = f"{self.__name__} has moved to {self._new}; import {name} from there or from jaxdpmm.inference"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        package = importlib.import_module("jaxdpmm.inference")
        home = importlib.import_module(self._new)
        return getattr(home, name) if hasattr(home, name) else getattr(package, name)


def keep_old_names(package: str) -> None:
    """Let the old names of a package's modules be imported."""
    for old, new in MOVED.items():
        sys.modules.setdefault(f"{package}.{old}", _Moved(f"{package}.{old}", f"{package}.{new}"))
