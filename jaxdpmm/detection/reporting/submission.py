"""Maps as the server of MVTec AD 2 takes them: TIFF of 16-bit floats, and pixels above a threshold as PNG.

    anomaly_images/<object>/<split>/<name>.tiff    anomaly_images_thresholded/<object>/<split>/<name>.png

Scores are moved and scaled, so that 16 bits have digits where normal patches lie: 0 and 1 are the scores at which the
colours of pictures begin and end. The threshold comes from normal images alone, which is what the F1 of segments on the
server is taken at.

References:
    Heckler-Kram et al. (2025), The MVTec AD 2 Dataset. arXiv 2503.21622.
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxdpmm.persist import write_whole

SCORES, MARKS = "anomaly_images", "anomaly_images_thresholded"
LARGEST = float(np.finfo(np.float16).max)


def check_tifffile() -> None:
    """Before long work: that maps can be written.

    Raises:
        ImportError: tifffile, which writes floats of 16 bits, is not installed.
    """
    try:
        import tifffile  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "maps for the server of MVTec AD 2 need tifffile, which is not installed; install it with: pip install "
            "'jaxdpmm[submission]'."
        ) from error


class Submission:
    """Writes the two files of each image of one split of one object."""

    def __init__(
        self, folder: Path, images: Path, limits: tuple[float, float], threshold: float | None
    ):
        """Say where to; nothing is written yet.

        Args:
            folder: where the two folders go.
            images: the folder of a split, in that of its object, for example `can/test_private`.
            limits: scores that become 0 and 1.
            threshold: score from which on a pixel is anomalous; None where that is not known.

        Raises:
            ValueError: there is no threshold.
        """
        if threshold is None:
            raise ValueError(
                "a submission needs a threshold of pixels, got a model with too few normal images for the rate; "
                "calibrate it with more, or set a larger --rate."
            )
        self._folder, self._images = folder, images
        self._split = Path(images.resolve().parent.name, images.resolve().name)
        self._low, self._high = limits
        self._threshold = threshold

    def add(self, path: Path, pixel_scores: Float[np.ndarray, "H W"]) -> None:
        """Write the files of an image.

        Args:
            path: of the image.
            pixel_scores: one for each of its pixels.
        """
        import tifffile

        scaled = (np.asarray(pixel_scores, np.float64) - self._low) / (self._high - self._low)
        content = io.BytesIO()
        tifffile.imwrite(content, np.clip(scaled, -LARGEST, LARGEST).astype(np.float16))
        self._write(SCORES, path, ".tiff", content.getvalue())
        content = io.BytesIO()
        marked = np.where(np.asarray(pixel_scores) >= self._threshold, 255, 0).astype(np.uint8)
        Image.fromarray(marked).save(content, format="PNG")
        self._write(MARKS, path, ".png", content.getvalue())

    def _write(self, kind: str, path: Path, suffix: str, content: bytes) -> None:
        place = self._folder / kind / self._split / path.relative_to(self._images)
        place = place.with_suffix(suffix)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, content)
