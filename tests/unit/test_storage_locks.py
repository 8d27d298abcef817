"""Locks: one at a time, waiting that is announced and ends, and dead holders that hold nobody up."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxdpmm.storage import locks
from jaxdpmm.storage.locks import locked

HOLDER = f"""
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("locks", {locks.__file__!r})
locks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(locks)
with locks.locked(pathlib.Path(sys.argv[1]), "asleep"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    monkeypatch.setattr(locks, "LOOK_EVERY", 0.05)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_one_thread_at_a_time(tmp_path):
    inside, most, turns = [], [], []

    def work(number):
        for _ in range(5):
            with locked(tmp_path / "lock", "counting"):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(number)
                turns.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert sorted(turns) == sorted(5 * [0, 1, 2, 3])


def test_waiting_is_announced_once_and_a_killed_holder_holds_nobody_up(
    holder, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(locks, "NOTICE", 0.05)
    timer = threading.Timer(0.5, holder.kill)
    timer.start()
    with locked(tmp_path / "lock", "copying features"):
        timer.join()
        note = json.loads((tmp_path / "lock").read_bytes())
    assert note["process"] == os.getpid()
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith(f"waiting for process {holder.pid} on ")
    assert said.endswith("which is copying features")


def test_waiting_ends(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    expected = (
        rf"must become free within 0.1 seconds, got a lock of process {holder.pid} on .* \(since .*\) that is "
        "held longer; stop that process or wait for it"
    )
    with pytest.raises(TimeoutError, match=expected), locked(tmp_path / "lock", "copying"):
        pass


def test_waiting_goes_on_while_the_holder_shows_that_it_lives(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    signs = iter([1, 2, 3])
    with (
        pytest.raises(TimeoutError),
        locked(tmp_path / "lock", "copying", lambda: next(signs, None)),
    ):
        pass
    assert next(signs, None) is None


def test_a_lock_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(OSError, match="lock must be writable to keep other processes out, got an"),
        locked(tmp_path / "lock", "copying"),
    ):
        pass
