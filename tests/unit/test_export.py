"""Exported scorers: the same scores, without the library, for several platforms; one sentence for every wrong file."""

import io
import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import jaxdpmm
from jaxdpmm import cli
from jaxdpmm.detection.reduction import Principal, arrays_of
from jaxdpmm.export import export_onnx, export_scorer, load_scorer
from jaxdpmm.families import GaussianLowRank, VonMisesFisher
from jaxdpmm.families.product import Block, ProductFamily
from jaxdpmm.model import global_update, summarize
from jaxdpmm.persist import Model, save_model
from jaxdpmm.scoring import SCORERS, cosine, score
from jaxdpmm.scoring.nearest import NUM_CANDIDATES

FAMILIES = {
    "diagonal": jaxdpmm.GaussianDiagonal,
    "full": jaxdpmm.GaussianFull,
    "spherical": jaxdpmm.GaussianSpherical,
    "low rank": lambda dim: GaussianLowRank(dim, 2),
    "von Mises-Fisher": VonMisesFisher,
    "product": lambda dim: ProductFamily(
        (
            Block("shape", jaxdpmm.GaussianFull(2)),
            Block("colour", jaxdpmm.GaussianDiagonal(dim - 2)),
        )
    ),
}
DEFAULT = [("diagonal", 8), ("full", 5)]  # the others take minutes
ALONE = """
import sys, zipfile
sys.modules["jaxdpmm"] = None
import numpy as np
from jax import export
scorer = export.deserialize(bytearray(zipfile.ZipFile(sys.argv[1]).read("scorer.bin")))
np.save(sys.argv[3], scorer.call(np.load(sys.argv[2])))
"""


def points(number: int = 60) -> np.ndarray:
    return np.random.default_rng(0).normal(2, 3, size=(number, 5)).astype(np.float32)


def model_of(**more) -> Model:
    x = points()
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(5), 4)
    prior = jaxdpmm.default_prior(mixture, x)
    posterior = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    return Model(mixture, prior, posterior, {}, **more)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "scorer.jaxdpmm"
    export_scorer(model, path)
    return path


def test_scores_of_any_number_of_points(model, file):
    exported = load_scorer(file)
    for number in (1, 7, 5000):
        x = points(number)
        expected = score(SCORERS["predictive"](model.mixture), model.posterior, x)
        np.testing.assert_allclose(exported(x), expected, rtol=1e-5, atol=1e-5)


def test_runs_without_the_library(file, tmp_path):
    x = points(9)
    np.save(tmp_path / "x.npy", x)
    arguments = [str(file), str(tmp_path / "x.npy"), str(tmp_path / "scores.npy")]
    subprocess.run([sys.executable, "-c", ALONE, *arguments], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), load_scorer(file)(x), rtol=1e-5)


def test_one_file_for_cpu_cuda_and_tpu(file):
    with zipfile.ZipFile(file) as archive:
        exported = jax_export.deserialize(bytearray(archive.read("scorer.bin")))
        about = json.loads(archive.read("about.json"))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert not exported.ordered_effects
    assert "callback" not in exported.mlir_module()
    assert (about["score"], about["shape"], about["num_components"]) == ("predictive", ["N", 5], 4)


def test_equal_scorers_give_equal_bytes_without_paths_of_this_machine(model, file, tmp_path):
    export_scorer(model, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert b".py" not in archive.read("scorer.bin")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, dim), marks=[] if (name, dim) in DEFAULT else [pytest.mark.slow])
        for name in FAMILIES
        for dim in (5, 8, 384)
    ],
    ids=lambda pair: f"{pair[0]}-{pair[1]}",
)
def any_model(request):
    """A model, points, and the scores that its family has by name; it has more components than candidates."""
    name, dim = request.param
    x = np.random.default_rng(0).normal(2, 3, size=(60, dim)).astype(np.float32)
    x = x / np.linalg.norm(x, axis=1, keepdims=True) if name == "von Mises-Fisher" else x
    mixture = jaxdpmm.Mixture(FAMILIES[name](dim), NUM_CANDIDATES + 2)
    prior = jaxdpmm.default_prior(mixture, x)
    one_hot = jnp.eye(mixture.num_components, dtype=jnp.float32)[np.arange(60) % 10]
    stats = summarize(mixture, one_hot, jnp.asarray(x), jnp.ones(60, jnp.float32), prior.offset)
    posterior = global_update(mixture, prior, stats)
    without = set() if name == "low-rank" else {"residual"}
    without |= {"mahalanobis", "spherical"} if name in ("von Mises-Fisher", "product") else set()
    scores = {
        score_name: score(scorer(mixture), posterior, x)
        for score_name, scorer in SCORERS.items()
        if score_name not in without
    }
    return Model(mixture, prior, posterior, {}), x, scores


