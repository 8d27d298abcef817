"""What is measured, one case at a time, and the clock.

A `Case` builds a function without arguments and is timed; a `Fact` is a dictionary that is computed. Either becomes an
entry of the report: its labels, and the figures or, where it failed, one sentence. Building and compiling are no part
of the time. Two times are taken, since one small call is mostly launching and waiting: that of one call, waited for
(`seconds`, the median of several), and that of a call in a row of calls waited for at the end (`queued_seconds`).
Read `worker.py` next.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

SECONDS = 0.2  # how long a case is repeated, for each of the two times
MIN_RUNS, MAX_RUNS = 3, 50
LONG = 3.0  # seconds of a run from which a single one must do


class Work(NamedTuple):
    """What a call has to do at least, for its floor; none where the operations are 0.

    Attributes:
        operations: in matrix products.
        num_bytes: read and written once.
        kind: of the products, one of `floors.KINDS`.
    """

    operations: float = 0.0
    num_bytes: float = 0.0
    kind: str = "float32"


def wait_for_jax(result: Any) -> None:
    """Block until the arrays of a result are there."""
    import jax

    jax.block_until_ready(result)


class Case(NamedTuple):
    """Something to be timed.

    Attributes:
        labels: what it is called: `what`, `by` (whose code), `size`, `precision`, and numbers for the tables.
        build: makes the function to be timed, compiled, its data on the device.
        work: what it must do.
        wait: blocks until a result is there.
    """

    labels: dict[str, Any]
    build: Callable[[], Callable[[], Any]]
    work: Work = Work()
    wait: Callable[[Any], None] = wait_for_jax


class Fact(NamedTuple):
    """Something to be found out: `find` returns further entries beside the labels."""

    labels: dict[str, Any]
    find: Callable[[], dict[str, Any]]


def entry_of(case: Case | Fact) -> dict[str, Any]:
    """Labels and figures of a case; with a sentence under `error` in place of figures where it raises."""
    try:
        found = case.find() if isinstance(case, Fact) else _timed(case)
    except Exception as error:
        found = {"error": sentence(error)}
    gc.collect()
    return case.labels | found


def sentence(error: BaseException) -> str:
    """What went wrong, in one line of at most 300 characters."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


def _timed(case: Case) -> dict[str, Any]:
    start = time.perf_counter()
    run = case.build()
    case.wait(run())
    built = time.perf_counter() - start
    guess = _seconds(run, 1, case.wait)
    runs = [guess]
    if guess < LONG:
        number = min(max(round(SECONDS / guess), MIN_RUNS), MAX_RUNS)
        runs = [_seconds(run, 1, case.wait) for _ in range(number)]
    seconds = statistics.median(runs)
    number = min(max(round(SECONDS / seconds), 1), MAX_RUNS)
    queued = min(_seconds(run, number, case.wait) / number, seconds) if number > 1 else seconds
    work = case.work._asdict() if case.work.operations else {}
    times = {"seconds": seconds, "queued_seconds": queued, "num_runs": len(runs)}
    return times | {"build_seconds": built} | work


def _seconds(run: Callable[[], Any], number: int, wait: Callable[[Any], None]) -> float:
    start = time.perf_counter()
    for _ in range(number):
        result = run()
    wait(result)
    return time.perf_counter() - start
