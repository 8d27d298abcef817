"""`benchmarks/gpu.py` stays ready for a machine that is there for minutes only: what it imports and calls exists."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LIST = """
import importlib, json
from on_gpu.plan import PLAN, QUICK, Sizes
for record in PLAN[:-1]:  # roofline fits its mixtures to list them
    module, function = record.cases.split(":")
    for sizes in (Sizes(), QUICK):
        cases = getattr(importlib.import_module(module), function)(sizes)
        labels = [] if record.name == "agreement" else [case.labels for case in cases]  # starts a process
        names = [json.dumps(label, sort_keys=True) for label in labels]
        assert len(set(names)) == len(names), record.name
        print(record.name, len(labels))
"""


def environment():
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "benchmarks"))
    return {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}


def test_every_record_lists_different_cases():
    done = subprocess.run(
        [sys.executable, "-c", LIST], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, number in counts if number == "0"] == ["agreement", "agreement"]


@pytest.mark.slow
def test_the_rehearsal_has_no_error_but_absent_peers(tmp_path):
    target = tmp_path / "gpu.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--quick", "--json", target]
    subprocess.run([*command, "--seconds", "3600"], env=environment(), check=True)
    content = json.loads(target.read_text())
    assert {outcome["error"] for outcome in content["outcomes"].values()} == {None}
    failed = [entry["error"] for entry in content["records"] if "error" in entry]
    assert [error for error in failed if not error.endswith("is not installed")] == []
