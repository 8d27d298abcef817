"""Runs a plan in a worker process, which it ends where a record outlasts its budget, and keeps what comes.

Budgets need a second process: what compiles inside a library hears no signal. Normally one worker runs the whole plan,
so that JAX starts once; after a crash or an end by force another goes on with the next record. This file and what it
imports load neither JAX nor torch. Read `worker.py` next.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from on_gpu.plan import Record, Sizes
from on_gpu.report import Report

START_SECONDS = 90.0  # for importing JAX and waking the device
GRACE = 10.0  # seconds past its budget after which a record's worker is ended


class Limits(NamedTuple):
    """How long things may take, in seconds: all records together, the start of a worker, a record past its budget."""

    total: float
    start: float = START_SECONDS
    grace: float = GRACE


def run_plan(
    records: Sequence[Record],
    sizes: Sizes,
    report: Report,
    limits: Limits,
    work: Callable[[Sequence[Record], Sizes, Any], None],
) -> None:
    """Measure all records, or as many as the time allows; whatever is not measured says why in the report.

    Args:
        records: in this order.
        sizes: passed to the worker.
        report: where entries go.
        limits: of time.
        work: what the worker runs, importable: it is given the records, the sizes and a pipe's end.
    """
    deadline = time.monotonic() + limits.total
    waiting = list(records)
    while waiting and time.monotonic() < deadline:
        waiting = _run_worker(waiting, sizes, report, limits, deadline, work)
    for record in waiting:
        report.end(record.name, None, f"left out: the {limits.total:g} s of the run were over")


def _run_worker(waiting, sizes, report, limits, deadline, work) -> list[Record]:
    """Run one worker to its end; the records that it has not come to."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(waiting, sizes, theirs))
    process.start()
    theirs.close()  # so that reading ends when the worker does
    run = _Run(waiting, report, limits, deadline)
    try:
        while run.waiting and run.problem is None:
            run.listen(ours)
        if run.problem is not None:
            if run.problem == "":
                process.join(5)
                run.problem = f"its process ended with status {process.exitcode}"
            run.give_up()
    finally:
        _end(process)
        ours.close()
    return run.waiting


class _Run:
    """What a driver knows of its worker: the records to come, and the one under way."""

    def __init__(self, waiting: list[Record], report: Report, limits: Limits, deadline: float):
        self.waiting, self.report, self.limits, self.deadline = waiting, report, limits, deadline
        self.began: float | None = None
        self.problem: str | None = None
        self._until, self._why = _earlier(
            time.monotonic() + limits.start, f"no worker started within {limits.start:g} s", self
        )

    def listen(self, connection: Any) -> None:
        """Wait for one message and act on it; `problem` is set where none comes, empty where the worker is gone."""
        if not connection.poll(max(self._until - time.monotonic(), 0)):
            self.problem = self._why
            return
        try:
            kind, *content = connection.recv()
        except EOFError:
            self.problem = ""
            return
        getattr(self, f"_{kind}")(*content)

    def give_up(self) -> None:
        """Close the record under way, or the next one where none had begun, with what went wrong."""
        seconds = None if self.began is None else time.monotonic() - self.began
        print(f"{self.waiting[0].name}: {self.problem}", flush=True)
        self.report.end(self.waiting.pop(0).name, seconds, self.problem)

    def _hello(self, content: dict[str, Any]) -> None:
        self.report.introduce(**content)
        print(f"on {content['machine']}", flush=True)

    def _begin(self, name: str) -> None:
        self.began = time.monotonic()
        self.report.begin(name)
        seconds = next(record.seconds for record in self.waiting if record.name == name)
        self._until, self._why = _earlier(
            self.began + seconds + self.limits.grace,
            f"ended after its budget of {seconds:.3g} s, in the middle of a case",
            self,
        )

    def _entry(self, name: str, entry: dict[str, Any]) -> None:
        print(_line(self.report.add(name, entry)), flush=True)

    def _end(self, name: str, seconds: float, problem: str | None) -> None:
        self.waiting = self.waiting[1:]
        self.report.end(name, seconds, problem)
        print(f"{name}: {seconds:.1f} s{f', {problem}' if problem else ''}", flush=True)


def _earlier(moment: float, why: str, run: _Run) -> tuple[float, str]:
    """A moment and its reason, or those of the end of the run where that comes first."""
    if run.deadline < moment:
        return run.deadline, f"cut: the {run.limits.total:g} s of the run were over"
    return moment, why


def _end(process: Any) -> None:
    """End a worker and the processes that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _line(entry: dict[str, Any]) -> str:
    """An entry for the eye."""
    name = ", ".join(
        str(entry[part]) for part in ("by", "what", "size", "precision") if part in entry
    )
    if "error" in entry:
        return f"  {name}: {entry['error']}"
    if "seconds" not in entry:
        known = ("record", "device", "by", "what", "size", "precision")
        return f"  {name}: " + ", ".join(f"{k} {v}" for k, v in entry.items() if k not in known)
    times = f"{1e3 * entry['seconds']:.3f} ms, queued {1e3 * entry['queued_seconds']:.3f} ms"
    floor = entry.get("floor_seconds")
    return f"  {name}: {times}" + (f", floor {1e3 * floor:.3f} ms" if floor else "")
