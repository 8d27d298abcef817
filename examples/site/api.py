"""Pages of the API reference, made from the packages themselves: every public name, with its docstring.

`conf.py` writes them when the site is built; a test holds them against the list of public names.
"""

import importlib
import inspect
import pathlib
import pkgutil
import re
from typing import Any

import jaxdpmm


def packages() -> list[str]:
    """Names of all packages with public names; the command line documents itself with `--help`."""
    found = [
        module.name
        for module in pkgutil.walk_packages(jaxdpmm.__path__, "jaxdpmm.")
        if module.ispkg
    ]
    return [
        "jaxdpmm",
        *(name for name in found if hasattr(importlib.import_module(name), "__all__")),
    ]


def homes() -> dict[int, str]:
    """Where each public class and function is documented, by its identity: in the innermost package that has it."""
    found: dict[int, str] = {}
    for package in sorted(packages(), key=lambda name: name.count(".")):
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isroutine(value):
                found[id(value)] = f"{package}.{name}"
    return found


def page_of(package: str, home: dict[int, str]) -> str:
    """A page with all public names of a package, in reStructuredText."""
    module = importlib.import_module(package)
    parts = [package, "=" * len(package), "", f".. automodule:: {package}", "   :no-members:", ""]
    for name in sorted(module.__all__):
        value, full = getattr(module, name), f"{package}.{name}"
        parts += directive(full, value, home.get(id(value), full))
    return "\n".join(parts) + "\n"


def directive(name: str, value: Any, home: str) -> list[str]:
    """How one name is documented; what an inner package has as well is documented there."""
    if inspect.ismodule(value):
        return [f"* ``{name}``: a package of its own, :doc:`{value.__name__}`", ""]
    if name != home:
        return [f"* ``{name}``: see :py:obj:`{home}`", ""]
    if inspect.isclass(value):
        methods = ", ".join(methods_of(value))
        return [f".. autoclass:: {name}", *([f"   :members: {methods}"] if methods else []), ""]
    kind = "autofunction" if inspect.isroutine(value) else "py:data"
    return [f".. {kind}:: {name}", ""]


def methods_of(kind: type) -> list[str]:
    """Public methods and properties that a class itself defines and documents."""
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and isinstance(value, property | classmethod | staticmethod | type(methods_of))
        and inspect.getdoc(value)
    ]


def plain(lines: list[str]) -> None:
    """Make a docstring reStructuredText, in place.

    Names in backticks become code, indented tables and formulas after a colon become literal blocks, and marks that
    would mean something in reStructuredText alone stand for themselves.
    """
    literal: int | None = None  # the indentation that a literal block stands out from
    for number, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and depth <= literal:
            literal = None
        if literal is not None:
            continue
        lines[number] = CODE.sub(coded, line)
        blank, following = [*lines[number + 1 : number + 3], "", ""][:2]
        is_deeper = len(following) - len(following.lstrip()) > depth
        if line.rstrip().endswith(":") and not blank.strip() and is_deeper:
            lines[number] += ":"
            literal = depth


CODE = re.compile(r"`+([^`]+)`+|(\*+|\||(?<=\w)_(?!\w))")


def coded(found: re.Match) -> str:
    """Code for what stood in backticks, a backslash before every other mark."""
    if not found[1]:
        return "".join(f"\\{mark}" for mark in found[2])
    follows = found.string[found.end() : found.end() + 1]
    return f"``{found[1]}``" + ("\\ " if follows.isalnum() else "")


def write(folder: pathlib.Path) -> None:
    """Write all pages and their table of contents."""
    folder.mkdir(exist_ok=True)
    names, home = packages(), homes()
    for name in names:
        (folder / f"{name}.rst").write_text(page_of(name, home))
    contents = "\n".join(f"   {name}" for name in names)
    title = "API reference\n=============\n\nEvery public name, package by package.\n\n"
    (folder / "index.rst").write_text(f"{title}.. toctree::\n   :maxdepth: 1\n\n{contents}\n")
