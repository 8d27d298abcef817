"""Modules that have moved into wings are found under their old names for one release."""

import importlib

import pytest

import jaxdpmm
from jaxdpmm import inference
from jaxdpmm.inference.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_every_old_name_leads_to_its_new_home(old):
    new = importlib.import_module(f"jaxdpmm.inference.{MOVED[old]}")
    public = next(
        name
        for name, value in vars(new).items()
        if getattr(value, "__module__", "") == new.__name__ and not name.startswith("_")
    )
    moved = importlib.import_module(f"jaxdpmm.inference.{old}")
    with pytest.warns(DeprecationWarning, match=f"inference.{old} has moved to jaxdpmm.inference"):
        assert getattr(moved, public) is getattr(new, public)
    with pytest.raises(AttributeError), pytest.warns(DeprecationWarning, match="has moved"):
        _ = moved.nothing_of_this_name


def test_functions_stay_functions():
    with pytest.warns(DeprecationWarning, match="has moved"):
        from jaxdpmm.inference.memoized import memoized

    assert memoized is inference.memoized is jaxdpmm.memoized
    with pytest.warns(DeprecationWarning, match="has moved"):
        from jaxdpmm.inference.online_em import paper_preset  # now in paper.py

    assert paper_preset is inference.paper_preset
