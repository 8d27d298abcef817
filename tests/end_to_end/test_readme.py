"""Every code block of README and of the site's pages runs; README's table is what the records say.

Python runs as it stands, page by page from the top, beside a small data set and weights of the names that pages use.
Blocks of other libraries have a mark of their own and are left out; README's commands run on the same data set.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import write_backbone, write_mvtec

from jaxdpmm.cli import run

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "examples" / "site").glob("*.md"))]
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks_of(page: Path, *languages: str) -> list[str]:
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def code_of(page: Path) -> str:
    return "\n".join(blocks_of(page, "python", "{code-cell}"))


COMMANDS = [line for code in blocks_of(README, "bash") for line in code.splitlines()]
LOCAL = [line for line in COMMANDS if line.startswith("jaxdpmm ")]
INSTALLING = [line for line in COMMANDS if line not in LOCAL]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to be in, with the data set and the weights that pages name."""
    write_mvtec(tmp_path / "bottle")
    write_backbone(tmp_path / "dinov2-small")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SLOW = {"coming_from"}  # compiles a chain and mixtures of several sizes


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW))
        for page in PAGES
        if code_of(page)
    ],
)
def test_python_runs(page, folder):
    exec(compile(code_of(page), page.name, "exec"), {"__name__": "page"})


def test_commands_run_in_order(folder, capsys):
    assert len(LOCAL) == 5
    for line in LOCAL:
        _, command, *arguments = shlex.split(line)
        options = ["--short-side", "84", "--num-components", "5"] if command == "fit" else []
        assert run([command, *arguments, *options]) == 0, capsys.readouterr().err
    assert (folder / "scores" / "scores.csv").read_text().count("\n") == 7
    assert (folder / "figures.json").is_file()
    assert (folder / "run" / "report.html").is_file()
    assert (folder / "scorer.jaxdpmm").is_file()


@pytest.mark.slow
def test_demo_command(tmp_path, monkeypatch):
    import json

    line = INSTALLING[0].split("&& jaxdpmm ")[1]
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(line)) == 0
    figures = json.loads((tmp_path / "demo.json").read_text())
    assert figures["mixture"]["image_auroc"] >= 0.79
    assert figures["num_train"] >= 200
    assert figures["num_test"] >= 150


def test_the_other_commands_are_what_ci_runs():
    assert [line.split(" && ")[0] for line in INSTALLING] == [
        'pip install -e ".[demo]"',
        'pip install -e ".[dev]"',
        'pip install -e ".[docs]"',
    ]
    ci = (ROOT / ".ci" / "run").read_text()
    assert '".[dev]"' in ci
    assert INSTALLING[1].split(" && python ")[1] in ci


@pytest.mark.parametrize(
    ("script", "page"), [("headline", README), ("choosing", ROOT / "examples/site/choosing.md")]
)
def test_tables_are_what_the_records_say(script, page):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for table in printed.strip().split("\n\n"):
        assert table in page.read_text(), f"paste what benchmarks/{script}.py prints"


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_files_that_pages_name_exist(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!\w+:)([^)#]+)\)", text)
    files = re.findall(r"`((?:examples|benchmarks|jaxdpmm|tests)/[\w./]+)`", text)
    made = ("api/", "notebooks/")  # when the site is built
    assert all((page.parent / link).exists() for link in links if not link.startswith(made))
    missing = [file for file in files if not (ROOT / file).exists() and "NAME" not in file]
    assert missing == []
