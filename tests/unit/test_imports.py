"""Arrows between the parts point one way, and importing the library stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxdpmm

PACKAGE = Path(jaxdpmm.__file__).parent
HEAVY = ["flax", "numpyro", "transformers", "torch", "PIL", "sklearn", "matplotlib", "optax"]

ALLOWED = {
    "trees": set(),
    "checks": set(),
    "choices": set(),
    "distances": set(),
    "storage": set(),
    "storage.model_trees": {"model", "sticks", "storage"},
    "precision": set(),
    "programs": set(),
    "families": {"trees", "precision", "distances"},
    "sticks": {"trees"},
    "points": {"families"},
    "model": {"checks", "points", "trees", "families", "sticks"},
    "grouping": {"trees", "precision", "families", "sticks", "model"},
    "images": {"checks", "choices", "storage"},
    "features": {"storage", "images", "precision", "programs"},
    "scoring": {
        "checks",
        "choices",
        "programs",
        "distances",
        "trees",
        "precision",
        "families",
        "sticks",
        "model",
        "grouping",
    },
    "inference": {
        "points",
        *("checks", "distances", "trees", "precision", "families", "sticks", "model", "grouping"),
        *("choices", "storage", "programs"),
    },
}
"""What each part may import of the package, itself aside; parts not named here stand above all of these.

A file within a wing may have a row of its own: it is then a part of its own.
"""


def part_of(module: str) -> str:
    """The part that a module belongs to, with the module's name below `jaxdpmm`."""
    names = module.split(".")
    file = ".".join(names[:2])
    return file if file in ALLOWED else names[0]


def parts_imported_by(file: Path) -> set[str]:
    """The parts of the package that a file imports, anywhere in it."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    below = [name.removeprefix("jaxdpmm.") for name in modules if name.startswith("jaxdpmm.")]
    return {part_of(name) for name in below}


FILES = {
    file: part_of(".".join(file.relative_to(PACKAGE).with_suffix("").parts))
    for file in PACKAGE.rglob("*.py")
}


@pytest.mark.parametrize("part", ALLOWED)
def test_arrows_point_one_way(part):
    files = [file for file, of in FILES.items() if of == part]
    assert files
    wrong = {
        str(file.relative_to(PACKAGE)): sorted(extra)
        for file in files
        if (extra := parts_imported_by(file) - ALLOWED[part] - {part})
    }
    assert wrong == {}


def test_importing_the_library_loads_nothing_heavy():
    code = f"import sys, jaxdpmm; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_detector_loads_without_what_only_fetching_needs():
    """Some machines have no network and no package for the folder of fetched files."""
    code = "import sys; sys.modules['platformdirs'] = None; import jaxdpmm.detection"
    subprocess.run([sys.executable, "-c", code], check=True)
