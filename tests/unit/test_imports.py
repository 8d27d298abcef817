"""Arrows between the parts point one way, and importing the library stays light."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import jaxdpmm

PACKAGE = Path(jaxdpmm.__file__).parent
HEAVY = ["flax", "numpyro", "transformers", "torch", "PIL", "sklearn", "matplotlib", "optax"]

MODEL = {"trees", "checks", "points", "families", "sticks", "model"}
FITTING = MODEL | {"bound", "chosen", "grouping", "precision", "programs", "inference"}
WINGS = {f"inference.{wing}" for wing in ("backends", "data", "growth", "local_steps")}
ALLOWED = {
    # what knows of nothing
    "trees": set(),
    "checks": set(),
    "choices": set(),
    "distances": set(),
    "storage": set(),
    "precision": set(),
    "programs": set(),
    # from disk to features
    "images": {"checks", "choices", "storage"},
    "features": {"checks", "choices", "storage", "precision", "programs"},
    # the mixture
    "families": {"trees", "precision", "distances"},
    "sticks": {"trees"},
    "points": {"families"},
    "model": MODEL,
    "bound": {"trees", "sticks", "model"},
    "grouping": {"trees", "precision", "families", "sticks", "model"},
    "chosen": {"families", "grouping"},
    "storage.model_trees": {"model", "sticks", "storage"},
    # how it is fitted; `inference` itself is what the wings stand on, and what puts them together
    "inference": FITTING | WINGS | {"choices", "distances", "storage"},
    "inference.data": MODEL,
    "inference.local_steps": FITTING | {"inference.data", "distances"},
    "inference.backends": FITTING | {"inference.local_steps"},
    "inference.growth": FITTING | WINGS,
    "inference.numpyro": FITTING | WINGS,
    # what is done with it
    "scoring": MODEL | {"choices", "chosen", "distances", "grouping", "precision", "programs"},
    "summaries": {"checks", "model", "programs"},
    "separation": {"distances", "model", "programs", "scoring"},
    "leave_out": MODEL | {"inference", "inference.local_steps", "programs", "scoring"},
    "sites": {"inference", "model", "programs", "scoring", "trees"},
    "persist": {"__version__", "families", "model", "sticks", "storage", "storage.model_trees"},
    "exported": {"scoring", "storage"},
    "testing": {"trees", "families", "sticks", "model", "inference", "programs", "scoring"},
    "sklearn": MODEL | {"inference", "inference.data", "scoring"},
    # detection
    "detection.metrics": set(),
    "detection.banks": {"families", "distances", "precision", "scoring", "detection"}
    | {"inference", "inference.data", "checks", "model", "programs", "storage"},
    "detection": MODEL
    | {"choices", "images", "features", "precision", "programs", "scoring", "persist", "storage"}
    | {"inference", "inference.data", "inference.local_steps", "storage.model_trees"}
    | {"leave_out", "separation"}
    | {"detection.banks", "detection.line", "detection.metrics", "detection.scores"}
    | {"detection.stored"},
    "detection.scores": MODEL
    | {"choices", "detection", "distances", "images", "inference", "leave_out", "precision"}
    | {"programs", "scoring"},
    "detection.stored": {"choices", "detection", "detection.scores", "families", "model", "persist"}
    | {"scoring", "sticks", "storage", "storage.model_trees"},
    "detection.line": {"choices", "detection", "distances", "grouping", "images", "inference"}
    | {"leave_out", "model", "scoring", "storage", "trees"},
    "detection.choosing": {"checks", "choices", "detection", "detection.metrics"}
    | {"detection.scores", "distances", "features", "images", "programs", "scoring"},
    "detection.products": {"detection", "detection.stored", "features", "images", "persist"}
    | {"storage"},
    "pictures": {"detection", "detection.choosing", "detection.line", "detection.metrics", "images"}
    | {"inference", "model", "scoring", "choices", "separation", "sticks"},
    "detection.reporting": {"detection", "detection.products", "images", "persist", "pictures"}
    | {"storage"},
    "export": MODEL
    | {"__version__", "choices", "detection", "detection.stored", "exported", "persist"}
    | {"scoring", "storage"},
    "cli": {
        "__version__",
        "choices",
        "detection",
        "detection.choosing",
        "detection.line",
        "detection.metrics",
        "detection.products",
        "detection.reporting",
        "detection.stored",
        "export",
    }
    | {"exported", "features", "images", "persist", "pictures", "storage"},
    "__init__": set(),
    "__main__": {"cli"},
}
"""What each part may import of the package, itself aside: a file, or files of a folder that have no row below it."""


def part_of(module: str) -> str:
    """The part that a module belongs to, with the module's name below `jaxdpmm`."""
    names = module.split(".")
    file = ".".join(names[:2])
    return file if file in ALLOWED else names[0]


def module_of(file: Path) -> str:
    """The module's name below `jaxdpmm`; a folder's own file has the folder's."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def names_imported_by(file: Path) -> set[str]:
    """All that a file imports of the package, anywhere in it, below `jaxdpmm`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports {node.module} by a relative name"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.removeprefix("jaxdpmm.") for name in names if name.startswith("jaxdpmm.")}


def longest_module(name: str, modules: Iterable[str]) -> str:
    """The module that a name stands in, or is; the package itself for what it defines."""
    return name if name in modules else name.rpartition(".")[0] or "__init__"


FILES = {file: part_of(module_of(file)) for file in PACKAGE.rglob("*.py")}


def test_every_file_belongs_to_a_part():
    assert set(FILES.values()) == set(ALLOWED)


@pytest.mark.parametrize("part", ALLOWED)
def test_arrows_point_one_way(part):
    files = [file for file, of in FILES.items() if of == part]
    wrong = {
        str(file.relative_to(PACKAGE)): sorted(extra)
        for file in files
        if (extra := {part_of(name) for name in names_imported_by(file)} - ALLOWED[part] - {part})
    }
    assert wrong == {}


def test_no_file_is_imported_by_what_it_imports():
    """No circle, not even of imports within functions."""
    modules = {module_of(file): file for file in FILES}
    arrows = {
        module: {longest_module(name, modules) for name in names_imported_by(file)} - {module}
        for module, file in modules.items()
    }
    assert arrows["model"] >= {"trees", "checks", "points", "families", "sticks"}
    graphlib.TopologicalSorter(arrows).prepare()


def test_importing_the_library_loads_nothing_heavy():
    code = f"import sys, jaxdpmm; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_saving_and_exporting_a_mixture_loads_neither_flax_nor_images():
    code = f"import sys, jaxdpmm.persist, jaxdpmm.export; print(set({HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_detector_loads_without_what_only_fetching_needs():
    """Some machines have no network and no package for the folder of fetched files."""
    code = "import sys; sys.modules['platformdirs'] = None; import jaxdpmm.detection"
    subprocess.run([sys.executable, "-c", code], check=True)
