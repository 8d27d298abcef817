"""`jaxdpmm evaluate`: mixture and exact memory bank side by side on a labelled data set."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxdpmm.cli.terminal import (
    BackboneOption,
    JsonOption,
    StrictOption,
    check_can_write,
    load_detector,
    size_text,
    skipped_text,
    table,
    write_json,
)

FIGURES = {
    "image_auroc": "image AUROC",
    "image_aupr": "image AUPR",
    "image_f1_max": "image F1-max",
    "image_f1_at_0.1": "image F1 at 10 % FPR",
    "image_f1_at_0.05": "image F1 at 5 % FPR",
    "image_f1_at_0.01": "image F1 at 1 % FPR",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupr": "pixel AUPR",
    "pixel_aupro": "pixel AUPRO (FPR up to 30 %)",
    "pixel_f1_max": "pixel F1-max",
    "pixel_dice_at_0.1": "pixel Dice at 10 % FPR",
    "pixel_dice_at_0.05": "pixel Dice at 5 % FPR",
    "pixel_dice_at_0.01": "pixel Dice at 1 % FPR",
}


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file that `jaxdpmm fit` wrote.")],
    data: Annotated[str, typer.Argument(help='Data set in MVTec AD layout, or "elpv".')],
    backbone: BackboneOption = None,
    strict: StrictOption = False,
    json: JsonOption = None,
) -> None:
    """Compare the model with an exact memory bank of the data set's training images.

    Both see the same features. Times are medians an image, one image at a time, without compilation; the size is
    that of the arrays each must keep.
    """
    from jaxdpmm.detection import stack_patches, stream_patches
    from jaxdpmm.detection.evaluate import labels_of
    from jaxdpmm.images.layouts import open_data_set

    check_can_write(json)
    data_set = open_data_set(data)
    labels_of(data_set.test)  # a data set without labels is no use, and better refused now
    detector = load_detector(model, backbone)
    train, test = (
        stream_patches(
            records,
            detector.config,
            detector.backbone,
            strict=strict,
            batch_size=size,
            progress=f"{name} images",
        )
        for name, records, size in (("training", data_set.train, 8), ("test", data_set.test, 1))
    )
    patches = stack_patches(train, len(data_set.train), progress=True)
    result, scored = compare(detector, patches.features, test)
    num_tested = len(scored["mixture"])
    num_skipped = len(data_set.train) + len(data_set.test) - patches.num_images - num_tested
    result = {
        "model": str(model),
        "data": data_set.name,
        "num_train": patches.num_images,
        "num_test": num_tested,
        "num_skipped": num_skipped,
        **result,
    }
    write_json(json, result)
    print(
        f"{data_set.name}: bank of {patches.num_images} training images, {num_tested} test images"
        f"{skipped_text(num_skipped)}"
    )
    print(comparison_text(result))


def compare(detector, features, test) -> tuple[dict[str, Any], dict[str, list]]:
    """Figures of the mixture and of a memory bank of `features`, and the scored images of both.

    Args:
        detector: the fitted detector.
        features: normal patches, (N, D), for the bank.
        test: `ImagePatches` of labelled images.
    """
    import jax.numpy as jnp

    from jaxdpmm.detection import compile_scorer, num_bytes, score_images
    from jaxdpmm.detection.evaluate import evaluate as evaluate_images
    from jaxdpmm.detection.memory_bank import memory_bank

    rows = jnp.asarray(features)
    scores = {"mixture": detector.score_patches, "bank": compile_scorer(memory_bank(), rows)}
    sizes = {"mixture": num_bytes(detector.model.posterior), "bank": num_bytes(rows)}
    scored: dict[str, list] = {name: [] for name in scores}
    for image in score_images(test, scores, detector.config):
        for name in scores:
            scored[name].append(image[name])
    result = {
        name: {**evaluate_images(images, detector.config.sigma), "model_bytes": sizes[name]}
        for name, images in scored.items()
    }
    result["mixture"]["num_components"] = detector.model.mixture.num_components
    result["bank"]["num_patches"] = len(features)
    return result, scored


def comparison_text(result: dict[str, Any]) -> str:
    """Both methods side by side, a figure a row, with the 95 % interval over images where there is one."""
    header = (
        "",
        f"mixture, {result['mixture']['num_components']} components",
        f"memory bank, {result['bank']['num_patches']:,} patches",
    )
    columns = [result["mixture"], result["bank"]]
    rows = [
        [label, *(_figure_text(column, name) for column in columns)]
        for name, label in FIGURES.items()
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
