"""`jaxdpmm evaluate`: mixture, exact memory bank and others side by side on a labelled data set."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxdpmm.cli.places import (
    cache_folder,
    check_places,
    holds_products,
    new_file,
    run_folder,
    weights_of,
)
from jaxdpmm.cli.products import evaluate_products
from jaxdpmm.cli.terminal import (
    BackboneOption,
    CacheOption,
    JsonOption,
    ModelArgument,
    StrictOption,
    load_detector,
    size_text,
    skipped_text,
    table,
    write_json,
)
from jaxdpmm.storage.outputs import RESULT


def evaluate(
    model: ModelArgument,
    data: Annotated[
        str,
        typer.Argument(help='Data set in the layout of MVTec AD, VisA, BTAD or BMAD, or "elpv".'),
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="bank, coreset, k-means, finite, faiss or mixture (anew); repeat for several."
        ),
    ] = None,
    backbone: BackboneOption = None,
    strict: StrictOption = False,
    cache: CacheOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for a run that `jaxdpmm report` takes."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Compare the model with other methods on the data set's training images, by default an exact memory bank.

    With a model of several products DATA is a folder of them, and what is told is how well each is checked and which
    are taken for which. All methods see the same features. Times are medians per image, one image at a time, without
    compilation; the size is that of the arrays each must keep.
    """
    places = [run_folder("--output", output), cache_folder(cache), new_file("--json", json, RESULT)]
    check_places({"MODEL": model, "DATA": data}, places, weights=backbone or weights_of(model))
    if holds_products(model):
        if method:
            raise ValueError(
                f"--method must be left out with a model of several products, got {method[0]}; fit one product alone "
                "to compare methods."
            )
        evaluate_products(model, data, backbone, strict, json, output)
        return
    from jaxdpmm.detection.evaluate import labels_of
    from jaxdpmm.detection.methods import check_methods
    from jaxdpmm.detection.reporting.runs import write_run
    from jaxdpmm.images.layouts import open_data_set
    from jaxdpmm.images.mask_checks import check_masks

    methods = tuple(dict.fromkeys(method or ["bank"]))
    check_methods(methods)
    data_set = open_data_set(data)
    labels_of(data_set.test)  # a data set without labels is no use, and better refused now
    check_masks(data_set.test)
    detector = load_detector(model, backbone)
    result, images = _compare_on(data_set, detector, methods, strict, cache, output is not None)
    result = {"model": str(model), "data": data_set.name, **result}
    write_json(json, result)
    if output is not None:
        write_run(output, detector, images, model=str(model), data=data_set.name, figures=result)
    print(
        f"{data_set.name}: {', '.join(methods)} of {result['num_train']} training images, "
        f"{result['num_test']} test images{skipped_text(result['num_skipped'])}"
    )
    print(comparison_text(result))


def _compare_on(
    data_set: Any, detector: Any, methods: Any, strict: Any, cache: Any, components: bool
) -> tuple[dict[str, Any], list]:
    """`compare` on a data set, with how many images took part; and the images as the mixture scores them."""
    from jaxdpmm.detection import stream_patches
    from jaxdpmm.detection.comparison import compare
    from jaxdpmm.detection.training import chosen_records, training_patches

    config, weights = detector.config, detector.backbone
    # Without validation images those that the model has kept for its thresholds, if it is of this data set
    learned, held_out = chosen_records(data_set.train, data_set.validation, config)
    patches = training_patches(learned, config, weights, strict, progress=True, cache=cache)
    normal, test = (
        stream_patches(
            records, config, weights, strict=strict, batch_size=size, progress=f"{name} images"
        )
        for name, records, size in (("held-out", held_out, 8), ("test", data_set.test, 1))
    )
    result, scored = compare(
        detector, patches.features, test, normal if held_out else (), methods, components
    )
    num_train, num_test = patches.num_images // config.rotations, len(scored["mixture"])
    num_records = len(learned) + len(held_out) + len(data_set.test)
    num_skipped = num_records - num_train - result["num_held_out"] - num_test
    counts = {"num_train": num_train, "num_test": num_test, "num_skipped": num_skipped}
    return counts | result, scored["mixture"]


def comparison_text(result: dict[str, Any]) -> str:
    """All methods side by side, a figure a row, with the 95 % interval over images where there is one."""
    from jaxdpmm.detection.evaluate import LABELS
    from jaxdpmm.detection.methods import NAMES

    methods = [name for name in NAMES if name in result]
    header = ("", *(NAMES[name].format(result[name]["num_rows"]) for name in methods))
    columns = [result[name] for name in methods]
    rows = [
        [label, *(_figure_text(column, name) for column in columns)]
        for name, label in LABELS.items()
        if any(column.get(name) is not None for column in columns)
    ]
    rows.append(["size", *(size_text(column["model_bytes"]) for column in columns)])
    for name in ("backbone_ms", "scoring_ms"):
        rows.append([name.replace("_", " "), *(f"{column[name]:.1f}" for column in columns)])
    return table(header, rows)


def _figure_text(figures: dict[str, Any], name: str) -> str:
    value = figures[name]
    if value is None:
        return ""
    if name not in figures["intervals"]:
        return f"{value:.4f}"
    low, high = figures["intervals"][name]
    return f"{value:.4f} [{low:.3f}, {high:.3f}]"
