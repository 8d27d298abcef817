"""Outputs of every command against its inputs, against each other, and against what lies there: refused before work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdpmm import cli
from jaxdpmm.cli.places import cache_folder, check_places, new_file, run_folder, weights_of
from jaxdpmm.storage.outputs import MODEL, RESULT

COMMANDS = {
    "demo": "--backbone {weights} --picture {picture} --json {json}",
    "choose": "{data} --backbone {weights} --picture {picture} --json {json} --cache {cache}",
    "fit": "{data} --backbone {weights} --output {model_out} --json {json} --cache {cache}",
    "score": "{model} {images} --backbone {weights} --output {run_out} --json {json}",
    "evaluate": "{model} {data} --backbone {weights} --output {run_out} --json {json} --cache {cache}",
    "calibrate": "{model} {images} --backbone {weights} --output {model_out} --json {json}",
    "explain": "{model} {image} --backbone {weights} --json {json}",
    "report": "{run} --output {page}",
    "export": "{model} {scorer}",
}
"""Arguments of each command by what they name; those of `NEW` are outputs."""

NEW = {
    "picture": "new.png",
    "json": "new.json",
    "model_out": "new.safetensors",
    "run_out": "new_run",
    "cache": "new_cache",
    "page": "new.html",
    "scorer": "new.jaxdpmm",
}
INPUTS = {
    "weights": ["weights", "weights/config.json", "weights/model.safetensors"],
    "data": ["data", "data/train/good/0.png", "data/ground_truth/hole/0_mask.png"],
    "images": ["images", "images/0.png", "images/deep/0.png"],
    "image": ["images/0.png"],
    "model": ["model"],
    "run": ["run", "run/run.json", "run/maps/0.npy", "run/previews/0.jpg", "run/masks/0.png"],
}
"""What an argument makes a command read, itself first."""


def named_in(command: str) -> list[str]:
    return re.findall(r"{(\w+)}", COMMANDS[command])


def pairs_with_inputs():
    for command in COMMANDS:
        names = named_in(command)
        for output in (name for name in names if name in NEW):
            for place in (place for name in names if name in INPUTS for place in INPUTS[name]):
                if (command, output, place) != ("calibrate", "model_out", "model"):
                    yield command, output, place


def pairs_of_outputs():
    for command in COMMANDS:
        outputs = [name for name in named_in(command) if name in NEW]
        for number, output in enumerate(outputs):
            for other in outputs[:number]:
                yield command, output, other


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Inputs of all commands; nobody gets far enough to see that the model and the weights are none."""
    for name in sorted({place for places in INPUTS.values() for place in places}):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
        elif path.suffix or name == "model":
            path.write_text(
                '{"format_version": 1,\n "model": "m"}' if name == "run/run.json" else "x"
            )
    header = b'{"__metadata__":{"jaxdpmm":"{}"}}'
    (tmp_path / "model").write_bytes(len(header).to_bytes(8, "little") + header)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments_of(command: str, **other: str | Path) -> list[str]:
    places = {**{name: paths[0] for name, paths in INPUTS.items()}, **NEW, **other}
    return [command, *COMMANDS[command].format(**places).split()]


def ways_to(place: str):
    """Paths to a place: as it is, by way of another folder, through a link, and by another name of the same file."""
    yield place
    yield f"images/../{place}"
    Path("link").symlink_to(Path(place).absolute())
    yield "link"
    if Path(place).is_file():
        os.link(place, "hard_link")
        yield "hard_link"


