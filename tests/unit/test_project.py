"""What pyproject.toml, the workflow and the list of changes say twice is the same."""

import re
import tomllib
from pathlib import Path

import jaxdpmm

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_stands_in_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    path = ROOT / PROJECT["tool"]["hatch"]["version"]["path"]
    assert re.findall(r'^__version__ = "(.*)"$', path.read_text(), re.M) == [jaxdpmm.__version__]


def test_the_newest_changes_are_of_this_version():
    text = (ROOT / "jaxdpmm" / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\d\S*?),", text, re.M)[0] == jaxdpmm.__version__


def test_the_workflow_runs_the_versions_of_python_that_are_promised():
    kinds = " ".join(PROJECT["project"]["classifiers"])
    promised = re.findall(r"Python :: (3\.\d+)", kinds)
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.*)\]", workflow)
    assert re.findall(r"3\.\d+", matrix) == promised
    assert PROJECT["project"]["requires-python"] == f">={promised[0]}"
