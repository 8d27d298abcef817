"""`jaxdpmm score`: a model file and images in; a table of scores, maps and pictures out."""

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxdpmm.cli.ending import keeping
from jaxdpmm.cli.places import check_places, new_file, run_folder, weights_of
from jaxdpmm.cli.terminal import (
    BackboneOption,
    JsonOption,
    ModelArgument,
    StrictOption,
    calibration_text,
    check_rate,
    load_detector,
    skipped_text,
    write_json,
)
from jaxdpmm.storage.files import name_text, with_suffix_added
from jaxdpmm.storage.outputs import RESULT

COLUMNS = ("path", "score", "width", "height", "p_value", "anomalous")


def score(
    model: ModelArgument,
    images: Annotated[Path, typer.Argument(help="Folder of images, one image or one volume.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for scores.csv, maps/ and overlays/."),
    ],
    rate: Annotated[
        float,
        typer.Option(
            "--rate", help="Call an image anomalous at most this often when it is normal."
        ),
    ] = 0.05,
    backbone: BackboneOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Score images: a number, a map and a picture per image.

    Writes scores.csv, with p-values among held-out normal images where the model has some; maps/<image>.npy (float32,
    one number per pixel of the original), overlays/<image>.png, and what `jaxdpmm report` takes; for a volume also
    maps/<volume>.nii.gz, in the geometry of its file.
    """
    check_rate(rate)
    places = [run_folder("--output", output), new_file("--json", json, RESULT)]
    check_places({"MODEL": model, "IMAGES": images}, places, weights=backbone or weights_of(model))
    from jaxdpmm.detection.reporting.runs import RunWriter
    from jaxdpmm.detection.reporting.volume_maps import VolumeMaps
    from jaxdpmm.images.layouts import read_images
    from jaxdpmm.persist import write_whole

    records = read_images(images)
    root = images.parent if images.is_file() else images
    detector = load_detector(model, backbone)
    data = images.resolve().name
    writer = RunWriter(output, detector, model=str(model), data=data, rate=rate)
    maps = VolumeMaps(output / "maps", root)
    rows: list[dict] = []

    def write_tables() -> None:
        done = len(rows)
        maps.finish()
        if done:
            write_whole(output / "scores.csv", _csv(rows[:done]))
            writer.finish(num_images=done)

    with keeping(write_tables):  # also what is done until a signal or an error
        for scored in detector.score(records, strict=strict, progress="images"):
            row = _row(detector, scored, rate)
            name = name_text(scored.record.path.relative_to(root).as_posix())
            maps.add(scored.record, _write_pictures(detector, scored, output, name, writer))
            rows.append(row)
    num_skipped = len(records) - len(rows)
    write_json(json, {"model": str(model), "images": rows, "num_skipped": num_skipped})
    print(f"{output / 'scores.csv'}: {len(rows)} images{skipped_text(num_skipped)}")
    if detector.calibration is not None:
        number = sum(bool(row["anomalous"]) for row in rows)
        print(f"{number} called anomalous; {calibration_text(detector, rate)}")


def _row(detector: Any, scored: Any, rate: float) -> dict:
    height, width = scored.frame.original
    p_value = detector.p_value(scored)
    return {
        "path": name_text(scored.record.path),
        "score": scored.score,
        "width": width,
        "height": height,
        "p_value": p_value,
        "anomalous": None if p_value is None else p_value <= rate,
    }


def _csv(rows: list[dict]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _write_pictures(detector: Any, scored: Any, output: Path, name: str, writer: Any) -> Any:
    """Scores of the pixels, after they and the pictures are written."""
    from jaxdpmm.detection.overlay import Tile, panel
    from jaxdpmm.detection.sheets import png_of
    from jaxdpmm.images.depth import see
    from jaxdpmm.persist import write_whole

    pixels = scored.pixel_scores(detector.config.sigma)
    tile = Tile(
        see(scored.record, detector.config.value_range).pixels,
        pixels,
        f"{name}   score {scored.score:.4g}",
    )
    writer.add(name, scored, tile.image, pixels)
    path = output / "overlays" / with_suffix_added(name, ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png_of(panel(tile, detector.colour_limits)))
    return pixels
