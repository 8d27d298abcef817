"""Every example runs as it stands."""

import pathlib
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import scipy.stats
from synthetic import write_backbone, write_mvtec

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run an example with arguments in an empty folder; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run_example(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_all_examples_are_run_here():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert all(name in pathlib.Path(__file__).read_text() for name in names)


def test_python_api(run):
    printed = run("python_api.py")
    assert "3 of 10 components hold data" in printed
    usual, between, far = map(float, printed.split("[")[1].split("]")[0].split())
    assert usual < between < far


def test_federated():
    """As a program, since its processes import it anew."""
    command = [sys.executable, str(EXAMPLES / "federated.py"), "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "sweep 5: 4000 points of 2 sites" in done.stdout
    shares = [int(share) for share in re.findall(r"explains (\d+)%", done.stdout)]
    assert shares[0] > 90
    assert sum(shares) in (99, 100, 101)


def test_detect_images(run, tmp_path):
    write_mvtec(tmp_path / "surfaces", num_defective=1)
    write_backbone(tmp_path / "tiny")
    test = tmp_path / "surfaces" / "test"
    printed = run(
        "detect_images.py", tmp_path / "surfaces/train/good", test, str(tmp_path / "tiny")
    )
    lines = printed.splitlines()
    assert lines[0].endswith("components")
    assert len(lines) == 1 + 4
    scores = [float(line.split(": ")[1].split(",")[0]) for line in lines[1:]]
    assert max(scores[:3]) < scores[3]  # test/good comes before test/square


def test_other_features(run, tmp_path):
    write_mvtec(tmp_path / "surfaces")
    printed = run("other_features.py", tmp_path / "surfaces", tmp_path / "features")
    image, pixel = map(float, re.findall(r"AUROC ([\d.]+)", printed))
    assert image > 0.9
    assert pixel > 0.8
    assert (tmp_path / "features" / "train" / "good" / "00.npz").is_file()


CUSTOM = ["custom_counts.py", "custom_flags.py", "custom_mixed.py", "custom_sticks.py"]
_SLOW = {"custom_flags.py", "custom_mixed.py"}  # the others take the same way


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in _SLOW)) for n in CUSTOM]
)
def test_custom_priors_fit_alike_in_every_backend(name):
    """In a process of its own, in float32 as a user runs it."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    rows = re.findall(r"^(\w+) .*held-out log density (-?[\d.]+)$", finished.stdout, re.MULTILINE)
    assert {backend for backend, _ in rows} == {"cavi", "memoized", "stochastic", "gibbs"}
    densities = [float(density) for _, density in rows]
    assert max(densities) - min(densities) < 0.1


@pytest.mark.slow
def test_a_likelihood_without_conjugate_prior_comes_close_to_the_truth():
    """The density of the process that made the points is known: three Student-t clusters of equal weight."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / "custom_nonconjugate.py")]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    density = float(re.search(r"held-out log density (-?[\d.]+)", finished.stdout)[1])
    random = np.random.default_rng(0)
    centres = np.array([[-6, 0], [0, 6], [6, 0]])
    x = centres[random.integers(3, size=1500)] + 0.5 * random.standard_t(3, size=(1500, 2))
    log_density = scipy.stats.t.logpdf(x[1000:, None], 3, centres[None], 0.5).sum(axis=2)
    truth = np.mean(scipy.special.logsumexp(log_density, axis=1) - np.log(3))
    assert truth - 0.15 < density < truth + 0.15
    near, far = map(float, re.findall(r"(?:centre|off) (-?[\d.]+)", finished.stdout))
    assert far > near + 5


@pytest.mark.slow
def test_backends_agree():
    """Six backends on one problem; about a minute and a half, most of it compilation."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / "backends.py"), "--quick"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    rows = [line.split() for line in finished.stdout.splitlines()[1:]]
    names = [row[0] for row in rows]
    assert names == ["cavi", "memoized_cavi", "online", "gibbs", "numpyro_svi", "nuts"]
    densities, occupied = ([float(row[column]) for row in rows] for column in (1, 2))
    assert max(densities) - min(densities) < 0.05
    assert min(occupied) >= 4
