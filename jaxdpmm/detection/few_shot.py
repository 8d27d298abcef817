"""Few references: which images AnomalyDINO takes, so that figures can be compared.

References:
    Damm et al. (2025), AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection. WACV.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def choose_references(items: Sequence[T], num_shots: int, seed: int) -> tuple[T, ...]:
    """The references of few-shot detection as AnomalyDINO takes them: the seed-th run of `num_shots` sorted items.

    Args:
        items: for example records, sorted.
        num_shots: how many.
        seed: which run, from 0 on.

    Raises:
        ValueError: there is no such run, or there are fewer items.
    """
    start = seed * num_shots
    if num_shots > len(items):
        raise ValueError(
            f"num_shots must be at most the {len(items)} images there are, got {num_shots}; ask for fewer, or leave it "
            "out to learn from all."
        )
    if num_shots < 1 or seed < 0 or start + num_shots > len(items):
        raise ValueError(
            f"num_shots and seed must choose a run of {len(items)} images, got num_shots={num_shots} and seed={seed}; "
            f"seeds go up to {len(items) // max(num_shots, 1) - 1}."
        )
    return tuple(items[start : start + num_shots])
