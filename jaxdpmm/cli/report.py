"""`jaxdpmm report`: the folder of a run in, one HTML page out."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdpmm.cli.places import check_places, new_file
from jaxdpmm.cli.terminal import size_text
from jaxdpmm.storage.outputs import PAGE


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder that `jaxdpmm score` or `jaxdpmm evaluate` wrote.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page to write. Default: report.html in RUN."),
    ] = None,
    side: Annotated[
        int, typer.Option(help="Pixels of the longer side of each image in the page.")
    ] = 256,
) -> None:
    """Write one self-contained HTML page: figures, histograms, every image with its map and a threshold slider.

    The page needs no network, and nothing else of the run once it is written.
    """
    path = output or run / "report.html"
    if run.is_dir():  # else it is told by whoever reads it
        check_places({"RUN": run}, [new_file("--output", path, PAGE)])
    from jaxdpmm.detection.reporting.report import render_report
    from jaxdpmm.detection.reporting.runs import read_run
    from jaxdpmm.persist import write_whole

    found = read_run(run)
    write_whole(path, render_report(found, side=side).encode("utf-8", "backslashreplace"))
    print(f"{path}: {len(found.images)} images, {size_text(path.stat().st_size)}")
