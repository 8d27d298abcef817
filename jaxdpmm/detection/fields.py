"""What a setting is: a field of a dataclass with its help text, its choices and the numbers that it can be.

Only the standard library is imported here, so that `--help` comes at once. Next file to read: `settings.py`, where all
settings of a detector are.
"""

import dataclasses
import inspect
import math
import textwrap
from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

Class = TypeVar("Class", bound=type)
NEVER = object()  # no value of any setting


class Interval(NamedTuple):
    """Numbers that a setting can be; without a last one, all that are large enough."""

    least: float
    most: float = math.inf
    with_least: bool = True
    with_most: bool = True

    def __str__(self) -> str:
        """The interval as a part of a sentence, after "must be"."""
        if self.most == math.inf:
            return f"at least {self.least}"
        if self.with_least and self.with_most:
            return f"from {self.least} to {self.most}"
        left, right = "(["[self.with_least], ")]"[self.with_most]
        return f"in {left}{self.least}, {self.most}{right}"

    def holds(self, value: float) -> bool:
        """Whether a number lies within; not-a-number never does."""
        above = value >= self.least if self.with_least else value > self.least
        return above and (value <= self.most if self.with_most else value < self.most)


POSITIVE = Interval(1)


def setting(
    default: Any,
    help: str,
    more: str = "",
    *,
    choices: Collection[str] = (),
    within: Interval | None = None,
    before: Any = NEVER,
) -> Any:
    """A field of a group of settings.

    Args:
        default: the value that suits DINOv2-small.
        help: what the setting is, for the command line and the docstring; a noun phrase where there are choices.
        more: what the docstring says beside that.
        choices: the names that the setting can have, each of them or several; they are added to the help, and
            `DetectorConfig` refuses others.
        within: the numbers that the setting can be, if it is not None; `DetectorConfig` refuses others.
        before: of a feature setting, the value that features had before there was the setting. Features that were
            cached then stay in use under this value. Without it, a new setting makes new caches.
    """
    metadata = {
        "help": help,
        "more": more,
        "choices": choices,
        "within": within,
        "before": before,
    }
    return dataclasses.field(default=default, metadata=metadata)


def help_of(field: dataclasses.Field) -> str:
    """What a setting is, with its choices and its default."""
    text, names = field.metadata["help"], list(field.metadata["choices"])
    if names:
        text = f"{text}: {', '.join(names[:-1])} or {names[-1]}."
    if field.default is None or field.default is False:  # which the text itself explains
        return text
    return f"{text} Default: {'yes' if field.default is True else field.default}."


def documented(settings: Class) -> Class:
    """The class with each of its settings in its docstring; a decorator."""
    lines = [inspect.cleandoc(settings.__doc__ or ""), "", "Attributes:"]
    for field in dataclasses.fields(settings):
        text = f"{field.name}: {help_of(field)} {field.metadata['more']}".rstrip()
        lines += textwrap.wrap(text, 100, initial_indent="    ", subsequent_indent=" " * 8)
    settings.__doc__ = "\n".join(lines)
    return settings
