"""The driver of `benchmarks/gpu.py` on cheap records: what fails, hangs, crashes or is too much, and going on."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"

RECORDS = """
import os, time
from on_gpu.cases import Fact

def good(sizes):
    yield Fact({"what": "sizes"}, lambda: {"found": sizes})

def failing_case(sizes):
    yield Fact({"what": "bad"}, lambda: [][1])
    yield Fact({"what": "absent"}, lambda: __import__("no_such_peer"))
    yield Fact({"what": "fine"}, dict)

def failing(sizes):
    yield Fact({"what": "first"}, dict)
    raise ValueError("no second\\ncase")

def slow(sizes):
    for number in range(9):
        yield Fact({"what": number}, lambda: time.sleep(0.3) or {})

def hanging(sizes):
    yield Fact({"what": "before"}, dict)
    yield Fact({"what": "never"}, lambda: time.sleep(60))

def crashing(sizes):
    yield Fact({"what": "before"}, dict)
    os._exit(3)

def cannot_start(records, sizes, connection):
    raise SystemExit(4)
"""


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """The modules of the driver, and those records as a module that a worker can import too."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cheap_records.py").write_text(RECORDS)
    import floors
    from on_gpu import cases, driver, plan, report, worker

    yield {
        "floors": floors,
        "cases": cases,
        "driver": driver,
        "plan": plan,
        "report": report,
        "worker": worker,
    }
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith((str(FOLDER), str(tmp_path))):
            del sys.modules[name]


def run(parts, path, *names, total=900.0, grace=0.5, work=None, **seconds):
    """What the file holds after a run; only budgets that are named are short, since the machine may be slow."""
    record = parts["plan"].Record
    records = [record(name, f"cheap_records:{name}", seconds.get(name, 300.0)) for name in names]
    report = parts["report"].Report(path, {"quick": True})
    limits = parts["driver"].Limits(total, start=300, grace=grace)
    parts["driver"].run_plan(records, "small", report, limits, work or parts["worker"].run_records)
    return json.loads(path.read_text())


def errors(content):
    return {name: outcome["error"] for name, outcome in content["outcomes"].items()}


def found(content, name):
    return [entry for entry in content["records"] if entry["record"] == name]


def test_what_fails_says_so_and_the_next_goes_on(parts, tmp_path):
    content = run(parts, tmp_path / "a.json", "failing_case", "failing", "absent", "good")
    assert [entry.get("error") for entry in found(content, "failing_case")] == [
        "IndexError: list index out of range",
        "no_such_peer is not installed",
        None,
    ]
    assert errors(content) == {
        "failing_case": None,
        "failing": "ValueError: no second case",
        "absent": "AttributeError: module 'cheap_records' has no attribute 'absent'",
        "good": None,
    }
    assert found(content, "good")[0]["found"] == "small"


def test_a_worker_that_hangs_or_crashes_loses_one_case_and_no_other_record(parts, tmp_path):
    content = run(parts, tmp_path / "a.json", "hanging", "crashing", "good", hanging=2.0)
    assert errors(content) == {
        "hanging": "ended after its budget of 2 s, in the middle of a case",
        "crashing": "its process ended with status 3",
        "good": None,
    }
    assert [entry["what"] for entry in content["records"]] == ["before", "before", "sizes"]


def test_a_record_stops_at_its_budget_and_a_run_at_its_end(parts, tmp_path):
    content = run(parts, tmp_path / "a.json", "slow", "good", slow=0.5, grace=300)
    number = len(found(content, "slow"))
    assert 1 <= number <= 2
    assert errors(content)["slow"] == f"stopped at its budget of 0.5 s with {number} cases measured"
    assert errors(content)["good"] is None
    content = run(parts, tmp_path / "b.json", "hanging", "good", total=3.0)
    assert errors(content) == {
        "hanging": "cut: the 3 s of the run were over",
        "good": "left out: the 3 s of the run were over",
    }


def test_a_worker_that_cannot_start_is_not_tried_for_ever(parts, tmp_path):
    work = importlib.import_module("cheap_records").cannot_start
    content = run(parts, tmp_path / "a.json", "good", "slow", work=work)
    assert errors(content) == dict.fromkeys(("good", "slow"), "its process ended with status 4")


