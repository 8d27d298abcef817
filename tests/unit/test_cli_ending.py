"""Commands that are ended early, in processes of their own: exit status, one sentence, nothing lost, at any moment."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from synthetic import SIDE, write_backbone, write_mvtec

from jaxdpmm.cli import ending

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
COMMANDS = {
    "demo": ["--picture", "new.png"],
    "choose": ["absent"],
    "fit": ["absent", "--output", "new"],
    "score": ["absent", "absent", "--output", "new"],
    "evaluate": ["absent", "absent"],
    "calibrate": ["absent", "absent"],
    "explain": ["absent", "absent"],
    "report": ["absent"],
    "export": ["absent", "new"],
}
PREPARE = """
import ctypes, os, signal, sys, time
# A shell's background jobs ignore Ctrl-C, and so would what they start
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)

def ready():
    os.write(1, b"ready\\n")

def stuck(*_, **__):
    "Native code that returns to Python never, not even for a signal."
    lock, library = ctypes.create_string_buffer(256), ctypes.CDLL(None)
    library.pthread_mutex_lock(lock)
    ready()
    library.pthread_mutex_lock(lock)
"""
MAIN = "\nfrom jaxdpmm import cli\ncli.main({})\n"
STUCK_IMPORT = """
class Stuck:
    def find_spec(self, name, path, target=None):
        if name == "numpy":
            stuck()
sys.meta_path.insert(0, Stuck())
"""
WAIT = """
from jaxdpmm.cli import ending
from jaxdpmm.cli.app import app
@app.command()
def wait():
    {}
"""
READY_WHEN_HEEDED = """
from jaxdpmm.cli import ending
begin = ending.Watch.begin
ending.Watch.begin = lambda watch: (begin(watch), ready())
"""
COMPILING = """
from jaxdpmm.images import layouts
def compile_for_long(path):
    import jax
    def many_steps(x):
        for step in range(800):
            x = jax.numpy.sin(x @ x.T) @ x + step
        return x
    program = jax.jit(many_steps).lower(jax.numpy.ones((50, 50)))
    ready()
    program.compile()
layouts.open_data_set = compile_for_long
"""


def start(body: str, arguments: list[str], **options) -> subprocess.Popen:
    code = PREPARE + body + MAIN.format(arguments)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], **(pipes | options))


def wait_until_ready(run: subprocess.Popen) -> None:
    while (line := run.stdout.readline()) != "ready\n":
        assert line, run.stderr.read()


def check_ended(run: subprocess.Popen, name: str) -> None:
    """That it ends as a signal should make it end; the time is far beyond what it takes."""
    _, errors = run.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if line and "\r" not in line]
    assert lines == [f"{WORDS[name]}; every file written so far is complete"]
    assert run.returncode == 128 + getattr(signal, name)


def end(run: subprocess.Popen, name: str) -> None:
    wait_until_ready(run)
    run.send_signal(getattr(signal, name))
    check_ended(run, name)


@pytest.mark.parametrize(
    "signals",
    [
        ["SIGINT", "SIGTERM"],
        *(
            pytest.param(names, marks=pytest.mark.slow)
            for names in (["SIGTERM", "SIGINT"], ["SIGHUP"])
        ),
    ],
    ids="-".join,
)
def test_native_code_holds_up_no_command(signals, tmp_path):
    """While a library is loaded; every command once, with one signal or the other."""
    runs = [
        start(STUCK_IMPORT, [command, *arguments], cwd=tmp_path)
        for command, arguments in COMMANDS.items()
    ]
    for number, run in enumerate(runs):
        wait_until_ready(run)
        run.send_signal(getattr(signal, signals[number % len(signals)]))
    for number, run in enumerate(runs):
        check_ended(run, signals[number % len(signals)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["SIGINT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGHUP"))],
)
def test_compilation_holds_up_nothing(name, tmp_path):
    run = start(
        COMPILING, ["fit", "absent", "--output", str(tmp_path / "new")], env=without_cache()
    )
    wait_until_ready(run)
    time.sleep(0.3)
    run.send_signal(getattr(signal, name))
    check_ended(run, name)


def without_cache() -> dict[str, str]:
    return {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}


@pytest.mark.parametrize(
    "moment",
    [0.05, 1.0, *(pytest.param(0.15 * n, marks=pytest.mark.slow) for n in range(1, 30))],
)
def test_any_moment_of_a_fit(moment, data_set):
    """From the first import on: nothing is written but what is whole, and no extension module crashes."""
    places = [str(data_set / "surfaces"), "--output", str(data_set / "model")]
    more = ["--backbone", str(data_set / "tiny"), "--short-side", str(SIDE)]
    run = start(
        READY_WHEN_HEEDED, ["fit", *places, *more, "--num-components", "5"], env=without_cache()
    )
    wait_until_ready(run)
    time.sleep(moment)
    run.send_signal(signal.SIGTERM)
    check_ended(run, "SIGTERM")
    assert not list(data_set.glob("model"))
    assert not list(data_set.glob(".*"))


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ending")
    write_mvtec(folder / "surfaces")
    write_backbone(folder / "tiny")
    return folder


def test_second_signal_ends_at_once():
    run = start(
        "from jaxdpmm.cli import ending; ending.PATIENCE = 1e6\n" + WAIT.format("stuck()"), ["wait"]
    )
    wait_until_ready(run)
    run.send_signal(signal.SIGINT)
    time.sleep(2 * ending.ECHO)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 130


def test_signal_that_is_passed_on_counts_once():
    """A terminal sends Ctrl-C to every program, and a program that starts others may pass it on."""
    waiting = "from jaxdpmm.cli import ending; ending.ECHO = 1e6\n" + WAIT.format("stuck()")
    run = start(waiting, ["wait"])
    wait_until_ready(run)
    run.send_signal(signal.SIGINT)
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    check_ended(run, "SIGINT")


SWALLOWED = """
    class Deaf:
        def __del__(self):
            ready()
            time.sleep(0.5)
    del [Deaf()][0]
