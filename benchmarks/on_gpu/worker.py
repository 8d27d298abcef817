"""The process that measures: runs records one after the other and tells the driver of everything at once.

It may be ended at any moment, or end itself where a library crashes; the driver then starts another for the records
that are left. Read `driver.py` next.
"""

import importlib
import itertools
import os
import time
from collections.abc import Sequence
from typing import Any

from on_gpu.cases import entry_of, sentence
from on_gpu.plan import Record, Sizes

ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # JAX and torch share the device's memory
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "OMP_WAIT_POLICY": "PASSIVE",  # torch's threads sleep while JAX computes on a CPU, instead of spinning
    "HF_HUB_OFFLINE": "1",
}


def measure(records: Sequence[Record], sizes: Sizes, connection: Any) -> None:
    """Send ("hello", machine and versions), then of each record ("begin", ...), entries and ("end", ...).

    Args:
        records: what to measure, in this order.
        sizes: how large.
        connection: a pipe's end to send to.
    """
    join_own_group()
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    from harness import machine, versions

    connection.send(("hello", {"machine": machine(), "versions": versions()}))
    run_records(records, sizes, connection)


def join_own_group() -> None:
    """Make this process the head of a group, so that the driver ends its children with it."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def run_records(records: Sequence[Record], sizes: Sizes, connection: Any) -> None:
    """Every record, whatever the one before it did."""
    for record in records:
        connection.send(("begin", record.name))
        start = time.monotonic()
        try:
            problem = _run(record, sizes, connection, start)
        except (BrokenPipeError, EOFError):
            return  # nobody listens any more
        except Exception as error:
            problem = sentence(error)
        connection.send(("end", record.name, time.monotonic() - start, problem))


def _run(record: Record, sizes: Sizes, connection: Any, start: float) -> str | None:
    """Send the entries; the sentence that says what is missing, None where nothing is."""
    module, function = record.cases.split(":")
    cases = getattr(importlib.import_module(module), function)(sizes)
    for number in itertools.count():
        if (case := next(cases, None)) is None:
            return None
        if time.monotonic() - start > record.seconds:
            return f"stopped at its budget of {record.seconds:.3g} s with {number} cases measured"
        connection.send(("entry", record.name, entry_of(case)))
