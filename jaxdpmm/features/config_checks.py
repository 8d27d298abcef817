"""Checks of the entries of a `config.json` that every architecture shares.

A network is traced before its weights are looked at, which takes time and memory that grow with its sizes; therefore
sizes far beyond those of any published network are refused here. Read next: `dinov2_config.py`, `dinov3_config.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxdpmm.storage.descriptions import shown

COMPUTE_DTYPES = ("float32", "bfloat16")

# Mean and standard deviation of ImageNet's red, green and blue, which most backbones were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def check_compute_dtype(value: str) -> None:
    """Refuse a type of the matrix products that is not offered.

    Raises:
        ValueError: it is neither "float32" nor "bfloat16".
    """
    if value not in COMPUTE_DTYPES:
        raise ValueError(
            f"dtype must be one of {', '.join(COMPUTE_DTYPES)}, got {value!r}; "
            "choose float32 on CPU and bfloat16 for speed on an accelerator."
        )


def check_present(values: Mapping[str, Any], required: Sequence[str]) -> None:
    """Refuse a configuration that lacks entries.

    Raises:
        ValueError: entries are missing; all are named.
    """
    if missing := [name for name in required if name not in values]:
        raise ValueError(
            f"config.json must hold {', '.join(required)}, got one without {', '.join(missing)}; "
            "download it again from the same place as the weights."
        )


def check_only(values: Mapping[str, Any], name: str, allowed: Sequence[Any], network: str) -> None:
    """Refuse an entry whose value the port does not compute; an absent entry passes.

    Raises:
        ValueError: the value is not one of those allowed.
    """
    if name in values and not any(values[name] == value for value in allowed):
        raise ValueError(
            f"{name} must be {' or '.join(map(repr, allowed))}, got {shown(values[name])}; use one of the "
            f"published {network} checkpoints."
        )


def check_sizes(values: Mapping[str, Any], limits: Mapping[str, tuple[int, int]]) -> None:
    """Refuse sizes that are no integers within their limits.

    Raises:
        ValueError: an entry is out of its limits.
    """
    for name, (least, largest) in limits.items():
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= largest:
            raise ValueError(
                f"{name} must be an integer from {least} to {largest}, got {shown(value)}; correct the configuration."
            )


def check_number(name: str, value: Any, least: float, largest: float) -> None:
    """Refuse what is not a number within limits.

    Raises:
        ValueError: the value is no number, or out of its limits.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value <= largest
    ):
        raise ValueError(
            f"{name} must be a number from {least:g} to {largest:g}, got {shown(value)}; correct the configuration."
        )


def check_switches(values: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse entries that are neither true nor false.

    Raises:
        ValueError: an entry is neither.
    """
    for name in names:
        if not isinstance(values[name], bool):
            raise ValueError(
                f"{name} must be true or false, got {shown(values[name])}; correct the configuration."
            )


def check_heads(hidden_size: int, num_attention_heads: int, multiple: int = 1) -> None:
    """Refuse a width that does not divide into heads whose width is a multiple of a number.

    Raises:
        ValueError: it does not.
    """
    if hidden_size % (multiple * num_attention_heads):
        factor = f"{multiple} * " if multiple > 1 else ""
        raise ValueError(
            f"hidden_size must be a multiple of {factor}num_attention_heads={num_attention_heads}, got {hidden_size}; "
            "correct the configuration."
        )


def square_side(name: str, value: Any) -> Any:
    """A side from 14, [14, 14] or (14, 14); what is no list comes back as it is.

    Raises:
        ValueError: the sides differ, or there are none.
    """
    if isinstance(value, list | tuple):
        if not value or any(side != value[0] for side in value):
            raise ValueError(
                f"{name} must be square, got {shown(value)}; use a checkpoint trained on square images."
            )
        return value[0]
    return value


def colours(values: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """`image_mean` and `image_std` as far as they are given, as tuples.

    Raises:
        ValueError: one is not three numbers.
    """
    given = {name: values[name] for name in ("image_mean", "image_std") if name in values}
    for name, value in given.items():
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise ValueError(
                f"{name} must be three numbers, for red, green and blue, got {shown(value)}; correct the configuration."
            )
    return {name: tuple(value) for name, value in given.items()}


def check_colours(values: Mapping[str, Any]) -> None:
    """Refuse a mean or a standard deviation of a colour that no images in [0, 1] have.

    Raises:
        ValueError: a number is out of its limits.
    """
    for name, least in (("image_mean", 0), ("image_std", 1e-3)):
        for value in values[name]:
            check_number(f"each number of {name}", value, least, 1)
