"""The least time that work can take on a device: the longer of operations / peak and bytes / bandwidth.

Standard library only, since `gpu.py` computes floors where JAX is not loaded. The rates are those of the data sheet
until `gpu.py` has measured the device's own. Read `roofline.py` next, which counts the operations of every score.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

KINDS = ("float32", "tf32", "bfloat16")
"""Types of a matrix product; "tf32" is float32 with 10 bits of mantissa inside the product."""


class Rates(NamedTuple):
    """What a device can do.

    Attributes:
        operations: per second in matrix products, by kind; a product of (N, D) and (D, K) is 2 N D K operations.
        bandwidth: bytes per second that a copy reads and writes together.
        launch: seconds that the emptiest call takes, waited for.
    """

    operations: dict[str, float]
    bandwidth: float
    launch: float = 0.0


H100 = Rates({"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12}, 3.35e12)
"""NVIDIA's data sheet of the H100 SXM, dense."""


def floor_seconds(operations: float, num_bytes: float, kind: str, rates: Rates) -> float:
    """Seconds that the work takes at the rates of the device; launching is not in them."""
    return max(operations / rates.operations[kind], num_bytes / rates.bandwidth)


def measured_rates(entries: Iterable[dict[str, Any]]) -> Rates | None:
    """The rates among the entries of `gpu.py`'s record "device"; None as long as one is missing."""
    found = {entry.get("rate_of"): entry.get("rate") for entry in entries}
    operations = {kind: found[kind] for kind in KINDS if found.get(kind)}
    if len(operations) < len(KINDS) or not found.get("copy") or not found.get("launch"):
        return None
    return Rates(operations, found["copy"], found["launch"])