def check_agrees(scorer, x, expected):
    """One file for any number of points, to 1e-5 of the largest score."""
    for number in (1, 33, 60):
        tolerance = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(scorer(x[:number]), expected[:number], rtol=0, atol=tolerance)


def test_every_score_of_every_family(any_model, tmp_path):
    model, x, scores = any_model
    for name, expected in scores.items():
        export_scorer(model, tmp_path / "scorer", score=name)
        check_agrees(load_scorer(tmp_path / "scorer"), x, expected)


def test_onnx_has_the_same_scores(any_model, tmp_path):
    pytest.importorskip("jax2onnx")
    runtime = pytest.importorskip("onnxruntime")
    model, x, scores = any_model
    for name, expected in scores.items():
        export_onnx(model, tmp_path / "scorer.onnx", score=name)
        assert b".py" not in (tmp_path / "scorer.onnx").read_bytes()
        session = runtime.InferenceSession(tmp_path / "scorer.onnx", quiet(runtime))
        check_agrees(lambda x, s=session: s.run(["scores"], {"features": x})[0], x, expected)


def quiet(runtime):
    """Quiet about constants that the converter leaves unused."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return options


def test_detector_that_reduces_its_features(tmp_path):
    random = np.random.default_rng(1)
    axes = random.normal(size=(8, 5)).astype(np.float32)
    arrays = arrays_of(Principal(np.ones(8, np.float32), axes))
    model = model_of(arrays=arrays)._replace(settings={"detector": {"score": "cosine"}})
    export_scorer(model, tmp_path / "scorer", platforms=("cpu",))
    x = random.normal(size=(6, 8)).astype(np.float32)
    reduced_x = (x - 1) @ axes
    expected = score(cosine(model.mixture), model.posterior, reduced_x)
    np.testing.assert_allclose(load_scorer(tmp_path / "scorer")(x), expected, rtol=1e-5, atol=1e-6)


def test_without_what_jax_writes_with(model, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"need flatbuffers.*pip install 'jaxdpmm\[export\]'"):
        export_scorer(model, tmp_path / "scorer")
    with pytest.raises(ImportError, match="need flatbuffers"):
        load_scorer(tmp_path / "scorer")


def test_onnx_without_its_converter(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ImportError, match=r"needs jax2onnx, .* pip install 'jaxdpmm\[onnx\]'"):
        export_onnx(model, tmp_path / "scorer.onnx")


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def wrong_files(whole: bytes):
    altered = bytearray(whole)
    altered[len(altered) // 2] ^= 1
    yield "cut short or altered", whole[:-50]
    yield "cut short or altered", whole[:400]
    yield "cut short or altered", bytes(altered)
    yield "something else", b"not a scorer"
    yield "something else", b""
    yield "another zip archive", zipped(readme_txt=b"hello")
    yield "format version 1, got 2", zipped(about_json=b'{"format_version": 2}', scorer_bin=b"")


def test_wrong_files(file, tmp_path):
    path = tmp_path / "wrong"
    for message, content in wrong_files(file.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_scorer(path)
    with pytest.raises(FileNotFoundError, match="nothing there"):
        load_scorer(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="a folder"):
        load_scorer(tmp_path)


def test_platform_that_is_not_in_the_file(model, tmp_path):
    export_scorer(model, tmp_path / "scorer", platforms=("cuda",))
    with pytest.raises(ValueError, match="platform of this process, cpu, got cuda alone; export"):
        load_scorer(tmp_path / "scorer")


def test_bad_arguments(model, file, tmp_path):
    with pytest.raises(ValueError, match=r"features must have shape \(N, 5\) .* got \(2, 4\)"):
        load_scorer(file)(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"score must be one of predictive, .* got 'kl'"):
        export_scorer(model, tmp_path / "x", score="kl")
    with pytest.raises(ValueError, match="platforms must be some of cpu, cuda, tpu, rocm, got gpu"):
        export_scorer(model, tmp_path / "x", platforms=("gpu",))
    assert not (tmp_path / "x").exists()


def test_command(model, tmp_path, capsys):
    save_model(tmp_path / "model", model)
    arguments = [str(tmp_path / "model"), str(tmp_path / "scorer"), "--platform", "cpu"]
    assert cli.run(["export", *arguments, "--score", "euclidean"]) == 0
    assert "kB, for cpu" in capsys.readouterr().out
    expected = score(SCORERS["euclidean"](model.mixture), model.posterior, points())
    np.testing.assert_allclose(load_scorer(tmp_path / "scorer")(points()), expected, rtol=1e-5)
    assert cli.run(["export", *arguments, "--platform", "abacus"]) == 2
    assert "error: platforms must be some of" in capsys.readouterr().err
