"""A data set of mixed formats from the command line: figures as of plain images, one warning for what is left out."""

import csv
import json

import medical
import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, surface, write_backbone

from jaxdpmm import cli

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pydicom")

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LPS[:2, 3] = SIDE - 1  # of the first voxel as it is stored


def picture(seed, defective=False):
    """Bytes that use their whole range, so that the usual window of a volume changes nothing; and the marks."""
    pixels, mask = surface(seed, defective)
    pixels[0], pixels[-1] = 0, 255
    return pixels, mask


def save_12_bits(path, pixels):
    deep = pixels.astype(np.uint16)
    Image.fromarray(deep << 4 | deep >> 4).save(path)


def save_palette(path, pixels):
    """Indices run against brightness."""
    image = Image.fromarray(255 - pixels).convert("P")
    image.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    image.save(path)


def save_series(folder, slices):
    folder.mkdir()
    window = {"RescaleIntercept": 0, "WindowCenter": 127.5, "WindowWidth": 255}
    for number, pixels in enumerate(slices):
        medical.write_dicom(folder / f"IM{number}", pixels, 2.0 * number, **window)


def save_lps(path, slices):
    """A volume whose first two axes are stored to the left and to the back."""
    medical.write_nifti(path, np.stack(slices, axis=2)[::-1, ::-1].astype(np.int16), LPS)


def write_mixed(root, outside):
    """Training images 0 to 9, test images 10 to 15, in six formats, among what is not to be read."""
    good, test, bad = root / "train" / "good", root / "test" / "good", root / "test" / "Crack"
    masks = root / "ground_truth" / "crack"
    for folder in (good, test, bad, masks, outside, root / "train" / "good" / "deep"):
        folder.mkdir(parents=True)
    for seed in (0, 1):
        save_12_bits(good / f"{seed}.tif", picture(seed)[0])
        save_palette(good / f"{seed + 2}.PNG", picture(seed + 2)[0])
    save_series(good / "series", [picture(seed)[0] for seed in (4, 5, 6)])
    save_lps(good / "scan.nii.gz", [picture(seed)[0] for seed in (7, 8)])
    Image.fromarray(picture(9)[0]).save(outside / "9.bmp")
    (good / "9.bmp").symlink_to(outside / "9.bmp")
    (good / "cut.nii.gz").write_bytes((good / "scan.nii.gz").read_bytes()[:300])
    (good / "note.heic").write_bytes(b"no picture")
    for name in (".hidden.png", "._0.tif", "deep/unused.png"):
        Image.fromarray(picture(0, True)[0]).save(good / name, format="PNG")
    save_12_bits(test / "10.tif", picture(10)[0])
    Image.fromarray(picture(11)[0]).save(test / "11.jfif", format="PNG")
    pixels, mask = picture(12, True)
    save_palette(bad / "12.png", pixels)
    label = Image.fromarray(mask.astype(np.uint8)).convert("P")
    label.putpalette([68, 1, 84, 253, 231, 37])
    label.save(masks / "12_mask.png")
    save_12_bits(bad / "13.TIFF", picture(13, True)[0])
    Image.fromarray(np.dstack([mask * 0, picture(13, True)[1]]).astype(np.uint8) * 255).save(
        masks / "13.png"
    )
    save_lps(bad / "scan.nii.gz", [picture(14)[0], picture(15, True)[0]])
    marks = np.stack([picture(14)[1], picture(15, True)[1]], axis=2).astype(np.uint8)
    medical.write_nifti(masks / "scan_mask.nii.gz", marks)
    return root


def write_plain(root):
    """The same images as PNG files of 8 bits."""
    for seed in range(16):
        pixels, mask = picture(seed, seed in (12, 13, 15))
        kind = "train/good" if seed < 10 else "test/Crack" if mask.any() else "test/good"
        for folder in (kind, "ground_truth/Crack"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / kind / f"{seed}.png")
        if mask.any():
            Image.fromarray(mask).save(root / "ground_truth/Crack" / f"{seed}.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both data sets and a tiny backbone."""
    folder = tmp_path_factory.mktemp("mixed")
    write_backbone(folder / "tiny")
    write_mixed(folder / "mixed", folder / "outside")
    write_plain(folder / "plain")
    return folder


def run(capsys, *arguments):
    """Warnings of a command that ends well."""
    capsys.readouterr()
    assert cli.run([str(argument) for argument in arguments]) == 0
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("warning: ")]


def result(path):
    return json.loads(path.read_text())


LEFT_OUT = ("cut.nii.gz", "(1: train/good/deep/unused.png)", "(1 of .heic; for example train/good/")


def test_fit_score_and_evaluate_on_mixed_formats(folder, tmp_path, capsys):
    model, out = tmp_path / "model", tmp_path / "out"
    backbone = ["--backbone", folder / "tiny", "--short-side", SIDE]
    more = ["--num-components", "4", "--held-out", "0", "--json", tmp_path / "fit.json"]
    told = run(capsys, "fit", folder / "mixed", "-o", model, *backbone, *more)
    assert sorted(what in line for line in told for what in LEFT_OUT) == [False] * 6 + [True] * 3
    found = result(tmp_path / "fit.json")
    assert (found["num_images"], found["num_skipped"]) == (10, 1)
    assert found["config"]["value_range"] == [0, 4095]

    figures = {}
    for name, number in (("mixed", 3), ("plain", 0)):
        file = tmp_path / f"{name}.json"
        told = run(capsys, "evaluate", model, folder / name, "--method", "bank", "--json", file)
        assert len(told) == number
        figures[name] = result(file)
    counts = ("num_train", "num_test", "num_skipped")
    assert [figures["mixed"][count] for count in counts] == [10, 6, 1]
    assert [figures["plain"][count] for count in counts] == [10, 6, 0]
    for method in ("mixture", "bank"):
        for figure in ("image_auroc", "pixel_auroc", "pixel_aupr"):
            mixed, plain = (figures[name][method][figure] for name in ("mixed", "plain"))
            assert mixed == pytest.approx(plain, abs=5e-3), (method, figure)

    told = run(capsys, "score", model, folder / "mixed" / "test", "-o", out)
    assert told == []
    assert scores(out) == pytest.approx(
        scores_of_plain(folder, model, tmp_path / "plain", capsys), rel=1e-2
    )
    assert nibabel.load(out / "maps" / "Crack" / "scan.nii.gz").affine[0, 0] == -1


def scores(output):
    with (output / "scores.csv").open() as file:
        return sorted(float(row["score"]) for row in csv.DictReader(file))


def scores_of_plain(folder, model, output, capsys):
    run(capsys, "score", model, folder / "plain" / "test", "-o", output)
    return scores(output)


def test_a_whole_data_set_is_scored_without_its_masks(folder, tmp_path, capsys):
    model = tmp_path / "model"
    backbone = ["--backbone", folder / "tiny", "--short-side", SIDE]
    more = ["--num-components", "2", "--held-out", "0", "--num-epochs", "0"]
    run(capsys, "fit", folder / "plain" / "train", "-o", model, *backbone, *more)
    told = run(capsys, "score", model, folder / "mixed", "-o", tmp_path / "out")
    assert sum("image skipped" in line and "cut.nii.gz" in line for line in told) == 1
    assert sum("masks by their names (3: ground_truth/crack/12_mask" in line for line in told) == 1
    assert sum("with value_range=(0.0, 4095.0)" in line for line in told) == 1
    assert sum("1 of .heic" in line for line in told) == 1
    assert len(told) == 4
    assert len(scores(tmp_path / "out")) == 17  # the unused one too
