"""`jaxdpmm forget`: a model file and names of training images in, a model file that has never learned from them out."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdpmm.cli.places import check_places, new_file, weights_of
from jaxdpmm.cli.terminal import (
    BackboneOption,
    JsonOption,
    ModelArgument,
    calibration_text,
    load_detector,
    size_text,
    write_json,
)
from jaxdpmm.storage.outputs import MODEL, RESULT


def forget(
    model: ModelArgument,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Training images, or folders of them, by the paths of the fit; they need not be there any more."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write.")],
    backbone: BackboneOption = None,
    json: JsonOption = None,
) -> None:
    """Take training images out of a model that was fitted with --keep-images, exactly, thresholds too.

    What is left is the sum of what all other images have added. MODEL stays as it is: remove it when the images must
    go for good. Not made anew: prior, principal axes and colours of pictures, set by a sample of all patches.
    """
    check_places(
        {"MODEL": model},
        [new_file("--output", output, MODEL), new_file("--json", json, RESULT)],
        weights=backbone or weights_of(model),
    )
    from jaxdpmm.detection.line.updating import forget as forgotten

    before = load_detector(model, backbone)
    after = forgotten(before, images)
    after.save(output)
    numbers = [detector.state.mixture.num_components for detector in (before, after)]
    number = before.state.facts.num_images - after.state.facts.num_images
    result = {
        "model": str(output),
        "num_forgotten": number,
        "num_components": numbers[1],
        "num_dropped_components": numbers[0] - numbers[1],
        **after.state.facts._asdict(),
    }
    write_json(json, result)
    print(
        f"{output}: {size_text(output.stat().st_size)}, {number} images forgotten, "
        f"{after.state.facts.num_images} left in {numbers[1]} of {numbers[0]} components"
    )
    print(calibration_text(after))
