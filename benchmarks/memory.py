"""Peak memory of learning and of scoring against the number of training images: mixture and memory banks.

Every measurement is a process of its own, whose features lie on disk as a feature store, as after an extraction that
was larger than memory. The peak is that of the whole process less what it took to start, and on an accelerator also
what its allocator reports. The mixture streams the store; the banks must hold it.

    python benchmarks/memory.py --json memory.json
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from harness import peak_memory_bytes, write_report
from options import parser_of

DIM, NUM_PATCHES = 384, 1024
IMAGES = (50, 100, 200, 400, 800)
METHODS = ("mixture", "bank", "coreset")
NUM_COMPONENTS, NUM_EPOCHS = 100, 3


def main() -> None:
    """Print the table, write `--json`."""
    options = _options()
    if options.child:
        print(json.dumps(measure(options.child[0], pathlib.Path(options.child[1]))))
        return
    print(
        f"{'method':<10} {'images':>7} {'fit MB':>9} {'score MB':>9} {'model MB':>9} {'fit s':>8}"
    )
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for num_images in options.images or IMAGES:
            store = write_store(pathlib.Path(folder) / str(num_images), num_images)
            for method in options.method or METHODS:
                command = [sys.executable, __file__, "--child", method, str(store)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = {"method": method, "num_images": num_images, **json.loads(done.stdout)}
                records.append(found)
                print(_row(found), flush=True)
    if options.json:
        write_report(options.json, records)


def write_store(path: pathlib.Path, num_images: int) -> pathlib.Path:
    """Unit-norm features of images near 200 centres, image by image."""
    from jaxdpmm.features.store_writer import FeatureWriter

    random = np.random.default_rng(0)
    centres = random.standard_normal((200, DIM), np.float32)
    with FeatureWriter(path) as writer:
        for number in range(num_images):
            noise = 0.5 * random.standard_normal((NUM_PATCHES, DIM), np.float32)
            rows = centres[random.integers(200, size=NUM_PATCHES)] + noise
            writer.append(rows / np.linalg.norm(rows, axis=1, keepdims=True), str(number))
    return path


def measure(method: str, store: pathlib.Path) -> dict[str, float]:
    """In a process of its own: learn from a store, then score one image."""
    import jax

    from jaxdpmm.detection import DetectorConfig
    from jaxdpmm.detection.methods import METHODS as LEARNERS
    from jaxdpmm.features.store import FeatureStore

    config = DetectorConfig(
        start="k-means",
        covariance="diagonal",
        num_components=NUM_COMPONENTS,
        num_epochs=NUM_EPOCHS,
        tolerance=1e-9,
    )
    features = FeatureStore(store)
    image = features[:NUM_PATCHES].reshape(32, 32, DIM)
    jax.block_until_ready(jax.numpy.ones(8) + 1)  # whatever JAX takes to begin with
    before = peak_memory_bytes()
    begin = time.perf_counter()
    learned = features if method == "mixture" else np.asarray(features)
    fitted = LEARNERS[method](learned, config)
    seconds, after_fit = time.perf_counter() - begin, peak_memory_bytes()
    fitted.score_patches(image)
    device = jax.devices()[0].memory_stats() or {}
    return {
        "fit_bytes": after_fit - before,
        "score_bytes": peak_memory_bytes() - before,
        "start_bytes": before,
        "model_bytes": fitted.num_bytes,
        "device_bytes": device.get("peak_bytes_in_use", 0),
        "fit_seconds": seconds,
    }


def _row(found: dict) -> str:
    sizes = " ".join(
        f"{found[name] / 1e6:9.1f}" for name in ("fit_bytes", "score_bytes", "model_bytes")
    )
    return f"{found['method']:<10} {found['num_images']:>7} {sizes} {found['fit_seconds']:8.1f}"


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, action="append", help="repeatable")
    parser.add_argument("--method", action="append", choices=METHODS, help="repeatable")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
