"""Features of another backbone: any function from images to patch vectors, saved, fitted and evaluated.

    python examples/other_features.py IMAGES FEATURES

IMAGES is a data set in MVTec AD layout. Its features are written to the folder FEATURES in the same layout, one `.npz`
for each image, with the facts of all in `features.json`. Put your own network in place of `features_of`.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.images.reading import load_image

PATCH, NUM_FEATURES = 16, 64
PROJECTION = np.random.default_rng(0).normal(size=(PATCH * PATCH * 3, NUM_FEATURES))


def features_of(pixels: np.ndarray) -> np.ndarray:
    """One unit vector per patch, (h, w, D), of RGB in [0, 1]: patches projected at random, here for a network."""
    height, width = (side // PATCH for side in pixels.shape[:2])
    cropped = pixels[: height * PATCH, : width * PATCH]
    patches = cropped.reshape(height, PATCH, width, PATCH, 3).swapaxes(1, 2)
    patches = patches.reshape(height, width, -1)
    centred = patches - patches.mean(axis=-1, keepdims=True)
    found = np.concatenate([centred @ PROJECTION, 8 * patches[..., :3]], axis=-1)
    return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-6)


def main(images: str, features: str) -> None:
    """Write features, then fit and evaluate as with images."""
    source, target = Path(images), Path(features)
    data = open_data_set(source)
    for record in (*data.train, *data.test):
        pixels = load_image(record.path)
        file = (target / record.path.relative_to(source)).with_suffix(".npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        # The patches begin at the top left corner of the image as it is; what is beyond them is not seen.
        size = pixels.shape[:2]
        facts = {"image_size": size, "resized": size, "corner": (0, 0), "patch_size": PATCH}
        np.savez(file, features=features_of(pixels).astype(np.float16), **facts)
    (target / "features.json").write_text(json.dumps({"name": "random projection, 16 pixels"}))
    if (source / "ground_truth").is_dir():
        shutil.copytree(source / "ground_truth", target / "ground_truth", dirs_exist_ok=True)

    data = open_data_set(target)
    detector = Detector.fit(data.train, DetectorConfig(), progress=True)
    detector.save(target / "model.safetensors")
    figures = detector.evaluate(data.test)
    print(f"image AUROC {figures['image_auroc']:.3f}, pixel AUROC {figures['pixel_auroc']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
