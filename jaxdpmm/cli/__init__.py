"""The command line: `jaxdpmm demo`, `fit`, `score`, `evaluate`, `calibrate`, `explain`, `report` and `export`.

This file joins them and turns whatever goes wrong into one sentence and an exit status: 2 for bad input, 130 for
Ctrl-C. Each command imports what it needs when it runs, so that `--help` comes at once. Read `fit.py` next.
"""

import sys
import warnings
from collections.abc import Sequence

import typer

from jaxdpmm.cli.calibrate import calibrate
from jaxdpmm.cli.demo import demo
from jaxdpmm.cli.evaluate import evaluate
from jaxdpmm.cli.explain import explain
from jaxdpmm.cli.export import export
from jaxdpmm.cli.fit import fit
from jaxdpmm.cli.report import report
from jaxdpmm.cli.score import score
from jaxdpmm.cli.terminal import one_line, say

BAD_INPUT, INTERRUPTED = 2, 130

app = typer.Typer(
    name="jaxdpmm",
    help="Learn what is normal from images, and find what is not, with a Dirichlet process mixture.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (demo, fit, score, evaluate, calibrate, explain, report, export):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: those after the program's name; None for those of this process.

    Returns:
        0 when all went well, 2 for bad input, 130 when interrupted.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", UserWarning)
        try:
            status = int(app(arguments, prog_name="jaxdpmm", standalone_mode=False) or 0)
            if status == INTERRUPTED:  # typer's way to tell of Ctrl-C, in some of its versions
                raise KeyboardInterrupt
            return status
        except (KeyboardInterrupt, typer.Abort):
            say("interrupted; every file written so far is complete")
            return INTERRUPTED
        except Exception as error:
            if (sentence := _sentence(error)) is None:
                raise
            say(f"error: {sentence}")
            return BAD_INPUT


def _sentence(error: Exception) -> str | None:
    """What to tell the user of an error in the input; None for a defect of the program."""
    if hasattr(
        error, "format_message"
    ):  # wrong options: click's own errors, wherever typer keeps click
        return f"{one_line(error.format_message())} See --help."
    if isinstance(error, ValueError | TypeError | OSError | ImportError | FloatingPointError):
        return one_line(str(error))
    return None


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    say(f"warning: {one_line(str(message))}")
