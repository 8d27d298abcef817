"""Checks for extensions of one's own: each failure is one sentence that names what is at fault.

`check_family` for component families, `check_sticks` for priors of the weights, `check_algorithm` for backends and
wrappers of them, `check_scorer` for scores. All raise an `AssertionError`, so that they can stand in any test.
Next file to read: `family.py`.
"""

from jaxdpmm.testing.algorithm import AlgorithmError, check_algorithm
from jaxdpmm.testing.family import FamilyError, check_family
from jaxdpmm.testing.scorer import ScorerError, check_scorer
from jaxdpmm.testing.sticks import SticksError, check_sticks

__all__ = [
    "AlgorithmError",
    "FamilyError",
    "ScorerError",
    "SticksError",
    "check_algorithm",
    "check_family",
    "check_scorer",
    "check_sticks",
]
