"""Checks of arguments that many functions share, so that one mistake has one sentence.

Not here: checks of data (`inference/data/arrays.py`), which look at shapes and values.
"""


def check_at_least_one(name: str, value: float, advice: str, *, wanted: str = "at least 1") -> None:
    """Raise `ValueError` if a count is below 1.

    Args:
        name: of the argument.
        value: what came.
        advice: what to do, the last part of the sentence, without a full stop.
        wanted: what the sentence says was expected, where it has a unit or more to say.
    """
    if value < 1:
        raise ValueError(f"{name} must be {wanted}, got {value}; {advice}.")
