"""`jaxdpmm drift`: a model file and images in; whether they are still what was learned, and what has changed, out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxdpmm.cli.places import check_places, new_file, weights_of
from jaxdpmm.cli.terminal import (
    BackboneOption,
    JsonOption,
    ModelArgument,
    StrictOption,
    check_rate,
    load_detector,
    table,
    write_json,
)
from jaxdpmm.storage.outputs import PICTURE, RESULT

NUM_SHOWN = 5


def drift(
    model: ModelArgument,
    images: Annotated[Path, typer.Argument(help="Folder of the images that come in.")],
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Folder of normal images it has not learned from. Default: those that --keep-images keeps."
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", help="How often to call a drift where there is none.")
    ] = 0.05,
    picture: Annotated[
        Path | None,
        typer.Option(help="Picture to write of which components grow and which empty."),
    ] = None,
    backbone: BackboneOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Tell whether what comes in is still what was learned, by scores and by which components patches go to.

    Random assignments of the images to reference and new ones tell how large a difference is by chance, so that the
    rate holds. Images of one patient or one part count as one: give one of each.
    """
    check_rate(rate)
    check_places(
        {"MODEL": model, "IMAGES": images, "--reference": reference},
        [new_file("--json", json, RESULT), new_file("--picture", picture, PICTURE)],
        weights=backbone or weights_of(model),
    )
    from jaxdpmm.detection.line.drift import drift as compared
    from jaxdpmm.images.layouts import read_images, read_normal_folder

    records = read_images(images)
    others = () if reference is None else read_normal_folder(reference)
    detector = load_detector(model, backbone)
    found = compared(detector, records, others, rate=rate, strict=strict, progress=True)
    shifts = [one._asdict() for one in found.shifts]
    result = {"model": str(model), "is_drift": found.is_drift, **found._asdict(), "shifts": shifts}
    write_json(json, result)
    if picture is not None:
        _draw(found, picture)
    verdict = "drift" if found.is_drift else "no drift"
    print(
        f"{verdict} at a false alarm rate of {rate:.0%}: p-value {found.p_value:.3g} (scores {found.p_scores:.3g}, "
        f"components {found.p_components:.3g}), {found.num_new} images against {found.num_reference}"
    )
    print(_table(found))


def _table(found: Any) -> str:
    """The components that have changed most."""
    header = ("component", "share before", "share now", "deviations", "")
    rows = [
        [
            str(one.component),
            f"{one.reference:.2%}",
            f"{one.new:.2%}",
            f"{one.deviations:+.1f}",
            ("grows" if one.deviations > 0 else "empties") if one.stands_out else "",
        ]
        for one in found.shifts[:NUM_SHOWN]
    ]
    return table(header, rows)


def _draw(found: Any, path: Path) -> None:
    import io

    from matplotlib.figure import Figure

    from jaxdpmm.persist import write_whole
    from jaxdpmm.pictures import draw_drift
    from jaxdpmm.storage.outputs import MARK

    figure = Figure(figsize=(6, 6), layout="constrained")
    draw_drift(figure.add_subplot(), found)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": MARK})
    write_whole(path, content.getvalue())
