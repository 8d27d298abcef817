"""`jaxdpmm update`: a model file and new normal images in, a newer model file out; the old images are not needed."""

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
    load_detector,
    size_text,
    skipped_text,
    write_json,
)
from jaxdpmm.storage.outputs import MODEL, RESULT


def update(
    model: ModelArgument,
    images: Annotated[
        Path, typer.Argument(help="Folder of new normal images, or one image, to learn from.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write.")],
    backbone: BackboneOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Learn from more normal images, without those that the model has learned from before.

    Patches that no component stands for get components of their own, where the model started for coverage. Thresholds
    then hold the new images too, each left out in turn. MODEL stays as it is.
    """
    check_places(
        {"MODEL": model, "IMAGES": images},
        [new_file("--output", output, MODEL), new_file("--json", json, RESULT)],
        weights=backbone or weights_of(model),
    )
    from jaxdpmm.detection.line.updating import update as updated
    from jaxdpmm.images.layouts import read_images, read_normal_folder
    from jaxdpmm.images.listing import is_file

    records = read_images(images) if is_file(images) else read_normal_folder(images)
    before = load_detector(model, backbone)
    after = updated(before, records, strict=strict, progress=True)
    after.save(output)
    facts = after.state.facts
    numbers = [detector.state.mixture.num_components for detector in (before, after)]
    num_new = facts.num_images - before.state.facts.num_images
    result = {
        "model": str(output),
        "num_new_images": num_new,
        "num_skipped": len(records) - num_new,
        "num_new_components": numbers[1] - numbers[0],
        "num_components": numbers[1],
        **facts._asdict(),
    }
    write_json(json, result)
    print(
        f"{output}: {size_text(output.stat().st_size)}, {num_new} new images"
        f"{skipped_text(result['num_skipped'])}, {numbers[1] - numbers[0]} new components beside {numbers[0]}"
    )
    print(calibration_text(after))
