"""Options of a command from the fields of a dataclass, so that a setting is written once.

Next file to read: `../detection/settings.py`, where these fields are.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args

import typer

from jaxdpmm.detection.fields import help_of

Command = Callable[..., None]


def takes_settings(settings: type) -> Callable[[Command], Command]:
    """A decorator: the command with an option for each setting in place of its parameter `settings`.

    Args:
        settings: dataclass whose fields are made by `detection.fields.setting`.

    Returns:
        The decorator. The command that it is for receives, as `settings`, a dictionary of the settings that the user
        gave, by the name of the field.
    """
    fields = dataclasses.fields(settings)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {field.name: _value(given.pop(field.name)) for field in fields}
            chosen = {name: value for name, value in values.items() if value is not None}
            command(settings=chosen, **given)

        parameters = [
            parameter
            for own in inspect.signature(command).parameters.values()
            for parameter in (map(_option, fields) if own.name == "settings" else [own])
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def options_of(settings: type, values: Mapping[str, Any]) -> list[str]:
    """What to write on the command line for some settings, the inverse of what a command receives.

    Args:
        settings: dataclass whose fields are made by `detection.fields.setting`.
        values: of some of the fields, by name; those that are None are left out.
    """
    words: list[str] = []
    for field in dataclasses.fields(settings):
        value = values.get(field.name)
        if value is None:
            continue
        option = _name_of(field)
        if isinstance(value, bool):
            words.append(option if value else _refused(option))
            continue
        several = value if _is_repeated(field) and isinstance(value, tuple | list) else [value]
        for one in several:
            words += [option, *map(str, one if isinstance(one, tuple | list) else [one])]
    return words


def _is_repeated(field: dataclasses.Field) -> bool:
    """Whether an option may be given several times."""
    return any(get_args(one)[1:] == (...,) for one in get_args(field.type))


def _name_of(field: dataclasses.Field) -> str:
    """`--layer` for the field `layers: tuple[int, ...] | None`, which may be given several times."""
    name = field.name.removesuffix("s") if _is_repeated(field) else field.name
    return f"--{name.replace('_', '-')}"


def _refused(option: str) -> str:
    """`--no-whiten` for `--whiten`."""
    return f"--no-{option.removeprefix('--')}"


def _option(field: dataclasses.Field) -> inspect.Parameter:
    """The option for a field; its own default is None, which tells what the user gave; the help names the default."""
    kind: Any = str if Any in get_args(field.type) else field.type  # objects have no text
    for one in get_args(field.type):
        if get_args(one)[1:] == (...,):
            kind = list[get_args(one)[0]]  # type: ignore[misc]
    name = _name_of(field)
    if bool in (field.type, *get_args(field.type)):
        name = f"{name}/{_refused(name)}"
    option = typer.Option(name, help=help_of(field))
    return inspect.Parameter(
        field.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _value(value: Any) -> Any:
    """What the user gave: a repeated option is a list, which is empty where it was not given."""
    return (tuple(value) or None) if isinstance(value, list) else value
