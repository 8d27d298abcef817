"""Every code block of README runs: Python as it stands, commands on a small data set of the names they use."""

import re
import shlex
from pathlib import Path

import pytest
from synthetic import write_backbone, write_mvtec

from jaxdpmm.cli import run

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README.read_text(), re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
LOCAL = [line for line in COMMANDS if line.startswith("jaxdpmm ")]
INSTALLING = [line for line in COMMANDS if line not in LOCAL]


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code):
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_commands_run_in_order(tmp_path, monkeypatch, capsys):
    write_mvtec(tmp_path / "bottle")
    write_backbone(tmp_path / "dinov2-small")
    monkeypatch.chdir(tmp_path)
    assert len(LOCAL) == 5
    for line in LOCAL:
        _, command, *arguments = shlex.split(line)
        options = ["--short-side", "84", "--num-components", "5"] if command == "fit" else []
        assert run([command, *arguments, *options]) == 0, capsys.readouterr().err
    assert (tmp_path / "scores" / "scores.csv").read_text().count("\n") == 7
    assert (tmp_path / "figures.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "scorer.jaxdpmm").is_file()


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
    ]
    ci = (README.parent / ".ci" / "run").read_text()
    assert '".[dev]"' in ci
    assert "-m pytest" in ci
