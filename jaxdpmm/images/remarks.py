"""What there is to say of the images of one pass, in one warning of each kind and not one for each image.

Read `streaming.py` next.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

from jaxdpmm.images.depth import DARK, Seen, range_for
from jaxdpmm.images.records import ImageRecord


class Remarks:
    """Gathers what was seen of images, and tells of what may not be meant."""

    def __init__(self, value_range: tuple[float, float] | None) -> None:
        """Nothing is gathered yet.

        Args:
            value_range: that images of 16 bits are read through, or None.
        """
        self._value_range = value_range
        self._series: list[Path] = []
        self._deep: list[tuple[int, Path]] = []

    def add(self, record: ImageRecord, seen: Seen) -> None:
        """Take note of one image."""
        if seen.is_series:
            self._series.append(record.path)
        if seen.largest:
            self._deep.append((seen.largest, record.path))

    def tell(self) -> None:
        """Warn of pictures that were not read, and of images darker or brighter than the range is for."""
        if self._series:
            _warn(
                f"files should hold one picture, got further ones in {_these(self._series)}, of which the first is "
                "read; save each picture as a file where others are wanted."
            )
        if self._value_range is not None:
            bright = [(n, path) for n, path in self._deep if n > self._value_range[1]]
            if bright:
                _warn(
                    f"values of images should be at most {self._value_range[1]:g}, the value_range of the model, got "
                    f"up to {max(bright)[0]} in {_these([path for _, path in bright])}; store images as those of the "
                    "training were."
                )
        elif self._deep and (found := range_for(max(self._deep)[0])):
            _warn(
                f"images of 16 bits should have values above {DARK}, got at most {max(self._deep)[0]} in "
                f"{_these([path for _, path in self._deep])}, nearly black to the backbone; store images as those of "
                f"the training were, or fit with value_range={found}."
            )


def _these(paths: Sequence[Path]) -> str:
    return f"{len(paths)} images, for example {paths[0]}"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
