"""The documentation site: every public name is on the pages of its API, and docstrings become reStructuredText."""

import sys
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "examples" / "site"


@pytest.fixture
def api(monkeypatch):
    monkeypatch.syspath_prepend(str(SITE))
    import api

    yield api
    del sys.modules["api"]


def test_every_public_name_is_on_the_site(api, tmp_path):
    api.write(tmp_path / "api")
    pages = {file.stem: file.read_text() for file in (tmp_path / "api").glob("*.rst")}
    names = Path(__file__).with_name("public_names.txt").read_text().splitlines()
    for name in names:
        page = pages[name.rpartition(".")[0]]
        assert f":: {name}\n" in page or f"* ``{name}``: " in page, name
    assert all(f"   {package}\n" in pages["index"] for package in pages if package != "index")


def test_what_an_inner_package_has_is_documented_there_alone(api):
    home = api.homes()
    top, families = (api.page_of(name, home) for name in ("jaxdpmm", "jaxdpmm.families"))
    assert "* ``jaxdpmm.GaussianFull``: see :py:obj:`jaxdpmm.families.GaussianFull`\n" in top
    assert ".. autoclass:: jaxdpmm.families.GaussianFull\n   :members: " in families
    assert ".. autofunction:: jaxdpmm.compact\n" in top


def test_docstrings_become_restructuredtext(api):
    lines = [
        "Of `x`s, K * N and means_:",
        "",
        "    a * b",
        "",
        "Then |x|; `y`.",
        "Args:",
        "    x: it.",
    ]
    api.plain(lines)
    assert lines == [
        "Of ``x``\\ s, K \\* N and means\\_::",
        "",
        "    a * b",
        "",
        "Then \\|x\\|; ``y``.",
        "Args:",
        "    x: it.",
    ]


def test_all_pages_are_in_the_contents():
    contents = (SITE / "index.md").read_text().split("```{toctree}")[1]
    for page in SITE.glob("*.md"):
        assert page.stem == "index" or f"\n{page.stem}\n" in contents
