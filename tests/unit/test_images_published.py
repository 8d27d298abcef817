"""Miniatures of published data sets, written in their layouts and evaluated from the command line."""

import json
import sys

import medical
import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, surface, write_backbone, write_mvtec

from jaxdpmm import cli
from jaxdpmm.images.data_sets.brats import read_brats
from jaxdpmm.images.data_sets.kaputt import read_kaputt
from jaxdpmm.images.data_sets.kolektor import read_kolektor
from jaxdpmm.images.data_sets.real_iad import read_real_iad
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.images.records import NORMAL


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_ad_2(root):
    for number in range(3):
        save(surface(number)[0], root / "train/good" / f"{number:03d}_regular.png")
        save(surface(10 + number)[0], root / "validation/good" / f"{number:03d}_regular.png")
    for number in range(2):
        pixels, mask = surface(20 + number, defective=True)
        save(surface(30 + number)[0], root / "test_public/good" / f"{number:03d}_regular.png")
        save(pixels, root / "test_public/bad" / f"{number:03d}_overexposed.png")
        save(mask, root / "test_public/ground_truth/bad" / f"{number:03d}_overexposed_mask.png")
    return root, (3, 4)


def write_loco(root):
    for number in range(3):
        save(surface(number)[0], root / "train/good" / f"{number:03d}.png")
        save(surface(10 + number)[0], root / "validation/good" / f"{number:03d}.png")
    save(surface(30)[0], root / "test/good/000.png")
    for kind in ("logical_anomalies", "structural_anomalies"):
        pixels, mask = surface(20, defective=True)
        save(pixels, root / "test" / kind / "000.png")
        for part in range(2):
            save(
                mask & (np.arange(SIDE) % 2 == part), root / f"ground_truth/{kind}/000/00{part}.png"
            )
    return root, (3, 3)


def write_real_iad(root):
    category, rows = root / "realiad_1024" / "toy", {"train": [], "test": []}
    for number in range(5):
        name = f"OK/S{number:04d}/toy_{number:04d}_OK_C1_20230921.jpg"
        save(surface(number)[0], category / name)
        row = {"category": "toy", "anomaly_class": "OK", "image_path": name, "mask_path": None}
        rows["train" if number < 3 else "test"].append(row)
    for number in range(2):
        stem = f"NG/HS/S{number:04d}/toy_{number:04d}_NG_HS_C1_20230921"
        pixels, mask = surface(20 + number, defective=True)
        save(pixels, category / f"{stem}.jpg")
        save(mask, category / f"{stem}.png")
        names = {"image_path": f"{stem}.jpg", "mask_path": f"{stem}.png"}
        rows["test"].append({"category": "toy", "anomaly_class": "HS", **names})
    table = root / "realiad_jsons" / "realiad_jsons" / "toy.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps({"meta": {"normal_class": "OK", "prefix": "toy/"}, **rows}))
    return category, (3, 4)


def write_kolektor(root):
    for part, start, number in (("train", 10000, 3), ("test", 20000, 4)):
        for place in range(number):
            pixels, mask = surface(start + place, defective=part == "test" and place < 2)
            save(pixels, root / part / f"{start + place}.png")
            save(mask, root / part / f"{start + place}_GT.png")
    return root, (3, 4)


def write_kaputt(root, tables=".", images="query-crop"):
    """Crops alone; `images` is where archives are unpacked."""
    parquet, pyarrow = (pytest.importorskip(name) for name in ("pyarrow.parquet", "pyarrow"))
    for start, subset in enumerate(("train", "validation", "test")):
        rows = []
        for number in range(5):
            is_bad = number > 2
            name = f"data/{subset}/query-data/crop/{start}{number}.jpg"
            save(surface(10 * start + number, defective=is_bad)[0], root / images / name)
            kinds = "deformation,penetration" if is_bad else ""
            row = {"capture_id": f"{start}{number}", "defect": is_bad, "defect_types": kinds}
            row["item_material"] = "paper" if number in (0, 4) else "cardboard"
            rows.append(row | {"query_crop": name, "query_image": name.replace("crop", "image")})
        (root / tables).mkdir(parents=True, exist_ok=True)
        parquet.write_table(
            pyarrow.Table.from_pylist(rows), root / tables / f"query-{subset}.parquet"
        )
    return root, (3, 5)


def write_brats(root, names=("BraTS2021_{:05d}", "_flair", "_seg")):
    """Six subjects of three slices, the first of which is empty and the last of which is marked."""
    for number in range(6):
        values, marks = np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE, 3), np.uint8)
        for place in (1, 2):
            pixels, mask = surface(100 * number + place, defective=place == 2)
            values[..., place], marks[..., place] = pixels, 4 * mask
        subject = names[0].format(number)
        (root / subject).mkdir(parents=True)
        for suffix, array in zip(names[1:], (values, marks), strict=True):
            medical.write_nifti(root / subject / f"{subject}{suffix}.nii.gz", array)
    return root, (5, 2)


