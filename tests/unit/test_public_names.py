"""A public name is a decision: the names of every package stand in `public_names.txt`.

After adding or dropping one on purpose, write the list anew: python tests/unit/test_public_names.py
"""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import jaxdpmm
from jaxdpmm.families import Family
from jaxdpmm.inference import backends
from jaxdpmm.sticks import StickBreaking

LIST = Path(__file__).with_name("public_names.txt")


def packages() -> list[str]:
    """All packages, those of the command line aside, whose names are its commands."""
    found = pkgutil.walk_packages(jaxdpmm.__path__, "jaxdpmm.")
    names = [module.name for module in found if module.ispkg]
    return ["jaxdpmm", *(name for name in names if name != "jaxdpmm.cli")]


def public_names() -> list[str]:
    """The public names of all packages, sorted."""
    return sorted(
        f"{package}.{name}"
        for package in packages()
        for name in getattr(importlib.import_module(package), "__all__", ())
    )


def test_public_names_are_those_that_were_decided_on():
    assert public_names() == LIST.read_text().splitlines()


def test_public_names_exist():
    for name in LIST.read_text().splitlines():
        package, attribute = name.rsplit(".", 1)
        assert hasattr(importlib.import_module(package), attribute), name


@pytest.mark.parametrize("wing", [jaxdpmm.families, jaxdpmm.sticks, backends])
def test_every_family_prior_of_weights_and_backend_is_at_the_top(wing):
    kinds = {jaxdpmm.families: Family, jaxdpmm.sticks: StickBreaking}
    for name in wing.__all__:
        value = getattr(wing, name)
        if wing is backends:
            is_one = value.__module__ == f"{backends.__name__}.{name}"
        else:
            is_one = isinstance(value, type) and issubclass(value, kinds[wing])
        if is_one and not inspect.isabstract(value):
            assert getattr(jaxdpmm, name) is value, name
            assert name in dir(jaxdpmm)


if __name__ == "__main__":
    LIST.write_text("\n".join(public_names()) + "\n")
