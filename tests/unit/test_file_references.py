"""Files that docstrings name exist, and whoever follows "next file to read" does not walk in a circle of two."""

import ast
import re
from pathlib import Path

import pytest

import jaxdpmm

PACKAGE = Path(jaxdpmm.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMED = re.compile(r"`([\w./-]+\.py)`")
NEXT = re.compile(r"(?:[Nn]ext file|\bRead `)(.*?)(?:\n\n|\Z)", re.S)


def found(file: Path, name: str) -> Path | None:
    """What a name means in a file: relative to it, to the package, or to the directory that holds the package."""
    candidates = ((base / name).resolve() for base in (file.parent, PACKAGE, PACKAGE.parent))
    return next((path for path in candidates if path.is_file()), None)


def docstrings_of(file: Path) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)]
    return [text for node in nodes if (text := ast.get_docstring(node))]


def next_files(file: Path) -> set[Path | None]:
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return {found(file, name) for passage in NEXT.findall(text) for name in NAMED.findall(passage)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_that_a_docstring_names_exist(file):
    named = {name for text in docstrings_of(file) for name in NAMED.findall(text)}
    assert {name for name in named if found(file, name) is None} == set()


def test_no_two_files_point_at_each_other_alone():
    following = {file.resolve(): next_files(file) for file in FILES}
    circles = {
        tuple(sorted(str(path.relative_to(PACKAGE)) for path in (file, *others)))
        for file, others in following.items()
        if len(others) == 1 and following.get(next(iter(others))) == {file}
    }
    assert circles == set()


def test_the_tests_see_references_at_all():
    assert next_files(PACKAGE / "bound.py") == {PACKAGE / "inference" / "backends" / "cavi.py"}
    assert sum(bool(next_files(file)) for file in FILES) > 60
    assert found(PACKAGE / "model.py", "inference/no_such_file.py") is None
