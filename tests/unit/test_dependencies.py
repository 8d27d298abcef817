"""Every dependency is imported by what it is a dependency of, and everything that is imported is a dependency."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {
    "faiss-cpu": "faiss",
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
}
"""Modules of packages that are not called like them."""

NOT_IMPORTED = {
    "jaxlib": "by JAX",
    "flatbuffers": "by jax.export",
    "python-gdcm": "by pydicom",
    "pylibjpeg": "by pydicom",
    "pylibjpeg-openjpeg": "by pydicom",
    "pytest-xdist": "by pytest",
    "furo": "by Sphinx",
    "jupytext": "by Sphinx",
    "myst-nb": "by Sphinx",
    "sphinx": "a program",
    "mypy": "a program",
    "ruff": "a program",
}
"""Packages that the project asks for and others import."""

FOLDERS = {
    "dev": ("tests",),
    "benchmarks": ("benchmarks", "tests"),
    "oracle": ("tests", "benchmarks"),
}
"""Where the packages of an extra are imported, if not in the package."""


def imported_in(*folders: str) -> set[str]:
    """Top-level modules that files import, at their head or within a function."""
    nodes = (
        node
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
    )
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call):  # importorskip("torch"), or a function of our own
            values = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            found |= {value.split(".")[0] for value in values if isinstance(value, str)}
    return found


def needed(of: str) -> list[str]:
    """Packages of an extra, or of the library itself."""
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] if of == "jaxdpmm" else extras[of]
    names = [re.match(r"[\w-]+", package)[0] for package in wanted]
    return [name for name in names if name != "jaxdpmm" and name not in NOT_IMPORTED]


@pytest.mark.parametrize("of", ["jaxdpmm", *PROJECT["optional-dependencies"]])
def test_a_dependency_is_imported(of):
    found = imported_in(*FOLDERS.get(of, ("jaxdpmm",)))
    assert [name for name in needed(of) if MODULES.get(name, name) not in found] == []


def test_an_import_is_a_dependency():
    of_users = set(PROJECT["optional-dependencies"]) - {"dev", "benchmarks", "oracle"}
    known = {MODULES.get(name, name) for of in ("jaxdpmm", *of_users) for name in needed(of)}
    third_party = {
        name
        for file in (ROOT / "jaxdpmm").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in modules_of(node)
    }
    assert third_party - known - set(sys.stdlib_module_names) - {"jaxdpmm"} == set()


def modules_of(node: ast.AST) -> list[str]:
    """Top-level modules of an import statement."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [node.module.split(".")[0]] if isinstance(node, ast.ImportFrom) and node.module else []
