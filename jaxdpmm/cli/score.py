"""`jaxdpmm score`: a model file and images in; a table of scores, maps and pictures out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxdpmm.cli.ending import keeping
from jaxdpmm.cli.places import (
    check_places,
    holds_products,
    maps_folder,
    new_file,
    run_folder,
    weights_of,
)
from jaxdpmm.cli.products import load_any, products_text, scored_rows
from jaxdpmm.cli.terminal import (
    BackboneOption,
    JsonOption,
    ModelArgument,
    StrictOption,
    calibration_text,
    check_rate,
    skipped_text,
    write_json,
)
from jaxdpmm.storage.files import name_text, with_suffix_added
from jaxdpmm.storage.outputs import RESULT

LARGEST_ACROSS = 1000


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
    across: Annotated[
        float,
        typer.Option(
            "--across", help="Smoothing of maps of volumes across slices, in millimetres."
        ),
    ] = 0.0,
    submission: Annotated[
        Path | None,
        typer.Option(
            help="Folder for maps as the server of MVTec AD 2 takes them; IMAGES is <object>/test_private or the like."
        ),
    ] = None,
    backbone: BackboneOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Score images: a number, a map and a picture per image.

    Writes scores.csv, with p-values among held-out normal images where the model has some; maps/<image>.npy
    (float32, one number per pixel of the original), overlays/<image>.png, and what `jaxdpmm report` takes. For
    volumes also maps/<volume>.nii.gz, in the geometry of the file, volumes.csv, slices.csv, the profile of each
    along its slices, and lesions.csv: connected voxels above the threshold of pixels, with place in mm, size in ml
    and p-value. With a model of several products scores.csv says which each image shows, or that it is none of
    these.
    """
    check_rate(rate)
    _check_across(across)
    places = [run_folder("--output", output), new_file("--json", json, RESULT)]
    places += [maps_folder("--submission", submission)]
    check_places({"MODEL": model, "IMAGES": images}, places, weights=backbone or weights_of(model))
    from jaxdpmm.images.layouts import read_images

    records = read_images(images)
    detector = load_any(model, backbone)
    folder = _Folder(detector, model, images, output, rate, across, submission)
    with keeping(folder.finish):  # also what is done until a signal or an error
        for scored, more in scored_rows(detector, records, rate, strict):
            folder.add(scored, more)
    rows = folder.rows
    num_skipped = len(records) - len(rows)
    result = {"model": str(model), "images": rows, "num_skipped": num_skipped}
    write_json(json, result | folder.maps.tables())
    print(f"{output / 'scores.csv'}: {len(rows)} images{skipped_text(num_skipped)}")
    _tell(detector, rows, rate, holds_products(model))


class _Folder:
    """What is written: maps and pictures image by image, tables at the end."""

    def __init__(
        self,
        detector: Any,
        model: Path,
        images: Path,
        output: Path,
        rate: float,
        across: float,
        submission: Path | None,
    ):
        from jaxdpmm.detection.reporting.runs import RunWriter
        from jaxdpmm.detection.reporting.volume_maps import VolumeMaps
        from jaxdpmm.images.listing import is_file

        self.detector, self.output = detector, output
        self.root = images.parent if is_file(images) else images
        data = images.resolve().name
        self.writer = RunWriter(output, detector, model=str(model), data=data, rate=rate)
        survival = detector.calibration and detector.calibration.pixel
        threshold = _threshold(detector, rate)
        self.maps = VolumeMaps(output / "maps", self.root, threshold, survival, across)
        self.server = _server(detector, submission, images, rate)
        self.rows: list[dict] = []

    def add(self, scored: Any, more: dict[str, Any]) -> None:
        """Write the map and the picture of an image, and keep its row of the table."""
        name = name_text(scored.record.path.relative_to(self.root).as_posix())
        pixels = _write_pictures(self.detector, scored, self.output, name, self.writer)
        self.maps.add(scored.record, pixels, scored.score, more["p_value"])
        if self.server is not None:
            self.server.add(scored.record.path, pixels)
        self.rows.append(_row(scored) | more)

    def finish(self) -> None:
        """Write the tables of all images so far; none where there are none."""
        from jaxdpmm.detection.reporting.lesions import table_bytes
        from jaxdpmm.persist import write_whole

        done = len(self.rows)
        self.maps.finish()
        if done:
            write_whole(
                self.output / "scores.csv", table_bytes(list(self.rows[0]), self.rows[:done])
            )
            self.maps.write_tables(self.output)
            self.writer.finish(num_images=done)


def _tell(detector: Any, rows: list[dict], rate: float, of_products: bool) -> None:
    """Print what is true of all images together."""
    if of_products and rows:
        print(products_text(rows))
    elif detector.calibration is not None:
        number = sum(bool(row["anomalous"]) for row in rows)
        print(f"{number} called anomalous; {calibration_text(detector, rate)}")


def _row(scored: Any) -> dict[str, Any]:
    height, width = scored.frame.original
    return {
        "path": name_text(scored.record.path),
        "score": scored.score,
        "width": width,
        "height": height,
    }


def _server(detector: Any, folder: Path | None, images: Path, rate: float) -> Any:
    """What writes maps for the server of MVTec AD 2; None where they were not asked for."""
    from jaxdpmm.detection.reporting.submission import Submission, check_tifffile

    if folder is None:
        return None
    check_tifffile()
    if not images.is_dir():
        raise ValueError(
            f"IMAGES must be the folder of a split with --submission, got a file, {images}; give the folder."
        )
    return Submission(folder, images, detector.colour_limits, _threshold(detector, rate))


def _check_across(across: float) -> None:
    if not 0 <= across <= LARGEST_ACROSS:
        raise ValueError(
            f"--across must be from 0 to {LARGEST_ACROSS} mm, got {across:g}; 0, the default, is no smoothing."
        )


def _threshold(detector: Any, rate: float) -> float | None:
    """Score from which on a pixel is anomalous; None where there are too few normal images to tell."""
    found = detector.calibration
    if found is None or rate * (found.pixel.num_images + 1) < 1:
        return None
    return detector.threshold(rate, of="pixel")


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
