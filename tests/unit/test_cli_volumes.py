"""`jaxdpmm fit`, `score` and `explain` on volumes: one file, a series from within its folder, a bad one of several."""

import csv
import json

import medical
import numpy as np
import pytest
from synthetic import SIDE, surface, write_backbone

from jaxdpmm import cli

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pydicom")


def volume(seed, num_slices=3):
    """Slices of grey surfaces, at most 1,000."""
    slices = [
        np.asarray(surface(np.random.default_rng([seed, i])))[..., 0] for i in range(num_slices)
    ]
    return np.stack(slices, axis=2).astype(np.float32) / 255 * 1000


def write_series(folder, seed):
    folder.mkdir()
    values = volume(seed)
    for number in range(values.shape[2]):
        name = folder / f"IM{number}"
        medical.write_dicom(name, values[:, :, number], 2.0 * number, RescaleIntercept=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Volumes of both kinds, one of them cut short, a backbone and a model of what slices are made of."""
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "normal").mkdir()
    for seed in range(2):
        write_series(folder / "normal" / f"series{seed}", seed)
    medical.write_nifti(folder / "normal" / "scan.nii.gz", volume(2), np.diag([-1.0, -1, 1, 1]))
    write_backbone(folder / "tiny")
    places = [str(folder / "normal"), "--output", str(folder / "model")]
    backbone = ["--backbone", str(folder / "tiny"), "--short-side", str(SIDE)]
    more = ["--num-components", "3", "--image-score", "divergence"]
    assert cli.run(["fit", *places, *backbone, *more]) == 0
    content = (folder / "normal" / "scan.nii.gz").read_bytes()
    (folder / "normal" / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    return folder


def score(folder, images, output, *more):
    return cli.run(["score", str(folder / "model"), str(images), "--output", str(output), *more])


def names_in(output, root):
    with (output / "scores.csv").open() as file:
        return [row["path"].removeprefix(str(root)).lstrip("/") for row in csv.DictReader(file)]


def test_a_series_from_outside_and_from_within(folder, tmp_path, monkeypatch):
    series = folder / "normal" / "series0"
    assert score(folder, series, tmp_path / "out") == 0
    assert names_in(tmp_path / "out", series) == ["0000", "0001", "0002"]
    monkeypatch.chdir(series)
    assert score(folder, ".", tmp_path / "here") == 0
    for output in ("out", "here"):
        assert (tmp_path / output / "maps" / "series0.nii.gz").is_file()
        assert (tmp_path / output / "maps" / "0000.npy").is_file()


def test_one_bad_volume_is_skipped_or_ends_a_strict_run(folder, tmp_path, capsys):
    assert score(folder, folder / "normal", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "9 images (1 skipped that could not be read)" in told.out
    (warning,) = (line for line in told.err.splitlines() if "warning: image skipped" in line)
    assert "cut.nii.gz" in warning
    names = names_in(tmp_path / "out", folder / "normal")
    assert sorted(names) == [
        *(f"scan.nii.gz-{i:04d}" for i in range(3)),
        *(f"series{s}/{i:04d}" for s in range(2) for i in range(3)),
    ]
    assert (tmp_path / "out" / "maps" / "series1.nii.gz").is_file()
    assert score(folder, folder / "normal", tmp_path / "strict", "--strict") == 2
    assert "cut.nii.gz" in capsys.readouterr().err


def test_one_volume_is_scored_and_its_worst_slice_explained(folder, tmp_path, capsys):
    path, result = folder / "normal" / "scan.nii.gz", tmp_path / "result.json"
    more = ["--rate", "0.2", "--across", "2", "--json", str(result)]
    assert score(folder, path, tmp_path / "out", *more) == 0
    (of_volume,) = json.loads(result.read_text())["volumes"]
    with (tmp_path / "out" / "lesions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == of_volume["num_lesions"]
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert of_volume["score"] == max(float(row["score"]) for row in rows)
    with (tmp_path / "out" / "slices.csv").open() as file:
        profile = list(csv.DictReader(file))
    assert [row["slice"] for row in profile] == ["0", "1", "2"]
    assert [row["score"] for row in profile] == [row["score"] for row in rows]
    least = min(float(row["p_value"]) for row in rows)
    assert of_volume["p_value"] == pytest.approx(min(1, 3 * least))
    assert score(folder, path, tmp_path / "out", "--across", "-1") == 2
    assert "--across must be from 0 to 1000 mm, got -1" in capsys.readouterr().err
    found = nibabel.load(tmp_path / "out" / "maps" / "scan.nii.gz")
    np.testing.assert_allclose(found.affine, nibabel.load(path).affine)
    assert found.shape == nibabel.load(path).shape
    assert np.isfinite(found.get_fdata()).all()
    model, result = str(folder / "model"), str(tmp_path / "why.json")
    assert cli.run(["explain", model, str(path), "--json", result]) == 0
    with (tmp_path / "out" / "scores.csv").open() as file:
        worst = max(csv.DictReader(file), key=lambda row: float(row["score"]))["path"]
    assert json.loads((tmp_path / "why.json").read_text())["image"] == worst
    assert f"{worst}, the slice that scores highest" in capsys.readouterr().out
    slice_file = folder / "normal" / "series0" / "IM1"
    assert cli.run(["explain", model, str(slice_file), "--json", result]) == 0
    assert json.loads((tmp_path / "why.json").read_text())["image"] == str(slice_file)
