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

HEADER = (
    "",
    "image AUROC",
    "image AUPR",
    "pixel AUROC",
    "pixel AUPR",
    "size",
    "backbone ms",
    "scoring ms",
)


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
    """The two rows of figures as a table."""
    names = {
        "mixture": f"mixture, {result['mixture']['num_components']} components",
        "bank": f"memory bank, {result['bank']['num_patches']:,} patches",
    }
    rows = [[label, *_cells(result[name])] for name, label in names.items()]
    return table(HEADER, rows)


def _cells(figures: dict[str, Any]) -> list[str]:
    areas = [figures[f"{of}_{kind}"] for of in ("image", "pixel") for kind in ("auroc", "aupr")]
    texts = ["no masks" if area is None else f"{area:.4f}" for area in areas]
    times = [f"{figures['backbone_ms']:.1f}", f"{figures['scoring_ms']:.1f}"]
    return [*texts, size_text(figures["model_bytes"]), *times]
