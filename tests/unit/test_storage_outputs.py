"""Files that may be written over: earlier ones of the same kind, and nothing else, for every kind and every writer."""

import os
import stat
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import jaxdpmm
from jaxdpmm.cli.terminal import write_json
from jaxdpmm.detection.reporting.report import TEMPLATES
from jaxdpmm.detection.sheets import save_png
from jaxdpmm.export import export_onnx, export_scorer
from jaxdpmm.persist import Model, load_model, save_model, write_whole
from jaxdpmm.storage.outputs import (
    MODEL,
    ONNX_SCORER,
    PAGE,
    PICTURE,
    RESULT,
    RUN_INDEX,
    SCORER,
    check_replaceable,
)

KINDS = {
    "model": MODEL,
    "scorer": SCORER,
    "onnx": ONNX_SCORER,
    "result": RESULT,
    "page": PAGE,
    "picture": PICTURE,
    "run.json": RUN_INDEX,
}
FOREIGN = ("image", "photo", "text", "json", "archive", "web page", "weights", "checkpoint")


@pytest.fixture(scope="module")
def model():
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(2), 2)
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    prior = jaxdpmm.default_prior(mixture, x)
    return Model(mixture, prior, jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0)), {})


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """One file of each kind, from the function that writes it, and others that are nobody's business."""
    folder = tmp_path_factory.mktemp("kinds")
    save_model(folder / "model", model)
    export_scorer(model, folder / "scorer", platforms=["cpu"])
    (folder / "onnx").write_bytes(b"\x08\x0a:\x10\n\x00\x12\x0ejaxdpmm_scorer")
    write_json(folder / "result", {"model": "m"})
    (folder / "page").write_bytes((TEMPLATES / "report.html").read_bytes())
    picture = Image.new("RGB", (300, 300))
    save_png(picture, folder / "picture")
    (folder / "run.json").write_text('{\n "format_version": 1,\n "model": "m",\n "images": []}')
    picture.save(folder / "image", format="PNG")
    picture.save(folder / "photo", format="JPEG")
    (folder / "text").write_text("notes on jaxdpmm")
    (folder / "json").write_text('{"model": "jaxdpmm", "images": []}')
    with zipfile.ZipFile(folder / "archive", "w") as archive:
        archive.writestr("about.json", "{}")
    (folder / "web page").write_text("<!doctype html><title>jaxdpmm</title>")
    for name, metadata in (
        ("weights", {"format": "pt"}),
        ("checkpoint", {"jaxdpmm-checkpoint": ""}),
    ):
        safetensors.numpy.save_file({"a": np.zeros(1)}, folder / name, metadata)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_same_kind_may_be_replaced(files, kind):
    check_replaceable(files / kind, KINDS[kind])
    for other in {*KINDS, *FOREIGN} - {kind}:
        with pytest.raises(
            FileExistsError, match=r"out must be a new file or .*, which is something"
        ):
            check_replaceable(files / other, KINDS[kind], "out")
    with pytest.raises(IsADirectoryError, match=r"path must be a file, got .*, which is a folder"):
        check_replaceable(files, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_free_places(tmp_path, kind):
    check_replaceable(tmp_path / "new", KINDS[kind])
    (tmp_path / "empty").touch()
    check_replaceable(tmp_path / "empty", KINDS[kind])
    (tmp_path / "dangling").symlink_to(tmp_path / "later")
    check_replaceable(tmp_path / "dangling", KINDS[kind])


@pytest.mark.slow
def test_onnx_scorer_is_known_again(model, tmp_path):
    pytest.importorskip("jax2onnx")
    for _ in range(2):
        export_onnx(model, tmp_path / "scorer.onnx")


def test_functions_of_the_library_refuse_before_they_compute(model, files):
    """A scorer onto its own model, a picture onto its image; a model onto an earlier model is meant."""
    writers = {
        "model": [export_scorer, export_onnx],
        "scorer": [lambda model, path: save_model(path, model), export_onnx],
        "image": [
            lambda model, path: save_model(path, model),
            lambda _, path: save_png(Image.new("RGB", (2, 2)), path),
        ],
    }
    for name, functions in writers.items():
        before = (files / name).read_bytes()
        for write in functions:
            with pytest.raises(FileExistsError, match=f"path must be a new file or .*{name}"):
                write(model, files / name)
        assert (files / name).read_bytes() == before
    save_model(files / "model", load_model(files / "model"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_mode_of_a_file_is_kept(tmp_path, mode):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    write_whole(path, b"new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, b"new")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_new_file_has_the_usual_mode(tmp_path):
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "new", b"new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    """What it points to is replaced, in its own folder and with its mode, or made."""
    (tmp_path / "models").mkdir()
    for name in ("models/there", "models/not there"):
        link, target = tmp_path / f"link to {name[7:]}", tmp_path / name
        link.symlink_to(name)
        write_whole(link, b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
        assert not target.is_symlink()
    assert not list(tmp_path.rglob(".*"))


def test_a_hard_link_keeps_the_old_content(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    os.link(tmp_path / "file", tmp_path / "copy")
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "copy").read_bytes() == b"old"
