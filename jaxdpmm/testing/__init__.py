"""Checks for extensions of one's own: each failure is one sentence that names the function at fault.

`check_family` for component families, `check_sticks` for priors of the weights. Both raise an `AssertionError`, so that
they can stand in any test. Next file to read: `family.py`.
"""

from jaxdpmm.testing.family import FamilyError, check_family
from jaxdpmm.testing.sticks import SticksError, check_sticks

__all__ = ["FamilyError", "SticksError", "check_family", "check_sticks"]
