"""Features of another backbone: any function from images to patch vectors, saved, fitted and evaluated.

    python examples/other_features.py IMAGES FEATURES

IMAGES is a data set in MVTec AD layout. Its features are written to the folder FEATURES in the same layout, one `.npz`
for each image, with the facts of all in `features.json`. Put your own network in place of `features_of`. All commands
take such a folder as they take images: `jaxdpmm fit FEATURES -o MODEL`, `jaxdpmm evaluate MODEL FEATURES`.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.images.reading import load_image

PATCH, NUM_ORIENTATIONS = 16, 8


def features_of(pixels: np.ndarray) -> np.ndarray:
    """One vector per patch, (h, w, D), all of one norm, of RGB in [0, 1]: colours and edges, here for a network.

    Means and deviations of the colours, and how much gradient there is in each direction, of the patch and of the three
    by three patches around it.
    """
    grey = pixels.mean(axis=-1)
    down, across = np.gradient(grey)
    turns = np.arctan2(down, across) / np.pi % 1
    place = np.minimum(turns * NUM_ORIENTATIONS, NUM_ORIENTATIONS - 1).astype(int)
    edges = np.hypot(down, across)[..., None] * (place[..., None] == np.arange(NUM_ORIENTATIONS))
    channels = np.concatenate([pixels, pixels**2, edges], axis=-1)
    height, width = (side // PATCH for side in pixels.shape[:2])
    cropped = channels[: height * PATCH, : width * PATCH]
    means = cropped.reshape(height, PATCH, width, PATCH, -1).mean(axis=(1, 3))
    wide = sliding_window_view(np.pad(means, [(1, 1), (1, 1), (0, 0)], "edge"), (3, 3), (0, 1))
    return np.concatenate([_statistics(one) for one in (means, wide.mean(axis=(-2, -1)))], axis=-1)


def _statistics(means: np.ndarray) -> np.ndarray:
    """Vectors of unit norm, from means of colours, of their squares, and of gradients."""
    colours, squares, edges = np.split(means, [3, 6], axis=-1)
    deviations = np.sqrt(np.maximum(squares - colours**2, 0))
    found = np.concatenate([colours, 4 * deviations, 4 * np.sqrt(edges)], axis=-1)
    return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-6)


def write_features(source: Path, target: Path) -> None:
    """The features of a data set, in its layout, with its masks."""
    data = open_data_set(source)
    for record in (*data.train, *data.test):
        pixels = load_image(record.path)
        file = (target / record.path.relative_to(source)).with_suffix(".npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        # The patches begin at the top left corner of the image as it is; what is beyond them is not seen.
        size = pixels.shape[:2]
        facts = {"image_size": size, "resized": size, "corner": (0, 0), "patch_size": PATCH}
        np.savez(file, features=features_of(pixels).astype(np.float16), **facts)
    (target / "features.json").write_text(json.dumps({"name": "colours and gradients, 16 pixels"}))
    if (source / "ground_truth").is_dir():
        shutil.copytree(source / "ground_truth", target / "ground_truth", dirs_exist_ok=True)


def main(images: str, features: str) -> None:
    """Write features, then fit and evaluate as with images."""
    target = Path(features)
    write_features(Path(images), target)
    data = open_data_set(target)
    detector = Detector.fit(data.train, DetectorConfig(), progress=True)
    detector.save(target / "model.safetensors")
    figures = detector.evaluate(data.test)
    print(f"image AUROC {figures['image_auroc']:.3f}, pixel AUROC {figures['pixel_auroc']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