def test_a_later_run_goes_on_from_the_file(parts, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    run(parts, path, "failing_case", "good", "failing")
    report = parts["report"].Report(path, {"quick": True})
    assert [report.is_done(name) for name in ("good", "failing_case", "failing", "slow")] == [
        True,
        False,
        False,
        False,
    ]
    content = run(parts, path, "failing")
    assert [entry["record"] for entry in content["records"]] == [
        *3 * ["failing_case"],
        "good",
        "failing",
    ]
    import gpu

    monkeypatch.setattr(gpu, "PLAN", [parts["plan"].Record(n, "", 10) for n in ("good", "slow")])
    assert [record.name for record in gpu.chosen(report, [], False, gpu.SECONDS)] == ["slow"]
    assert [record.name for record in gpu.chosen(report, ["good"], False, gpu.SECONDS)] == []
    again = gpu.chosen(report, ["good"], True, 2 * gpu.SECONDS)
    assert [(record.name, record.seconds) for record in again] == [("good", 20)]


def test_a_file_holds_figures_of_one_device_and_one_kind(parts, tmp_path):
    path = tmp_path / "a.json"
    report = parts["report"].Report(path, {"quick": True})
    report.introduce({"device": "cpu"}, {})
    with pytest.raises(
        SystemExit, match=r"must hold figures of the settings .*; give another file"
    ):
        parts["report"].Report(path, {"quick": False})
    with pytest.raises(SystemExit, match=r"of one device, got 'cpu' and 'H100'; give another file"):
        parts["report"].Report(path, {"quick": True}).introduce({"device": "H100"}, {})


def test_entries_stand_beside_their_floor_once_the_rates_are_measured(parts, tmp_path):
    report = parts["report"].Report(tmp_path / "a.json", {})
    report.introduce({"device": "H100"}, {})
    work = {"seconds": 1.0, "operations": 6e12, "num_bytes": 8e9, "kind": "tf32"}
    assert "floor_seconds" not in report.add("fit", work)
    rates = {"float32": 1e12, "tf32": 3e12, "bfloat16": 6e12, "copy": 1e9, "launch": 1e-5}
    for name, rate in rates.items():
        report.add("device", {"rate_of": name, "rate": rate})
    entry = report.add("fit", work)
    assert (
        entry["floor_seconds"] == 8.0
    )  # moving the bytes takes longer than the 2 s of the products
    assert (entry["launch_seconds"], entry["device"]) == (1e-5, "H100")
    assert report.add("fit", work | {"num_bytes": 1e9})["floor_seconds"] == 2.0


def test_a_case_is_built_once_and_timed_warm(parts):
    calls = []

    def build():
        calls.append("built")
        return lambda: calls.append("run")

    case = parts["cases"].Case({"what": "x"}, build, parts["cases"].Work(2.0, 1.0), calls.append)
    entry = parts["cases"].entry_of(case)
    assert calls.count("built") == 1
    assert calls[:3] == ["built", "run", None]  # the first run and its wait are part of building
    assert parts["cases"].MIN_RUNS <= entry["num_runs"] <= parts["cases"].MAX_RUNS
    assert entry["queued_seconds"] <= entry["seconds"] < entry["build_seconds"] + 1
    assert (entry["what"], entry["operations"], entry["kind"]) == ("x", 2.0, "float32")


def test_roofline_takes_measured_rates_and_counts_the_largest_branch(parts, tmp_path):
    roofline = pytest.importorskip("roofline")
    program = jax.make_jaxpr(lambda x: jax.lax.cond(x[0] > 0, jnp.sin, lambda x: x * (x @ x), x))
    assert 2 * 8 + 8 <= roofline.operations(program(jnp.ones(8)).jaxpr) <= 2 * 8 + 8 + 2
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"records": [{"rate_of": "copy", "rate": 1e9}]}))
    with pytest.raises(SystemExit, match=r"must hold the measured rates, got none; run gpu.py"):
        roofline.read_rates(path)


def test_what_a_machine_may_lack_is_carried():
    """What jax, flax, numpyro and transformers bring is there; any other dependency must be in the list."""
    there = {"jax", "jaxlib", "numpy", "scipy", "flax", "optax", "numpyro", "safetensors"}
    there |= {"huggingface-hub", "tqdm", "typer"}
    never_used = {"matplotlib"}  # by records, see the next test
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^\w.-]", line)[0] for line in project["dependencies"]}
    assert needed - there - never_used <= set((FOLDER / "carried.txt").read_text().split())


def test_records_draw_no_pictures():
    """All that they import of the library loads where there is no matplotlib."""
    sources = [file.read_text() for file in (FOLDER / "on_gpu").glob("*.py")]
    found = {line for text in sources for line in re.findall(r"from jaxdpmm[.\w]* import .*", text)}
    assert len(found) > 5
    code = "\n".join(["import sys; sys.modules['matplotlib'] = None", *sorted(found)])
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_record_of_the_plan_has_a_function(parts):
    """By reading, since what the functions need may not be installed."""
    for record in parts["plan"].PLAN:
        module, function = record.cases.split(":")
        source = (FOLDER / f"{module.replace('.', '/')}.py").read_text()
        assert f"\ndef {function}(sizes: Sizes)" in source, record
    assert sum(record.seconds for record in parts["plan"].PLAN[:8]) < 400
