"""The documentation site: every public name is on the pages of its API, and docstrings become reStructuredText."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "examples" / "site"
NOTEBOOKS = sorted((SITE.parent / "notebooks").glob("*.py"))


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
    contents = (SITE / "index.md").read_text().partition("```{toctree}")[2]
    for page in SITE.glob("*.md"):
        assert page.stem == "index" or f"\n{page.stem}\n" in contents


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_are_cells_with_a_title_and_in_the_contents(notebook):
    cells = notebook.read_text().split("# %%")[1:]
    assert cells[0].startswith(" [markdown]\n# # ")
    assert sum(not cell.startswith(" [markdown]") for cell in cells) >= 4
    contents = (SITE / "index.md").read_text().partition("```{toctree}")[2]
    assert f"\nnotebooks/{notebook.stem}\n" in contents


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_run(notebook, tmp_path):
    """As scripts, in a process of their own and in float32; the site's build runs them too."""
    environment = os.environ | {"MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "error::UserWarning", str(notebook)]
    finished = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
