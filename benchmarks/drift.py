"""How often the drift test raises an alarm: where nothing has changed, and where one kind of patch has grown.

Each draw makes images of patches of five kinds about centres of their own, each image with its own light and its own
mixture of kinds, fits a detector that keeps its images to some of them, and compares others with these. Nothing is
shared between draws, so that the rate is that of the whole way: fit, images left out, test.

    python benchmarks/drift.py --draws 1000 --json drift.json

What is in `--json` already is gone on with, by at most `--most` draws.
"""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from harness import write_report
from options import parser_of

from jaxdpmm.detection import DetectorConfig, ImagePatches, TrainingPatches
from jaxdpmm.detection.learning import learn
from jaxdpmm.detection.line.drift import compare_looks, looks_beside_kept, looks_of_kept
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord

FRAME = frame_of((56, 56), Preprocessing(56, 14))  # four rows of four patches
NUM_KINDS, NUM_FEATURES = 5, 4
NUM_LEARNED, NUM_NEW = 20, 10
RATES = (0.1, 0.05, 0.01)
CONFIG = DetectorConfig(
    whiten=False, num_components=8, score="predictive", keep_images=True, thresholds="leave_one_out"
)
GROWN = (
    3.0,
    1.0,
    1.0,
    1.0,
    1.0,
)  # of the kinds of patches in images that have drifted, beside 1 for each


def main() -> None:
    """Print and write how often there was an alarm at each rate."""
    options = _options()
    known = _known(options.json)
    last = min(options.draws, len(known) + options.most)
    new = [draw(np.random.default_rng([0, number])) for number in range(len(known), last)]
    p_values = np.array([*known, *new])
    records = []
    for name, column in (("same", p_values[:, 0]), ("grown", p_values[:, 1])):
        for rate in RATES:
            share = float(np.mean(column <= rate))
            spread = float(np.sqrt(rate * (1 - rate) / last))
            records.append(
                {
                    "images": name,
                    "rate": rate,
                    "alarms": share,
                    "highest_expected": rate + 1.96 * spread,
                    "num_draws": last,
                    "num_reference": NUM_LEARNED,
                    "num_new": NUM_NEW,
                }
            )
            print(name, rate, share)
    if options.json:
        write_report(
            options.json, records, config=CONFIG.to_dict(), p_values=np.round(p_values, 4).tolist()
        )


def _known(path: pathlib.Path | None) -> list[list[float]]:
    """P-values of the draws of an earlier run."""
    return json.loads(path.read_text())["p_values"] if path and path.exists() else []


def draw(random: np.random.Generator) -> tuple[float, float]:
    """P-values of images like those that were learned from, and of images in which one kind of patch has grown."""
    centres = 10 * random.normal(size=(NUM_KINDS, NUM_FEATURES))
    same, grown = np.ones(NUM_KINDS), np.array(GROWN)
    images = [image(random, centres, same) for _ in range(NUM_LEARNED)]
    sources = tuple((f"{number}.png", FRAME.grid) for number in range(NUM_LEARNED))
    patches = TrainingPatches(np.concatenate(images), NUM_LEARNED, sources, (FRAME,) * NUM_LEARNED)
    state = learn(patches, dataclasses.replace(CONFIG, seed=int(random.integers(2**31)))).state
    reference = looks_of_kept(state, state.kept or ())

    def p_value(weights: np.ndarray) -> float:
        new = [of_features(image(random, centres, weights)) for _ in range(NUM_NEW)]
        looks = looks_beside_kept(state, CONFIG, new)
        return compare_looks(reference, looks, seed=int(random.integers(2**31))).p_value

    return p_value(same), p_value(grown)


def image(random: np.random.Generator, centres: np.ndarray, weights: np.ndarray) -> Any:
    """Features of the patches of one image."""
    kinds = random.choice(NUM_KINDS, FRAME.grid[0] * FRAME.grid[1], p=random.dirichlet(3 * weights))
    light = 0.3 * random.normal(size=(1, NUM_FEATURES))
    features = centres[kinds] + random.normal(size=(len(kinds), NUM_FEATURES)) + light
    return features.astype(np.float32)


def of_features(features: np.ndarray) -> ImagePatches:
    """Patches of an image as they come from a backbone."""
    return ImagePatches(
        ImageRecord(pathlib.Path("new.png")), FRAME, features.reshape(*FRAME.grid, -1), 0.0
    )


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--most", type=int, default=10**6, help="draws of this run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
