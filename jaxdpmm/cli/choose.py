"""`jaxdpmm choose`: settings for a folder of normal images, without a single anomaly."""

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdpmm.cli.ending import keeping
from jaxdpmm.cli.fit import DataArgument
from jaxdpmm.cli.places import cache_folder, check_places, new_file
from jaxdpmm.cli.settings import options_of, takes_settings
from jaxdpmm.cli.terminal import (
    CacheOption,
    JsonOption,
    StrictOption,
    calibration_text,
    size_text,
    table,
    write_json,
)
from jaxdpmm.detection.settings import DetectorSettings
from jaxdpmm.storage.outputs import MODEL, PICTURE, RESULT

NUM_SHOWN = 8  # rows of the table

if TYPE_CHECKING:  # loads JAX
    from jaxdpmm.detection import DetectorConfig
    from jaxdpmm.detection.choosing.choose import Choice
    from jaxdpmm.detection.choosing.trials import Material, Trial
    from jaxdpmm.features import Backbone
    from jaxdpmm.images.records import ImageRecord


@takes_settings(DetectorSettings)
def choose(
    data: DataArgument,
    settings: dict[str, Any],
    fit: Annotated[
        Path | None, typer.Option("--fit", help="Also fit the chosen setting: the model to write.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw figures over costs: the picture to write.")
    ] = None,
    cache: CacheOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Choose settings by synthetic anomalies of normal images, and say which command fits them.

    Parts of normal images, turned, moved and recoloured, are laid over others, and settings are tried that find them.
    Options that are given stay as they are. The others are left for what is clearly better only.
    """
    places = [
        new_file("--fit", fit, MODEL),
        new_file("--picture", picture, PICTURE),
        new_file("--json", json, RESULT),
        cache_folder(cache),
    ]
    backbone = settings.get("backbone", DetectorSettings.backbone)
    check_places({"DATA": data}, places, weights=backbone)
    from tqdm import tqdm

    from jaxdpmm.detection import Detector
    from jaxdpmm.detection.choosing.choose import prepare, settings_to_try
    from jaxdpmm.detection.choosing.trials import trials
    from jaxdpmm.images.layouts import open_data_set

    begin = time.perf_counter()
    data_set = open_data_set(data)
    config, weights = _started(data_set.train, settings)
    configs = settings_to_try(config, given=settings)
    options: dict[str, Any] = {"strict": strict, "progress": True, "cache": cache}
    material = prepare(data_set.train, config, configs, weights, **options)
    used = _used(material, len(data_set.train))
    tried: list[Trial] = []
    draw = _picture_writer(picture)

    def write_tried() -> None:
        if done := tuple(tried):
            write_json(json, _result(config, done, used, time.perf_counter() - begin))
            draw(done)

    with keeping(write_tried):  # also what is done until a signal or an error
        for trial in tqdm(trials(material, configs), "settings", total=len(configs)):
            tried.append(trial)
    choice = _tell(data, settings, config, tried, used)
    if fit is not None:
        options |= {"validation": data_set.validation, "backbone": weights}
        detector = Detector.fit(data_set.train, choice.chosen.config, **options)
        detector.save(fit)
        print(f"{fit}: {calibration_text(detector)}")


def _started(
    records: "Sequence[ImageRecord]", settings: dict[str, Any]
) -> "tuple[DetectorConfig, Backbone]":
    """The settings that one starts from, and their backbone; `settings` then hold what the images need as well."""
    from jaxdpmm.detection import DetectorConfig
    from jaxdpmm.detection.backbones import backbone_for
    from jaxdpmm.images.depth import value_range_of

    backbone = Path(settings.get("backbone", DetectorSettings.backbone))
    if backbone.is_dir():  # so that the command is of use from other folders too
        settings["backbone"] = str(backbone.resolve())
    config = DetectorConfig(**settings)
    if config.value_range is None and (found := value_range_of(records)):
        settings["value_range"] = found
        config = DetectorConfig(**settings)
    weights = backbone_for(records, config)
    return config.resolved(weights), weights


def _tell(
    data: str,
    settings: dict[str, Any],
    start: "DetectorConfig",
    tried: Sequence["Trial"],
    used: str,
) -> "Choice":
    """Print what was tried, what is chosen and why, and the command that fits it."""
    from jaxdpmm.detection.choosing.choose import decide

    choice = decide(tried)
    changes = _changes(choice.chosen.config, start)
    words = options_of(DetectorSettings, settings | changes)
    print(used)
    print(_table(start, tried, choice))
    print(f"chosen: {_name(choice.chosen.config, start)}. {choice.reason}")
    print(shlex.join(["jaxdpmm", "fit", data, *words, "--output", "model.jaxdpmm"]))
    return choice


def _changes(config: "DetectorConfig", start: "DetectorConfig") -> dict[str, Any]:
    """The settings that differ from those that one starts from."""
    new, old = config.to_dict(), start.to_dict()
    return {name: value for name, value in new.items() if value != old[name]}


def _name(config: "DetectorConfig", start: "DetectorConfig") -> str:
    words = options_of(DetectorSettings, _changes(config, start))
    return " ".join(words) or "the settings as they are"


def _used(material: "Material", num_images: int) -> str:
    number = len(material.learned) // material.rotations
    return (
        f"learned from {number} of {num_images} normal images, judged by {len(material.held_out)} others and "
        f"{len(material.synthetic)} synthetic anomalies of these"
    )


def _table(start: "DetectorConfig", tried: Sequence["Trial"], choice: "Choice") -> str:
    """The best trials, the chosen one and that of the settings as they are."""
    from jaxdpmm.detection.choosing.trials import FIGURE
    from jaxdpmm.detection.evaluate import LABELS

    order = sorted(range(len(tried)), key=lambda place: -tried[place].figures[FIGURE])
    shown = [
        place
        for rank, place in enumerate(order)
        if rank < NUM_SHOWN or tried[place] in (choice.chosen, choice.usual)
    ]
    rows = [
        [
            _name(trial.config, start) + " *" * (trial is choice.chosen),
            f"{trial.figures[FIGURE]:.3f}",
            f"{choice.errors[place]:.3f}",
            f"{trial.milliseconds:.1f}",
            size_text(trial.num_bytes),
        ]
        for place in shown
        for trial in [tried[place]]
    ]
    return table(("", f"synthetic {LABELS[FIGURE]}", "error", "scoring ms", "size"), rows)


def _result(
    start: "DetectorConfig", tried: Sequence["Trial"], used: str, seconds: float
) -> dict[str, Any]:
    from jaxdpmm.detection.choosing.choose import decide

    choice = decide(tried)
    return {
        "used": used,
        "seconds": seconds,
        "chosen": _changes(choice.chosen.config, start),
        "reason": choice.reason,
        "trials": [
            {
                "settings": _changes(trial.config, start),
                **trial.figures,
                "recipes": trial.recipes,
                "error": error,
                "scoring_ms": trial.milliseconds,
                "model_bytes": trial.num_bytes,
                "num_components": trial.num_components,
                "within_over_between": trial.facts.within_over_between,
            }
            for trial, error in zip(tried, choice.errors, strict=True)
        ],
        "config": start.to_dict(),
    }


def _picture_writer(path: Path | None) -> Callable[[Sequence["Trial"]], None]:
    """Writes the picture of some trials, if it was asked for; imports come first, since a signal leaves no time."""
    import io

    from matplotlib.backends import backend_agg  # noqa: F401, which savefig would import
    from matplotlib.figure import Figure

    from jaxdpmm.detection.choosing.choose import decide
    from jaxdpmm.persist import write_whole
    from jaxdpmm.pictures import draw_trials
    from jaxdpmm.storage.outputs import MARK

    def write(tried: Sequence["Trial"]) -> None:
        if path is None:
            return
        figure = Figure(figsize=(8, 5), layout="constrained")
        draw_trials(figure.add_subplot(), tried, decide(tried))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120, metadata={"Software": MARK})
        write_whole(path, buffer.getvalue())

    return write
