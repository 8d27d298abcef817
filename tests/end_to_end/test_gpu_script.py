"""`benchmarks/gpu.py` stays ready for a machine that is there for minutes only: what it imports and calls exists."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
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


def measured(path, *options):
    """What the script's file holds after a run with all the time in the world."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--quick", "--seconds", "3600"]
    environ = {**os.environ, "JAX_ENABLE_X64": "0"}
    subprocess.run([*command, "--json", str(path), *options], env=environ, check=True)
    return json.loads(path.read_text())


def check_agreement(content):
    """Float32 on this device against float64 on a CPU, of every family: bounds in nats, per point or of a density."""
    entries = [entry for entry in content["records"] if entry["record"] == "agreement"]
    assert len(entries) == 5
    for entry in entries:
        assert "error" not in entry, entry
        assert entry["elbo_nats_per_point"] < 5e-3, entry
        assert entry["elbo_largest_fall_nats_per_point"] < 1e-4, entry
        assert max(value for name, value in entry.items() if name.endswith("_max_nats")) < 1e-2, (
            entry
        )


@pytest.mark.slow
def test_the_rehearsal_has_no_error_but_absent_peers(tmp_path):
    content = measured(tmp_path / "gpu.json")
    assert {outcome["error"] for outcome in content["outcomes"].values()} == {None}
    failed = [entry["error"] for entry in content["records"] if "error" in entry]
    assert [error for error in failed if not error.endswith("is not installed")] == []
    check_agreement(content)


@pytest.mark.gpu
def test_an_accelerator_agrees_with_float64(tmp_path):
    if jax.default_backend() == "cpu":
        pytest.skip("no accelerator here")
    content = measured(tmp_path / "gpu.json", "--only", "agreement")
    assert content["machine"]["device"] != "cpu"
    check_agreement(content)
