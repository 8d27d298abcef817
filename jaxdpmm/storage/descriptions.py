"""From JSON that anybody may have written to values of the types that the code expects, or one reason why not.

Types are declared where a file is read, as frozen dataclasses or msgspec structs. Msgspec compares strictly: a bool is
no int, a string no number. Nothing in a file names code to run. Reasons are parts of a sentence, which the reader
of a kind of file completes with the file's name and with what to do.
Knows of neither models nor features. Next file to read: `tree_store.py`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

MAX_DEPTH = 64  # lists and objects within each other; our own files need 8
MAX_BYTES = 2**26  # of a file that is JSON and nothing else
SHOWN_CHARACTERS = 200


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; `NaN`, infinity and numbers beyond float64 are not JSON.

    Raises:
        ValueError: the text is not JSON, or is nested deeper than `MAX_DEPTH`; the message is the reason alone.
    """
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    level, depth = [value], 0
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def read_json(path: Path) -> Any:
    """`parse_json` of a file, whose size is looked at first.

    Raises:
        ValueError: as `parse_json`, or the file is larger than `MAX_BYTES`.
        OSError: the file cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes, more than {MAX_BYTES}")
    return parse_json(path.read_bytes())


def as_type(value: Any, kind: Any) -> Any:
    """A JSON value as a dataclass, struct, named tuple or any other type, compared strictly.

    Args:
        value: from `parse_json`.
        kind: type; of a dataclass every field without a default is needed, and no other field is taken.

    Raises:
        ValueError: a field is unknown, missing, of another type or out of its range; the message is the reason alone.
    """
    known = (
        {field.name for field in dataclasses.fields(kind)}
        if dataclasses.is_dataclass(kind)
        else None
    )
    if known is not None and isinstance(value, dict) and (unknown := set(value) - known):
        raise ValueError(f"unknown field {shown(min(unknown))}")
    try:
        return msgspec.convert(value, kind)
    except ValueError as error:  # msgspec's own, or that of a constructor
        text = " ".join(str(error).split())
        raise ValueError(
            text if len(text) <= 2 * SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
        ) from error


def shown(value: Any) -> str:
    """A value of a file as part of a message: on one line, and not longer than a message may be."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
