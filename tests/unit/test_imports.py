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
    "distances": set(),
    "files": set(),
    "locks": set(),
    "precision": set(),
    "programs": set(),
    "descriptions": set(),
    "tree_store": {"descriptions"},
    "model_trees": {"model", "sticks", "descriptions", "tree_store"},
    "families": {"trees", "precision", "distances"},
    "sticks": {"trees"},
    "points": {"families"},
    "model": {"checks", "points", "trees", "families", "sticks"},
    "grouping": {"trees", "precision", "families", "sticks", "model"},
    "outputs": set(),
    "images": {"checks", "wheels", "files", "outputs"},
    "features": {
        *("wheels", "files", "locks", "descriptions", "tree_store"),
        *("images", "precision", "programs"),
    },
    "scoring": {
        "checks",
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
        *("files", "descriptions", "tree_store", "programs"),
    },
}
"""What each part may import of the package, itself aside; parts not named here stand above all of these."""


def parts_imported_by(file: Path) -> set[str]:
    """The parts of the package that a file imports, anywhere in it."""
    parts: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxdpmm":
            below = node.module.split(".")[1:2]
            parts |= set(below) if below else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            parts |= {name[1] for name in names if name[0] == "jaxdpmm" and len(name) > 1}
    return parts


@pytest.mark.parametrize("part", ALLOWED)
def test_arrows_point_one_way(part):
    files = (
        [PACKAGE / f"{part}.py"]
        if (PACKAGE / f"{part}.py").exists()
        else (PACKAGE / part).rglob("*.py")
    )
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