def content_of(folder: Path) -> dict[str, tuple]:
    """Bytes, mode, time and inode of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (content, facts.st_mode, facts.st_mtime_ns, facts.st_ino)
    return found


def refusal(arguments: list[str], capsys) -> str:
    """The one sentence of a command that is refused, and leaves everything as it was."""
    before = content_of(Path.cwd())
    capsys.readouterr()
    assert cli.run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert content_of(Path.cwd()) == before
    return printed.err


@pytest.mark.parametrize(("command", "output", "place"), list(pairs_with_inputs()))
def test_outputs_against_inputs(folder, capsys, command, output, place):
    sentences = (
        "must not be what the command reads",
        "must be a new file or",
        "must be a file, got",
        "must be a folder, got",
        "must lie outside",
    )
    for path in ways_to(place):
        found = refusal(arguments_of(command, **{output: path}), capsys)
        assert any(text in found for text in sentences), found


@pytest.mark.parametrize(("command", "output", "other"), list(pairs_of_outputs()))
@pytest.mark.parametrize("name", ["same", "SAME"])
def test_outputs_against_outputs(folder, capsys, command, output, other, name):
    """Also by names that differ in capitals alone, which are one on some disks."""
    arguments = arguments_of(command, **{output: "same", other: name})
    assert "must not write over each other" in refusal(arguments, capsys)


@pytest.mark.parametrize(
    ("command", "inside"),
    [
        ("fit", {"model_out": "place", "cache": "place/cache"}),
        ("fit", {"json": "place", "cache": "place/cache"}),
        ("score", {"run_out": "run", "json": "run/scores.csv"}),
        ("score", {"run_out": "run", "json": "run/run.json"}),
        ("score", {"run_out": "run", "json": "run/overlays"}),
        ("evaluate", {"run_out": "run", "cache": "run/maps"}),
        ("evaluate", {"json": "place", "cache": "place/cache"}),
    ],
)
def test_no_output_lies_in_another(folder, capsys, command, inside):
    """A file cannot be a folder of another output, and what is written into a folder is no other output."""
    assert "must not write over each other" in refusal(arguments_of(command, **inside), capsys)


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_folder_of_a_run_against_what_it_would_spoil(folder, capsys, command):
    source = "images" if command == "score" else "data"
    inside = refusal(arguments_of(command, run_out=f"{source}/results"), capsys)
    assert "must lie outside" in inside
    own_maps = refusal(arguments_of(command, run_out="run", **{source: "run/maps"}), capsys)
    assert "must lie outside what --output writes over" in own_maps
    Path("notes/maps").mkdir(parents=True)
    foreign = refusal(arguments_of(command, run_out="notes"), capsys)
    assert "which holds maps but no run.json" in foreign
    Path("notes/run.json").write_text('{"runs": []}')
    foreign = refusal(arguments_of(command, run_out="notes"), capsys)
    assert "run.json in --output must be a new file or the index of a run" in foreign


@pytest.mark.parametrize("command", [name for name in COMMANDS if "{weights}" in COMMANDS[name]])
def test_nothing_new_comes_among_weights(folder, capsys, command):
    """A new model.safetensors beside shards would be read in their place."""
    Path("weights/model.safetensors").unlink()
    for output in (name for name in named_in(command) if name in NEW):
        arguments = arguments_of(command, **{output: "weights/model.safetensors"})
        assert "must lie outside --backbone" in refusal(arguments, capsys)


def test_weights_that_a_model_names_are_inputs(folder):
    settings = '{\\"model\\": {\\"settings\\": {\\"detector\\": {\\"backbone\\": \\"weights\\"}}}}'
    header = f'{{"__metadata__":{{"jaxdpmm":"{settings}"}}}}'.encode()
    model = folder / "detector"
    model.write_bytes(len(header).to_bytes(8, "little") + header)
    assert weights_of(model) == "weights"
    assert weights_of(folder / "model") is None
    assert weights_of(folder / "images/0.png") is None
    assert weights_of(folder / "absent") is None


def test_places_that_are_no_files(folder, capsys):
    os.mkfifo("pipe")
    assert "which is something else" in refusal(arguments_of("fit", json="pipe"), capsys)
    sentence = refusal(arguments_of("fit", json="~/fit.json"), capsys)
    assert "must lie in an existing folder, got ~/fit.json" in sentence
    sentence = refusal(arguments_of("fit", cache="model/cache"), capsys)
    assert "must be a folder, got model/cache" in sentence


def test_files_that_are_protected(folder, capsys, monkeypatch):
    usual = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and usual(path, mode))
    sentence = refusal(arguments_of("fit", model_out="model"), capsys)
    assert "which is protected against writing" in sentence


def test_what_is_allowed(folder):
    """New names, earlier outputs, empty files, and folders that only hold something else besides."""
    Path("empty").touch()
    Path("linked").symlink_to("model")
    Path("dangling").symlink_to("images/later")
    reads = {"MODEL": "model", "IMAGES": "images"}
    for name in ("new", "empty", "dangling", "images/new", "run/model"):
        check_places(reads, [new_file("--output", Path(name), MODEL)], weights="weights")
    for name in ("model", "linked"):
        own = new_file("--output", Path(name), MODEL, replaces="MODEL")
        check_places(reads, [own, new_file("--json", None, RESULT)])
    check_places(reads, [run_folder("--output", Path("run")), cache_folder(Path("images/cache"))])
    check_places(reads, [cache_folder(Path("a/b/c")), new_file("--json", Path("run/x"), RESULT)])
    check_places({"DATA": "elpv"}, [new_file("--output", Path("elpv"), MODEL)])


def test_refused_before_anything_is_loaded(folder):
    """Not even JAX is there when a command says what is wrong."""
    cases = [
        arguments_of(command, **{name: "images/0.png" for name in named_in(command) if name in NEW})
        for command in COMMANDS
    ]
    heavy = {"jax", "flax", "numpy", "PIL", "jinja2", "tqdm.auto"}
    code = (
        "import sys; from jaxdpmm import cli; "
        f"print([cli.run(case) for case in {cases}], {heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{[2] * len(COMMANDS)} set()\n"
