"""A setting is one field: cache key, command line, help and docstring follow from it."""

import dataclasses
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from jaxdpmm import choices, families, scoring, sticks
from jaxdpmm.cli.settings import takes_settings
from jaxdpmm.detection import DetectorConfig
from jaxdpmm.detection.cache import identity_of
from jaxdpmm.detection.config import FeatureConfig
from jaxdpmm.detection.fields import Interval, documented, help_of, setting
from jaxdpmm.detection.settings import DetectorSettings, FeatureSettings
from jaxdpmm.inference import backends


@dataclasses.dataclass(frozen=True)
class ContrastFeatures(FeatureConfig):
    """Feature settings with one field more."""

    contrast: float = setting(1.0, "Factor of the contrast of images.", within=Interval(0, 9))


@documented
@dataclasses.dataclass(frozen=True)
class ContrastConfig(DetectorConfig, ContrastFeatures):
    """Settings of a detector with that field."""


def identity(config, backbone):
    return identity_of(config.features.resolved(backbone), backbone)


def run(settings, arguments):
    """Output of a command that takes the settings, and what it was given."""
    found: dict[str, Any] = {}
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @takes_settings(settings)
    def command(data: Annotated[str, typer.Argument()], settings: dict[str, Any]) -> None:
        found.update(settings, data=data)

    result = CliRunner().invoke(app, arguments)
    return result, found


def test_a_new_feature_setting_is_one_field(backbone):
    plain, more = DetectorConfig("tiny"), ContrastConfig("tiny")
    other = dataclasses.replace(more, contrast=2.0)
    assert other.contrast == 2.0
    keys = [identity(config, backbone) for config in (plain, more, other)]
    assert keys[1] == keys[0] | {"contrast": 1.0}
    assert keys[2] == keys[0] | {"contrast": 2.0}
    assert "contrast: Factor of the contrast of images. Default: 1.0." in ContrastConfig.__doc__
    text = run(ContrastConfig, ["--help"])[0].output
    assert "--contrast" in text
    assert "Factor of the contrast of images." in text
    assert "--contrast" not in run(DetectorConfig, ["--help"])[0].output
    _, given = run(ContrastConfig, ["x", "--contrast", "3", "--layer", "1", "--layer", "2"])
    assert given == {"data": "x", "contrast": 3.0, "layers": (1, 2)}
    with pytest.raises(ValueError, match="contrast must be from 0 to 9, got 10; the default is 1"):
        dataclasses.replace(more, contrast=10)
    assert ContrastConfig.from_dict(dataclasses.asdict(other)) == other


def test_features_are_made_of_nothing_but_feature_settings():
    config = DetectorConfig("tiny", short_side=84, score="cosine", covariance="full")
    features = config.features
    assert type(features) is FeatureConfig
    assert features == FeatureConfig("tiny", short_side=84)
    assert not hasattr(features, "score")
    assert not hasattr(features, "covariance")


def test_caches_of_the_first_version_stay_in_use(backbone):
    names = ["backbone_sha256", "dtype", "layers", "shape", "short_side", "tile_side"]
    assert sorted(identity(DetectorConfig(), backbone)) == names
    changed = DetectorConfig(value_range=(0.0, 4095.0))
    assert sorted(identity(changed, backbone)) == sorted([*names, "value_range"])
    mean = DetectorConfig(layers=(1, 2), join="mean")
    assert sorted(identity(mean, backbone)) == sorted([*names, "join"])


def test_options_are_the_fields_with_their_help():
    text = " ".join(run(DetectorSettings, ["--help"])[0].output.split())
    for field in dataclasses.fields(DetectorConfig):
        name = "layer" if field.name == "layers" else field.name
        assert f"--{name.replace('_', '-')}" in text
        assert f"{field.name}:" in DetectorConfig.__doc__
        for word in help_of(field).split():
            assert word.strip('.,;"') in text.replace("- ", "-")


def test_options_that_were_not_given_are_left_out():
    _, given = run(DetectorSettings, ["x"])
    assert given == {"data": "x"}
    _, given = run(DetectorSettings, ["x", "--foreground", "--value-range", "0", "4095"])
    assert given == {"data": "x", "foreground": True, "value_range": (0.0, 4095.0)}


def test_every_choice_is_a_part_of_the_library():
    gaussian = {**choices.FAMILIES, **choices.COVARIANCES, "gaussian": "Gaussian"}
    for names, wing in ((gaussian, families), (choices.STICKS, sticks)):
        assert {getattr(wing, name).__name__ for name in names.values()} == set(names.values())
    assert list(scoring.SCORERS) == list(choices.SCORES)
    assert all(of.__wrapped__.__name__ == name for name, of in scoring.SCORERS.items())
    for name in set(choices.BACKENDS) - {"paper"}:
        assert getattr(backends, name).__name__ == name


@pytest.mark.parametrize(
    ("interval", "text", "inside", "outside"),
    [
        (Interval(1), "at least 1", (1, 1e9), (0, float("nan"))),
        (Interval(0, 5), "from 0 to 5", (0, 5), (-1, 6, float("nan"))),
        (Interval(0, 1, with_least=False), "in (0, 1]", (0.1, 1), (0, 1.1)),
        (Interval(0, 1, with_most=False), "in [0, 1)", (0, 0.9), (1, -0.1)),
    ],
)
def test_intervals(interval, text, inside, outside):
    assert str(interval) == text
    assert all(interval.holds(value) for value in inside)
    assert not any(interval.holds(value) for value in outside)


def test_groups_stand_in_one_order_and_the_backbone_first():
    names = [field.name for field in dataclasses.fields(DetectorConfig)]
    assert names[0] == "backbone"
    assert names[: len(dataclasses.fields(FeatureSettings))] == [
        field.name for field in dataclasses.fields(FeatureSettings)
    ]
