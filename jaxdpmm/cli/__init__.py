"""The command line: `jaxdpmm fit`, `score`, `update` and the other commands of `app.py`.

This file turns whatever goes wrong into one sentence and an exit status: 2 for bad input, 130 for Ctrl-C, 143 for
SIGTERM, 129 for a terminal that was closed, 141 when nobody reads the output any more. Signals are heeded
(`ending.py`) before anything but the standard library is imported, and each command imports what it needs when it
runs, so that `--help` comes at once. `app.py` puts the commands together. Read `fit.py` next.
"""

import io
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from jaxdpmm.cli import ending

DEFECT, BAD_INPUT = 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # so that a path in no encoding costs no result
        sys.stdout.reconfigure(errors="backslashreplace")
    watch = ending.Watch()
    status = DEFECT
    try:
        watch.begin()
        status = run(arguments)
        watch.close()
    except BaseException:
        if ending.received() is None:
            raise
    if (number := ending.received()) is not None:
        status = _ended(number)
    watch.leave(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: those after the program's name; None for those of this process.

    Returns:
        0 when all went well, 2 for bad input, 128 and the number of the signal when one has ended it.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", UserWarning)
        try:
            from jaxdpmm.cli.app import app

            given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
            status = int(app(given, prog_name="jaxdpmm", standalone_mode=False) or 0)
            if sys.stdout is not None:
                sys.stdout.flush()
            if ending.received() or status == ending.status_of(
                signal.SIGINT
            ):  # typer's word for it
                raise KeyboardInterrupt
            return status
        except BaseException as error:
            if (found := _status_after(error)) is None:
                raise
            return found


def _status_after(error: BaseException) -> int | None:
    """Exit status after an error that the user has been told of; None for a defect of the program."""
    if ending.received() or isinstance(error, KeyboardInterrupt):
        return _ended(ending.received() or signal.SIGINT)
    if isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
        return ending.READER_GONE  # typer makes it a SystemExit
    if (sentence := _sentence(error)) is None:
        return None
    _say(f"error: {sentence}")
    return BAD_INPUT


def _ended(number: int) -> int:
    """Exit status after a signal, once what is done is written and the user told."""
    ending.write_the_rest()
    ending.tell(number)
    return ending.status_of(number)


def _sentence(error: BaseException) -> str | None:
    """What to tell the user of an error in the input; None for a defect of the program."""
    from jaxdpmm.cli.terminal import one_line

    if hasattr(
        error, "format_message"
    ):  # wrong options: click's own errors, wherever typer keeps click
        message = one_line(error.format_message())
        return f"{message}{'' if message.endswith(('.', '?')) else '.'} See --help."
    if isinstance(error, ValueError | TypeError | OSError | ImportError | FloatingPointError):
        return one_line(str(error))
    return None


def _say(message: str) -> None:
    from jaxdpmm.cli.terminal import say

    say(message)


def _show_warning(
    message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None
) -> None:
    _say(f"warning: {' '.join(str(message).split())}")
