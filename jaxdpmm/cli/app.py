"""The commands put together."""

from typing import Annotated

import typer

from jaxdpmm import __version__
from jaxdpmm.cli.calibrate import calibrate
from jaxdpmm.cli.choose import choose
from jaxdpmm.cli.demo import demo
from jaxdpmm.cli.drift import drift
from jaxdpmm.cli.evaluate import evaluate
from jaxdpmm.cli.explain import explain
from jaxdpmm.cli.export import export
from jaxdpmm.cli.fit import fit
from jaxdpmm.cli.forget import forget
from jaxdpmm.cli.report import report
from jaxdpmm.cli.score import score
from jaxdpmm.cli.update import update

app = typer.Typer(
    name="jaxdpmm",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def show(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Learn what is normal from images, and find what is not, with a Dirichlet process mixture."""
    if version:
        typer.echo(f"jaxdpmm {__version__}")
        raise typer.Exit


for command in (
    demo,
    choose,
    fit,
    score,
    evaluate,
    calibrate,
    explain,
    update,
    forget,
    drift,
    report,
    export,
):
    app.command()(command)
