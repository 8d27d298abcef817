"""The command line's own manners: help, one sentence for bad input, exit statuses, tables, quick start."""

import json
import subprocess
import sys

import pytest
from PIL import Image
from synthetic import SIDE, surface, write_backbone, write_mvtec

import jaxdpmm
from jaxdpmm import cli
from jaxdpmm.cli import terminal

COMMANDS = (
    *("demo", "choose", "fit", "score", "evaluate", "calibrate", "explain"),
    *("update", "forget", "drift", "report", "export"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set, a backbone and a fitted model."""
    folder = tmp_path_factory.mktemp("cli")
    write_mvtec(folder / "surfaces")
    write_backbone(folder / "tiny")
    assert cli.run(fit_arguments(folder, "--num-components", "3")) == 0
    return folder


def fit_arguments(folder, *more, data="surfaces", output="model"):
    places = [str(folder / data), "--output", str(folder / output)]
    return ["fit", *places, "--backbone", str(folder / "tiny"), "--short-side", str(SIDE), *more]


def sentence_of(arguments, capsys) -> str:
    """The message of a command that must fail with status 2, one line and no traceback."""
    capsys.readouterr()
    assert cli.run([str(argument) for argument in arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, capsys):
    assert cli.run([command, "--help"]) == 0
    assert f"Usage: jaxdpmm {command}" in capsys.readouterr().out


def test_without_a_command_comes_the_help_as_it_is(capsys):
    assert cli.run(["--help"]) == 0
    expected = capsys.readouterr().out
    assert "\nCommands:\n" in expected
    assert "Dirichlet" in expected
    assert cli.run([]) == 0
    assert capsys.readouterr() == (expected, "")


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxdpmm {jaxdpmm.__version__}\n"


def test_help_loads_nothing_heavy():
    heavy = ["flax", "numpyro", "transformers", "torch", "PIL", "scipy.ndimage"]
    code = f"import sys, jaxdpmm.cli; print(set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_entry_point_sets_the_exit_status():
    code = "import jaxdpmm.cli; jaxdpmm.cli.main(['score'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Missing argument")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "Missing argument"),
        (["fit", "x"], "Missing option '--output'"),
        (["fit", "x", "--output", "y", "--layer", "last"], "Invalid value for '--layer'"),
        (["fit", "x", "--output", "y", "--zzz", "red"], "No such option: --zzz. See --help."),
        (["paint"], "No such command 'paint'"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert message.lower() in sentence_of(arguments, capsys).lower()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--covariance", "round"],
            "covariance must be one of full, tied, low_rank, diagonal, spherical, got 'round'",
        ),
        (["--score", "kl"], "score must be one of"),
        (["--dtype", "float16"], "dtype must be one of"),
        (["--layer", "-1"], "layers must be one or several"),
        (["--layer", "7"], "layers must be at most 2"),
        (["--join", "sum"], "join must be one of concatenate, mean, got 'sum'"),
        (["--num-components", "0"], "num_components must be at least 1, got 0; leave it out"),
        (["--preset", "best"], "preset must be one of fast, accurate, paper, got 'best'"),
        (["--family", "von_mises_fisher", "--score", "mahalanobis"], "needs a Gaussian family"),
        (["--covariance", "tied", "--backend", "gibbs"], "GaussianTied cannot be sampled"),
        (["--start", "random"], "start must be one of k-means, coverage, got 'random'"),
        (["--num-epochs", "-1"], "num_epochs must be at least 0, got -1; leave it out"),
        (
            ["--num-components", "300", "--start", "k-means"],
            "300 components for 216 points; use at most 216",
        ),
        (["--short-side", "13"], "short_side must be at least patch_size"),
        (["--backbone", "absent/"], "source must be a folder with config.json"),
    ],
)
def test_fit_with_settings_that_cannot_work(folder, more, message, capsys):
    assert message in sentence_of(fit_arguments(folder, *more, output="other"), capsys)
    assert not (folder / "other").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--preset", "fast", "--num-components", "4"],
            {"start": "coverage", "num_epochs": 0, "covariance": "spherical", "num_components": 4},
        ),
        (
            ["--preset", "fast", "--num-epochs", "1", "--covariance", "tied"],
            {"start": "coverage", "num_epochs": 1, "covariance": "tied"},
        ),
        (
            ["--family", "von_mises_fisher", "--backend", "memoized", "--weights", "pitman_yor"],
            {"family": "von_mises_fisher", "backend": "memoized", "weights": "pitman_yor"},
        ),
    ],
)
def test_presets_and_parts_have_names(folder, options, expected):
    report = folder / "parts.json"
    more = ("--num-components", "3", *options, "--json", str(report))
    assert cli.run(fit_arguments(folder, *more, output="parts")) == 0
    config = json.loads(report.read_text())["config"]
    assert {name: config[name] for name in expected} == expected


def test_fit_without_images(folder, capsys):
    (folder / "empty").mkdir(exist_ok=True)
    wrong = fit_arguments(folder, data="empty", output="other")
    assert "path must hold at least one image" in sentence_of(wrong, capsys)
    wrong = fit_arguments(folder, data="absent", output="other")
    assert "(nothing there); check the spelling" in sentence_of(wrong, capsys)


def test_fit_knows_before_the_work_that_it_cannot_write(folder, capsys):
    wrong = fit_arguments(folder, output="absent/model")
    assert "must lie in an existing folder" in sentence_of(wrong, capsys)
    wrong = fit_arguments(folder, output="tiny")
    assert "which is a folder; add a name" in sentence_of(wrong, capsys)
    wrong = fit_arguments(folder, "--json", folder / "absent/fit.json", output="other")
    assert "must lie in an existing folder" in sentence_of(wrong, capsys)


def damaged_folder(folder, name):
    """Six whole images and one cut short."""
    images = folder / name
    if not images.exists():
        images.mkdir()
        for number in range(6):
            Image.fromarray(surface(number)[0]).save(images / f"{number}.png")
        (images / "cut.png").write_bytes((images / "0.png").read_bytes()[:200])
    return images


def test_fit_skips_and_counts_unreadable_images(folder, capsys):
    damaged_folder(folder, "damaged")
    report = folder / "fit.json"
    arguments = fit_arguments(
        folder, "--num-components", "2", "--json", str(report), data="damaged", output="other"
    )
    assert cli.run(arguments) == 0
    printed = capsys.readouterr()
    assert "warning: image skipped:" in printed.err
    assert "cut.png" in printed.err
    assert "6 images (1 skipped that could not be read)" in printed.out
    result = json.loads(report.read_text())
    assert (result["num_images"], result["num_skipped"], result["num_patches"]) == (6, 1, 216)


def test_strict_stops_at_an_unreadable_image(folder, capsys):
    images = damaged_folder(folder, "damaged")
    message = sentence_of(fit_arguments(folder, "--strict", data="damaged", output="no"), capsys)
    assert "cut.png" in message
    assert "image must be a whole file" in message
    score = ["score", folder / "model", images, "--output", folder / "strict", "--strict"]
    assert "cut.png" in sentence_of(score, capsys)


def test_score_skips_and_counts_unreadable_images(folder, capsys):
    images = damaged_folder(folder, "damaged")
    output = folder / "skipping"
    arguments = ["score", str(folder / "model"), str(images), "--output", str(output)]
    assert cli.run(arguments) == 0
    assert "6 images (1 skipped that could not be read)" in capsys.readouterr().out
    assert len((output / "scores.csv").read_text().splitlines()) == 7


def model_files(folder):
    """Wrong model files by what their message says."""
    whole = (folder / "model").read_bytes()
    altered = bytearray(whole)
    altered[-1] ^= 1
    yield "cut short or damaged", whole[:-100]
    yield "altered", bytes(altered)
    yield "something else", b"not a model"


def test_model_files_that_are_wrong(folder, capsys):
    images = str(folder / "surfaces/test/good")
    for number, (message, content) in enumerate(model_files(folder)):
        path = folder / f"wrong{number}"
        path.write_bytes(content)
        for wrong in (
            ["score", path, images, "--output", folder / "out"],
            ["evaluate", path, folder / "surfaces"],
        ):
            assert message in sentence_of(wrong, capsys)
    assert not (folder / "out").exists()
    missing = ["score", folder / "absent", images, "--output", folder / "out"]
    assert "model file written by jaxdpmm" in sentence_of(missing, capsys)


def test_score_without_images(folder, capsys):
    absent = ["score", folder / "model", folder / "absent", "--output", folder / "out"]
    assert "path must be a folder of images" in sentence_of(absent, capsys)


def test_score_knows_before_the_work_that_it_cannot_write(folder, capsys):
    arguments = ["score", folder / "model", folder / "surfaces/test/good", "--output"]
    wrong = sentence_of([*arguments, folder / "model"], capsys)
    assert "the output must be a folder" in wrong
    wrong = sentence_of([*arguments, folder / "absent/scores"], capsys)
    assert "must lie in an existing folder" in wrong


def test_backbone_that_has_moved(folder, capsys):
    moved = write_backbone(folder / "moved" / "tiny")
    (folder / "tiny").rename(folder / "away")
    images = [folder / "model", folder / "surfaces/test/good", "--output", folder / "moved/out"]
    try:
        assert "source must be a folder" in sentence_of(["score", *images], capsys)
        arguments = [str(value) for value in ["score", *images, "--backbone", moved]]
        assert cli.run(arguments) == 0
    finally:
        (folder / "away").rename(folder / "tiny")


def test_evaluate_without_labels(folder, capsys):
    plain = ["evaluate", folder / "model", folder / "surfaces/train/good"]
    assert "test images must be labelled" in sentence_of(plain, capsys)


def test_interruption_has_its_own_status(folder, capsys, monkeypatch):
    from jaxdpmm.detection import Detector

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Detector, "fit", interrupted)
    before = (folder / "model").read_bytes()
    assert cli.run(fit_arguments(folder)) == 130
    assert "interrupted; every file written so far is complete" in capsys.readouterr().err
    assert (folder / "model").read_bytes() == before


def test_defects_of_the_program_keep_their_traceback(folder, monkeypatch):
    from jaxdpmm.detection import Detector

    def broken(*_, **__):
        raise KeyError("a defect")

    monkeypatch.setattr(Detector, "fit", broken)
    with pytest.raises(KeyError):
        cli.run(fit_arguments(folder))


def test_table_aligns_columns():
    text = terminal.table(("", "long head"), [("first", "1"), ("b", "22")])
    assert text == "       long head\nfirst          1\nb             22"


def test_sizes_in_words():
    assert terminal.size_text(619_936) == "0.6 MB"
    assert terminal.size_text(1_234.0) == "1.2 kB"
    assert terminal.size_text(3.2e9) == "3,200.0 MB"
