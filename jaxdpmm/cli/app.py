"""The commands put together."""

import typer

from jaxdpmm.cli.calibrate import calibrate
from jaxdpmm.cli.demo import demo
from jaxdpmm.cli.evaluate import evaluate
from jaxdpmm.cli.explain import explain
from jaxdpmm.cli.export import export
from jaxdpmm.cli.fit import fit
from jaxdpmm.cli.report import report
from jaxdpmm.cli.score import score

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
