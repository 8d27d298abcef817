"""Settings as options: what is written for settings is taken back as the same settings."""

import dataclasses
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jaxdpmm.cli.settings import options_of, takes_settings
from jaxdpmm.detection import DetectorConfig
from jaxdpmm.detection.settings import DetectorSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "benchmarks/README.md", *(ROOT / "examples/site").glob("*.md")]
SWITCHES = [
    field.name for field in dataclasses.fields(DetectorSettings) if "bool" in str(field.type)
]


def taken(words):
    """The settings that a command receives for these words, or what is wrong with them."""
    received, app = [], typer.Typer()

    @app.command()
    @takes_settings(DetectorSettings)
    def command(settings: dict) -> None:
        received.append(settings)

    result = CliRunner().invoke(app, words)
    return received[0] if result.exit_code == 0 else result.output


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_turned_on_and_off(name, value):
    words = options_of(DetectorSettings, {name: value})
    assert words == [f"--{'' if value else 'no-'}{name.replace('_', '-')}"]
    assert taken(words) == {name: value}


@pytest.mark.parametrize("preset", ["fast", "accurate", "paper"])
def test_the_options_of_a_preset_are_the_preset(preset):
    names = [field.name for field in dataclasses.fields(DetectorSettings)]
    config = DetectorConfig.preset(preset)
    settings = {name: getattr(config, name) for name in names}
    again = DetectorConfig(**taken(options_of(DetectorSettings, settings)))
    assert {name: getattr(again, name) for name in names} == settings


def test_nothing_given_is_nothing_chosen():
    assert taken([]) == {}


def test_switches_of_the_pages_exist():
    text = "".join(page.read_text() for page in PAGES)
    names = {word.replace("-", "_") for word in re.findall(r"`--no-([a-z-]+)", text)}
    assert {"whiten", "p_values"} <= names <= {*SWITCHES}
