"""Training images at several angles, for objects that lie on the table any way round.

Only what is learned from is rotated, never a test image. Read `../detection/patches.py` next.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from jaxdpmm.images.streaming import PreparedImage


def rotate(pixels: Float[np.ndarray, "H W 3"], degrees: float) -> Float[np.ndarray, "H W 3"]:
    """Image turned about its centre, anticlockwise, in a frame of the same size.

    Bilinear; what comes in from outside repeats the edge. Turns that map the frame onto itself move pixels only.

    Args:
        pixels: RGB in [0, 1].
        degrees: by how much.
    """
    quarters, rest = divmod(degrees % 360, 90)
    if not rest and (quarters % 2 == 0 or pixels.shape[0] == pixels.shape[1]):
        return np.ascontiguousarray(np.rot90(pixels, int(quarters)))
    turned = scipy.ndimage.rotate(pixels, degrees, reshape=False, order=1, mode="nearest")
    return np.clip(turned, 0.0, 1.0)


def rotated(images: Iterable[PreparedImage], num_rotations: int) -> Iterator[PreparedImage]:
    """Every image at `num_rotations` angles spread evenly over the circle, as it is first.

    Args:
        images: prepared.
        num_rotations: 8 in AnomalyDINO; 1 for none.
    """
    for image in images:
        yield image
        for number in range(1, num_rotations):
            degrees = 360 * number / num_rotations
            name = f"{image.record.path.name} at {degrees:g} degrees"
            record = image.record._replace(path=image.record.path.with_name(name))
            yield image._replace(record=record, pixels=rotate(image.pixels, degrees))
