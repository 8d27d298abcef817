"""`jaxdpmm fit`: normal images in, one model file out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdpmm.choices import PRESETS
from jaxdpmm.cli.places import cache_folder, check_places, new_file
from jaxdpmm.cli.products import fit_products
from jaxdpmm.cli.settings import takes_settings
from jaxdpmm.cli.terminal import (
    CacheOption,
    JsonOption,
    StrictOption,
    calibration_text,
    size_text,
    skipped_text,
    write_json,
)
from jaxdpmm.detection.settings import DetectorSettings
from jaxdpmm.storage.outputs import MODEL, RESULT

NUM_ATYPICAL = 3  # of the images that the last line names

if TYPE_CHECKING:  # loads JAX
    from jaxdpmm.detection import Detector


DataArgument = Annotated[
    str,
    typer.Argument(
        help='Folder of normal images or their features, data set in a known layout (MVTec AD, ...), or "elpv".'
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        help=f"Settings in one word: {', '.join(PRESETS)}. Options that are given override them."
    ),
]


AnomaliesOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of anomalous images, or data set with some and their masks, to find others like them as well."
    ),
]
UnlabelledOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of images that may be normal or not, or data set with test images, to find what they add."
    ),
]
ProductsOption = Annotated[
    bool,
    typer.Option(
        "--products",
        help="DATA holds a folder for each of several products; one model learns all, and which an image shows.",
    ),
]


@takes_settings(DetectorSettings)
def fit(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write.")],
    settings: dict[str, Any],
    preset: PresetOption = None,
    products: ProductsOption = False,
    cache: CacheOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
    anomalies: AnomaliesOption = None,
    unlabelled: UnlabelledOption = None,
) -> None:
    """Learn what is normal from a folder of normal images.

    Of a data set in MVTec AD layout the images in train/good are used.
    """
    places = [
        new_file("--output", output, MODEL),
        new_file("--json", json, RESULT),
        cache_folder(cache),
    ]
    backbone = settings.get("backbone", DetectorSettings.backbone)
    given = {"--anomalies": anomalies, "--unlabelled": unlabelled}
    check_places({"DATA": data, **given}, places, weights=backbone)
    from jaxdpmm.detection import Detector, DetectorConfig
    from jaxdpmm.images.layouts import open_anomalies, open_data_set, open_unlabelled

    if Path(backbone).is_dir():  # so that the model is of use from other folders too
        settings["backbone"] = str(Path(backbone).resolve())
    config = DetectorConfig.preset(preset, **settings) if preset else DetectorConfig(**settings)
    options: dict[str, Any] = {"strict": strict, "progress": True, "cache": cache}
    if products:
        _check_none_given(given)
        fit_products(data, output, config, json, options)
        return
    data_set = open_data_set(data)
    train, validation = data_set.train, data_set.validation
    begin = time.perf_counter()
    options["anomalies"] = open_anomalies(anomalies) if anomalies else ()
    options["unlabelled"] = open_unlabelled(unlabelled) if unlabelled else ()
    detector = Detector.fit(train, config, validation=validation, **options)
    detector.save(output)
    seconds = time.perf_counter() - begin
    result = _result(detector, output, len(train) + len(validation), seconds)
    write_json(json, result)
    print(_summary(result))
    print(calibration_text(detector))
    if detector.state.kept is not None:
        print(f"kept for `jaxdpmm forget`: {size_text(result['kept_bytes'])} of the model")
    if result["training_images"]:
        print(_atypical(result))


def _check_none_given(folders: dict[str, Path | None]) -> None:
    """Raise `ValueError` for images beside the normal ones, of which product they are cannot be told."""
    for option, folder in folders.items():
        if folder:
            raise ValueError(
                f"{option} must be left out with --products, got {folder}; fit the product that they are of alone."
            )


def _result(detector: "Detector", output: Path, num_records: int, seconds: float) -> dict:
    from jaxdpmm.detection.line.kept import num_kept_bytes

    facts = detector.state.facts
    others = facts.num_held_out + facts.num_trimmed
    return {
        "model": str(output),
        "model_bytes": output.stat().st_size,
        "num_components": detector.state.mixture.num_components,
        **facts._asdict(),
        "num_skipped": num_records - facts.num_images - others,
        "training_images": [one._asdict() for one in detector.state.training_images],
        "kept_bytes": num_kept_bytes(detector.state.kept or ()),
        "seconds": seconds,
        "config": detector.config.to_dict(),
    }


def _atypical(result: dict) -> str:
    """The training images that are least like the others."""
    shown = result["training_images"][:NUM_ATYPICAL]
    names = ", ".join(
        f"{Path(one['image']).name} ({one['score']:.6g}{'' if one['is_learned'] else ', left out'})"
        for one in shown
    )
    return f"most atypical training images: {names}"


def _apart_text(result: dict) -> str:
    """How compact the components are, where that is known."""
    ratio = result["within_over_between"]
    if ratio is None:
        return ""
    return f", width over distance {ratio:.2f}, {result['contested']:.1%} of the patches between two components"


def _summary(result: dict) -> str:
    bound = result["elbo_per_patch"]
    bound_text = "" if bound is None else f", ELBO {bound:.4f} nats per patch"
    return (
        f"{result['model']}: {size_text(result['model_bytes'])}, {result['num_components']} components"
        f"{' (all there may be; more would be used)' if result['truncation_binds'] else ''} from "
        f"{result['num_patches']:,} patches of {result['num_images']} images"
        f"{skipped_text(result['num_skipped'])}; {result['num_sweeps']} sweeps"
        f"{'' if result['converged'] or bound is None else ', not converged'}{bound_text}"
        f"{_apart_text(result)}; "
        f"{result['seconds']:.1f} s"
    )
