"""`jaxdpmm export`: a model file in; a scorer out that runs without this library."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdpmm.cli.places import check_places, new_file
from jaxdpmm.cli.terminal import ModelArgument, size_text
from jaxdpmm.storage.outputs import ONNX_SCORER, SCORER


def export(
    model: ModelArgument,
    file: Annotated[
        Path, typer.Argument(help="File to write; with the suffix .onnx an ONNX model.")
    ],
    score: Annotated[
        str | None, typer.Option(help="Another score than the one the model was fitted for.")
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(help="cpu, cuda, tpu or rocm; repeat for several. Default: cpu, cuda, tpu."),
    ] = None,
) -> None:
    """Write the scorer, patch features to anomaly scores, to one file that needs JAX alone, or ONNX.

    How such a file is run is in the docstring of jaxdpmm.export.
    """
    is_onnx = file.suffix == ".onnx"
    check_places({"MODEL": model}, [new_file("FILE", file, ONNX_SCORER if is_onnx else SCORER)])
    from jaxdpmm.export import PLATFORMS, export_onnx, export_scorer
    from jaxdpmm.persist import load_model

    loaded = load_model(model)
    if is_onnx:
        export_onnx(loaded, file, score=score)
        kind = "ONNX"
    else:
        platforms = tuple(platform or PLATFORMS)
        export_scorer(loaded, file, score=score, platforms=platforms)
        kind = f"for {', '.join(platforms)}"
    print(f"{file}: {size_text(file.stat().st_size)}, {kind}")
