"""Which layers, and joined how: one block, the mean of several, or all of them concatenated, on the same images.

The features of all blocks that are named are extracted once; every row takes its blocks from these. The mixture is that
of the preset "fast", thresholds come from a tenth of the training images.

    python benchmarks/layers.py --data path/to/tiles --layer 4 --layer 6 --layer 8 --json layers.json

Every row is written to `--json` when it is known. Read `quality.py` first, whose figures these are.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import write_report
from mixtures import of_mixture
from options import parser_of
from quality import Images, figures, queries_of

from jaxdpmm.detection import DetectorConfig, ImagePatches
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.calibration import learned_and_held_out
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.training import training_patches
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set

SHOWN = ("image_auroc", "pixel_auroc", "pixel_aupr", "pixel_aupro")


def main() -> None:
    """Print a row per choice of layers as it is known; write `--json`."""
    options = _options()
    layers = tuple(options.layer)
    config = DetectorConfig.preset(
        "fast", backbone=options.backbone, layers=layers, short_side=options.short_side
    )
    backbone = load_backbone(options.backbone)
    records: list[dict[str, Any]] = []
    for data in options.data:
        for found in measure(data, config, backbone, options.cache):
            records.append(found)
            numbers = (found[name] for name in SHOWN)
            text = "  ".join(
                "     " if value is None else f"{100 * value:5.1f}" for value in numbers
            )
            print(
                f"{found['data']:20} {found['layers']!s:18} {found['join']:12} {text}", flush=True
            )
            if options.json:
                write_report(options.json, records)


def measure(
    data: str, config: DetectorConfig, backbone: Any, cache: pathlib.Path
) -> Iterator[dict[str, Any]]:
    """A record for each single block, and for all together in either way."""
    layers = config.layers or ()
    data_set = open_data_set(data)
    learned, held_out = learned_and_held_out(
        data_set.train, data_set.validation, config.held_out, config.seed
    )
    features = np.asarray(training_patches(learned, config, backbone, cache=cache).features)
    images = [
        list(cached_patches(part, config, backbone, cache)) for part in (held_out, data_set.test)
    ]
    choices = [((layer,), "concatenate") for layer in layers]
    for chosen, join in [*choices, (layers, "concatenate"), (layers, "mean")]:
        places = [layers.index(layer) for layer in chosen]
        parts = Images(*([joined_image(one, places, layers, join) for one in of] for of in images))
        rows = joined(features, places, layers, join)
        settings = dataclasses.replace(config, layers=chosen, join=join)
        peer = of_mixture(fit_mixture(rows, settings), config.score, settings, queries_of(parts))
        row = {"data": data_set.name, "layers": chosen, "join": join, "num_features": rows.shape[1]}
        yield row | figures(peer, parts, settings)


def joined(features: np.ndarray, places: list[int], layers: tuple, join: str) -> np.ndarray:
    """Some of the layers of features in which all are concatenated, (..., D) each, as `PatchExtractor` joins them."""
    each = np.split(features, len(layers), axis=-1)
    chosen = [each[place] for place in places]
    return np.mean(chosen, axis=0) if join == "mean" else np.concatenate(chosen, axis=-1)


def joined_image(image: ImagePatches, places: list[int], layers: tuple, join: str) -> ImagePatches:
    """The same of an image."""
    return image._replace(features=joined(image.features, places, layers, join))


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "backbone", "short-side", "cache", several=True)
    parser.add_argument("--layer", type=int, action="append", required=True, help="repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    main()
