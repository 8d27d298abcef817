"""`jaxdpmm explain`: why an image scores high, patch by patch, beside the training patches most like it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxdpmm.cli.places import check_places, new_file, weights_of
from jaxdpmm.cli.terminal import (
    BackboneOption,
    JsonOption,
    ModelArgument,
    load_detector,
    table,
    write_json,
)
from jaxdpmm.storage.outputs import RESULT

HEADER = (
    "box in pixels",
    "score",
    "p-value",
    "component",
    "its share",
    "distance",
    "usual",
    "like",
)


def explain(
    model: ModelArgument,
    image: Annotated[Path, typer.Argument(help="The image, or a volume.")],
    num_patches: Annotated[int, typer.Option(help="How many of its patches.")] = 5,
    backbone: BackboneOption = None,
    json: JsonOption = None,
) -> None:
    """The most anomalous patches of an image: the nearest component, how far, and what it has learned there.

    "distance" is the Mahalanobis distance to the component, "usual" the median and the 95 % quantile of the training
    patches in it, and "like" the training patch nearest to it (image, row and column of patches). Of a volume
    the slice that scores highest is explained.
    """
    check_places(
        {"MODEL": model, "IMAGE": image},
        [new_file("--json", json, RESULT)],
        weights=backbone or weights_of(model),
    )
    from jaxdpmm.images.layouts import read_images
    from jaxdpmm.images.listing import is_file
    from jaxdpmm.images.records import ImageRecord

    detector = load_detector(model, backbone)
    records = read_images(image) if is_file(image) else (ImageRecord(image),)
    if len(records) > 1:
        records = (max(detector.score(records), key=lambda scored: scored.score).record,)
        print(f"{records[0].path}, the slice that scores highest:")
    found = detector.explain(records[0], num_patches)
    patches = [
        {**one._asdict(), "examples": [example._asdict() for example in one.examples]}
        for one in found
    ]
    write_json(json, {"model": str(model), "image": str(records[0].path), "patches": patches})
    print(table(HEADER, [_cells(one) for one in found]))


def _cells(one: Any) -> list[str]:
    like = ", ".join(f"{Path(e.image).name} {e.row}:{e.column}" for e in one.examples[:1])
    return [
        "({}, {}) to ({}, {})".format(*one.box),
        f"{one.score:.4g}",
        "" if one.p_value is None else f"{one.p_value:.3g}",
        str(one.component),
        f"{one.weight:.2%}",
        f"{one.distance:.1f}",
        f"{one.usual_distance[0]:.1f}, {one.usual_distance[1]:.1f}",
        like,
    ]