LAYOUTS = {
    "ad_2": write_ad_2,
    "loco": write_loco,
    "real_iad": write_real_iad,
    "kolektor": write_kolektor,
    "kaputt": write_kaputt,
    "brats": write_brats,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_backbone(folder / "tiny")
    places = [str(write_mvtec(folder / "surfaces")), "--output", str(folder / "model")]
    options = ["--backbone", str(folder / "tiny"), "--short-side", str(SIDE)]
    assert cli.run(["fit", *places, *options, "--num-components", "3"]) == 0
    return folder / "model"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_miniature_is_evaluated_from_the_command_line(model, tmp_path, layout):
    if layout == "brats":
        pytest.importorskip("nibabel")
    data, (num_train, num_test) = LAYOUTS[layout](tmp_path / layout)
    result = tmp_path / "result.json"
    assert cli.run(["evaluate", str(model), str(data), "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    assert (found["num_train"], found["num_test"]) == (num_train, num_test)
    assert found["mixture"]["image_auroc"] is not None
    if layout != "kaputt":  # whose masks are of items
        assert 0 <= found["mixture"]["pixel_aupro_at_0.05"] <= found["mixture"]["pixel_aupro"] <= 1


def test_maps_for_the_server_of_mvtec_ad_2(model, tmp_path, capsys):
    """Floats of 16 bits that order pixels as the scores do, and marks at the threshold of normal pixels."""
    tifffile = pytest.importorskip("tifffile")
    images = tmp_path / "can" / "test_private"
    for number in range(2):
        save(surface(number, defective=True)[0], images / f"{number:03d}_regular.png")
    places = [str(model), str(images), "--output", str(tmp_path / "run")]
    server = ["--submission", str(tmp_path / "server")]
    assert cli.run(["score", *places, *server, "--rate", "0.2"]) == 0
    found = tifffile.imread(tmp_path / "server/anomaly_images/can/test_private/000_regular.tiff")
    assert (found.dtype, found.shape) == (np.float16, (SIDE, SIDE))
    scores = np.load(tmp_path / "run/maps/000_regular.png.npy")
    order = np.argsort(scores.ravel())
    assert (np.diff(found.ravel()[order].astype(float)) >= 0).all()
    path = tmp_path / "server/anomaly_images_thresholded/can/test_private/000_regular.png"
    with Image.open(path) as marks:
        marked = np.asarray(marks)
    assert set(np.unique(marked)) <= {0, 255}
    assert scores[marked == 255].min(initial=np.inf) > scores[marked == 0].max()
    assert cli.run(["score", *places, *server, "--rate", "0.01"]) == 2
    assert (
        "a submission needs a threshold of pixels, got a model with too" in capsys.readouterr().err
    )


def test_kolektor_that_is_not_whole(tmp_path):
    root, _ = write_kolektor(tmp_path / "KolektorSDD2")
    pixels, mask = surface(1, defective=True)
    save(pixels, root / "train/10007.png")
    save(mask, root / "train/10007_GT.png")
    with pytest.warns(UserWarning, match=r"layout does not use \(1: train/10007\.png\)"):
        data = open_data_set(root)
    assert [record.label for record in data.test] == [1, 1, 0, 0]
    (root / "test/20000_GT.png").unlink()
    with pytest.raises(ValueError, match=r"layout of KolektorSDD2 \(train/<number>\.png and"):
        read_kolektor(root)


def test_real_iad_that_is_not_whole(tmp_path):
    category, _ = write_real_iad(tmp_path / "Real-IAD")
    assert [record.kind for record in read_real_iad(category).test] == ["good", "good", "HS", "HS"]
    next((category / "OK/S0000").iterdir()).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"file of Real-IAD's table must be there, got noth"
    ):
        open_data_set(category)
    table = tmp_path / "Real-IAD/realiad_jsons/realiad_jsons/toy.json"
    for text, message in (
        ("[]", "got one that is not"),
        ('{"meta": {}, "train": [], "test": []}', "0 and 0"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_data_set(category)
    table.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"Real-IAD needs the table toy\.json of realiad_js"
    ):
        read_real_iad(category)


def test_kaputt_in_part_and_not_whole(tmp_path, monkeypatch):
    parquet, pyarrow = (pytest.importorskip(name) for name in ("pyarrow.parquet", "pyarrow"))
    root, _ = write_kaputt(tmp_path / "Kaputt", tables="datasets", images=".")
    data = read_kaputt(root)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 3, 5]
    assert [one.kind for one in data.test[2:]] == ["good", *["deformation,penetration"] * 2]
    assert {one.mask_path for one in data.test} == {None}
    some = read_kaputt(root, material="paper")
    assert [one.path.stem for one in (*some.train, *some.test)] == ["00", "20", "24"]
    with pytest.raises(ValueError, match=r"to test, got .*Kaputt with 0 and 0 of glass; give the"):
        read_kaputt(root, material="glass")
    with pytest.raises(
        FileNotFoundError, match=r"got nothing at .*/image/00\.jpg; unpack all arch"
    ):
        read_kaputt(root, part="image")
    table = root / "datasets" / "query-test.parquet"
    parquet.write_table(pyarrow.table({"capture_id": ["1"]}), table)
    with pytest.raises(ValueError, match=r"must be a table of Kaputt with the columns defect, def"):
        open_data_set(root)
    table.unlink()
    with pytest.raises(FileNotFoundError, match=r"Kaputt needs the table query-test\.parquet"):
        open_data_set(root)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"need pyarrow, .* pip install 'jaxdpmm\[parquet\]'"):
        open_data_set(root)


def test_no_subject_of_brats_is_on_both_sides(tmp_path):
    pytest.importorskip("nibabel")
    names = ("BraTS-GLI-{:05d}-000", "-t2f", "-seg")
    data = read_brats(write_brats(tmp_path / "newer", names)[0])
    sides = [{record.source.path.parent for record in part} for part in (data.train, data.test)]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [5, 1]
    assert {record.label for record in data.train} == {NORMAL}
    assert [record.kind for record in data.test] == ["good", "tumour"]
    with pytest.raises(ValueError, match=r"layout of BraTS \(at least two subjects, each with"):
        read_brats(tmp_path)