"""


@pytest.mark.parametrize(
    "body",
    [
        "ready(); time.sleep(60)",
        "try:\n        ready(); time.sleep(60)\n    except BaseException: pass",
        "try:\n        ready(); time.sleep(60)\n    except BaseException: raise KeyError('x')",
        "try:\n        ready(); time.sleep(60)\n    finally: stuck()",
        SWALLOWED,
    ],
    ids=["plain", "passed over", "another error", "stuck in cleaning up", "forgotten in __del__"],
)
def test_status_is_never_zero(body):
    end(start(WAIT.format(body), ["wait"]), "SIGINT")


def test_what_is_done_is_written_before_the_end(tmp_path):
    """By the main thread when it can, else by the other one."""
    keep = "\n    with ending.keeping(lambda: open({!r}, 'a').write('done')):\n        {}"
    for name, body in (("unwound", "ready(); time.sleep(60)"), ("forced", "stuck()")):
        file = tmp_path / name
        end(start(WAIT.format(keep.format(str(file), body)), ["wait"]), "SIGTERM")
        assert file.read_text() == "done"


def test_signals_that_are_ignored_stay_ignored():
    """What `nohup` starts outlives its terminal."""
    body = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + WAIT.format("ready(); time.sleep(60)")
    run = start(body, ["wait"])
    wait_until_ready(run)
    run.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    check_ended(run, "SIGTERM")


def test_defects_keep_their_traceback():
    run = start(WAIT.format("raise KeyError('a defect')"), ["wait"])
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "KeyError: 'a defect'" in errors


def test_output_that_nobody_reads():
    """`jaxdpmm ... | head -0`: no message, and the status that a shell gives to a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (["--help"], ["wait"]):
        run = start(WAIT.format("print('the result')"), arguments, stdout=writer)
        _, errors = run.communicate(timeout=60)
        assert (run.returncode, errors) == (141, "")
    os.close(writer)


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="there is no device that is always full"
)
def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        run = start(WAIT.format("print('the result')"), ["wait"], stdout=full)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 2
    assert errors == "error: [Errno 28] No space left on device\n"


def test_patience_is_within_the_promise():
    """Three seconds in all, of which a busy machine takes some."""
    assert ending.ECHO < ending.PATIENCE <= 1.0


def test_keeping_writes_once_and_again_only_when_interrupted():
    written = []
    with ending.keeping(lambda: written.append("whole")):
        written.append("work")
    ending.write_the_rest()
    assert written == ["work", "whole"]

    def fails_at_first():
        written.append("try")
        if written.count("try") == 1:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt), ending.keeping(fails_at_first):
        pass
    ending.write_the_rest()
    ending.write_the_rest()
    assert written.count("try") == 2


def test_keeping_tells_of_a_full_disk_once():
    def full():
        raise OSError("full")

    with pytest.raises(OSError, match="full"), ending.keeping(full):
        pass
    ending.write_the_rest()  # nothing is left that would raise or be written
    assert not ending._writes
