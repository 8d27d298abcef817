"""`jaxdpmm calibrate`: new thresholds for a fitted model, from normal images that it has not learned from."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdpmm.cli.places import check_places, new_file, weights_of
from jaxdpmm.cli.terminal import (
    BackboneOption,
    JsonOption,
    ModelArgument,
    StrictOption,
    calibration_text,
    check_rate,
    load_detector,
    write_json,
)
from jaxdpmm.storage.outputs import MODEL, RESULT


def calibrate(
    model: ModelArgument,
    images: Annotated[
        Path, typer.Argument(help="Folder of normal images it has not learned from.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The model file to write; default: MODEL.")
    ] = None,
    rate: Annotated[float, typer.Option("--rate", help="False positive rate to report.")] = 0.05,
    backbone: BackboneOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Change the thresholds and p-values of a model without fitting it anew.

    Images of one patient or one part must not be both here and among those it has learned from.
    """
    check_rate(rate)
    output = output or model
    check_places(
        {"MODEL": model, "IMAGES": images},
        [new_file("--output", output, MODEL, replaces="MODEL"), new_file("--json", json, RESULT)],
        weights=backbone or weights_of(model),
    )
    from jaxdpmm.images.layouts import read_normal_folder

    records = read_normal_folder(images)
    detector = load_detector(model, backbone)
    detector.calibrate(records, strict=strict, progress="normal images")
    detector.save(output)
    number = detector.state.facts.num_held_out
    possible = rate * (number + 1) >= 1
    result = {
        "model": str(output),
        "num_held_out": number,
        "num_skipped": len(records) - number,
        "rate": rate,
        "image_threshold": detector.threshold(rate) if possible else None,
    }
    write_json(json, result)
    print(f"{output}: {calibration_text(detector, rate)}")
